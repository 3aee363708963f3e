"""The namespaces that tests of portable code run on, and shared data."""

import importlib.metadata
import pathlib

import array_api_strict
import numpy as np
import pytest

import xpnet

REGISTERED = sorted(entry.name for entry in importlib.metadata.entry_points(group="xpnet.backends"))
# The standard's own checker at its strictest, on each kind of device that it knows.
STRICT = ["strict", "strict:device1", "strict:no_float64", "strict:no_x64"]


def pytest_addoption(parser):
    group = parser.getgroup("fuzz", "what the fuzzers of tests/fuzz do")
    group.addoption("--fuzz-seconds", type=float, default=0.5, help="for each of them [default: 0.5]")
    group.addoption("--fuzz-seed", type=int, default=138, help="of their random inputs [default: 138]")
    group.addoption("--fuzz-page", type=pathlib.Path, help="put the counters there, between its marks")


def make_namespace(name):
    """Return a registered backend or array-api-strict; skip with the backend's own reason."""
    kind, _, device = name.partition(":")
    if kind == "strict":
        array_api_strict.set_array_api_strict_flags(
            api_version="2024.12",
            boolean_indexing=False,
            data_dependent_shapes=False,
            enabled_extensions=(),
        )
        handle = array_api_strict.Device(device) if device else None
        return xpnet.Namespace(name, array_api_strict, device=handle)
    try:
        return xpnet.backend(name)
    except xpnet.BackendUnavailableError as e:
        pytest.skip(str(e))


def marked(names):
    return [pytest.param(name, marks=pytest.mark.gpu if name == "cupy" else ()) for name in names]


@pytest.fixture(scope="session", params=marked([*REGISTERED, *STRICT]))
def xp(request):
    return make_namespace(request.param)


@pytest.fixture(scope="session", params=marked([*REGISTERED, "strict", "strict:device1"]))
def xp64(request):
    """Return a namespace whose device has float64."""
    return make_namespace(request.param)


@pytest.fixture(scope="session", params=marked([*REGISTERED, *STRICT[:-1]]))
def xp_int64(request):
    """Return a namespace whose device has int64, which argmax and searchsorted return."""
    return make_namespace(request.param)


@pytest.fixture(scope="session", params=marked(REGISTERED))
def backend(request):
    """Return only registered backends: for whole trainings, which the checker makes slow."""
    return make_namespace(request.param)


@pytest.fixture(scope="session")
def numpy_xp():
    return xpnet.backend("numpy")


@pytest.fixture(scope="session")
def mnist():
    return xpnet.datasets.mnist()


@pytest.fixture
def dataset():
    """Return a small, learnable data set: 90 noisy images of 3 classes, 12 uint8 pixels each."""
    rng = np.random.Generator(np.random.Philox(7))
    labels = np.arange(90) % 3
    patterns = np.array([[200, 20, 20, 20], [20, 200, 20, 20], [20, 20, 200, 20]]).repeat(3, axis=1)
    images = patterns[labels] + rng.integers(0, 56, (90, 12))
    return xpnet.Dataset(images.astype(np.uint8), labels)
