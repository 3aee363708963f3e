"""The backend `numba` as a process meets it: its cache, its threads, its advice, its errors."""

import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

import xpnet

numba = pytest.importorskip("numba", reason="numba is not installed")

from xpnet_numba import compiled, xp  # noqa: E402

# The functions of `nn` that are fused, and what compiled steps are made of.
ALL = len(compiled._functions)
SOURCES = [Path(__file__).parents[2] / folder for folder in ("", "backends")]


def run(code, **environment):
    """Return what Python code prints in a process of its own."""
    path = os.pathsep.join(map(str, SOURCES))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


TRAINING = """
import hashlib, numpy
from xpnet_numba import xp
random = numpy.random.default_rng(0)
images = random.integers(0, 256, (512, 100)).astype(numpy.uint8)
labels = random.integers(0, 10, 512)
weight = random.normal(size=(100, 10)).astype(numpy.float32)
velocity = numpy.zeros_like(weight)
for step in range(4):
    indices = random.permutation(512)[:96]
    x = xp.nn.gather_batch(images, indices, scale=1 / 255, offset=0.0, dtype=xp.float32)
    z = numpy.einsum("bi,io->bo", x, weight)
    y = xp.nn.sigmoid(z)
    loss, dy = xp.nn.softmax_cross_entropy(y, labels[indices])
    dz = xp.nn.sigmoid_backward(y, dy)
    grad = numpy.einsum("bi,bo->io", x, dz)
    weight, velocity = xp.nn.momentum_step(weight, grad, velocity, 0.5, 0.9)
print(hashlib.sha256(weight.tobytes() + loss.tobytes()).hexdigest())
"""


def test_results_do_not_depend_on_the_number_of_threads():
    one, two = (run(TRAINING, NUMBA_NUM_THREADS=threads) for threads in "12")
    assert one == two


CACHE = """
from xpnet_numba import activations, xp
xp.probe()
stats = activations.relu_into.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def test_compiled_code_is_kept_for_the_next_process(tmp_path):
    first, second = (run(CACHE, NUMBA_CACHE_DIR=str(tmp_path)).split() for _ in range(2))
    assert first == ["0", "1"]
    assert second == ["1", "0"]


ADVICE = """
from xpnet_numba import xp
xp.probe()
print(*xp.advice(), sep="\\n")
"""


def test_advice_tells_of_threads_cache_and_svml(tmp_path):
    cold = run(ADVICE, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    assert cold[0].startswith("BLAS: ")
    threads, cache, svml = cold[-3:]
    assert threads.startswith(f"threads: {compiled.THREADS} share a compiled step")
    assert cache.startswith(f"cache: cold, 1 of {ALL} kernels in {tmp_path}")
    assert svml.startswith(f"SVML: {'in use' if numba.config.USING_SVML else 'not found'}, ")


def test_advice_counts_the_kernels_that_are_kept(tmp_path):
    assert "cache: cold, 1 of " in run(ADVICE, NUMBA_CACHE_DIR=str(tmp_path))
    run(TRAINING, NUMBA_CACHE_DIR=str(tmp_path))
    assert f"cache: partly warm, 6 of {ALL} kernels" in run(ADVICE, NUMBA_CACHE_DIR=str(tmp_path))


def test_cache_of_every_kernel_is_warm(monkeypatch):
    monkeypatch.setattr(compiled, "_is_kept", lambda function, folder: True)
    assert xp.advice()[-2].startswith(f"cache: warm, {ALL} of {ALL} kernels in ")


OPERATIONS = """
import numpy
from xpnet_numba import compiled, operations
operations.mean.address(numpy.dtype("float32"))
print(compiled.advice()[1])
"""


def test_advice_counts_operations_too(tmp_path):
    assert f"1 of {ALL} kernels" in run(OPERATIONS, NUMBA_CACHE_DIR=str(tmp_path))


def test_import_compiles_nothing():
    code = "from xpnet_numba import activations, xp; print(activations.relu_into.signatures)"
    assert run(code).strip() == "[]"


def test_missing_numba_is_named_with_its_remedy():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import xpnet\n"
        "try: import xpnet_numba\n"
        "except xpnet.BackendUnavailableError as e: print(e)"
    )
    message = run(code)
    assert "backend 'numba' cannot be loaded: " in message
    assert "numba" in message.partition("loaded: ")[2]
    assert "install it with `pip install 'xpnet[numba]'`" in message


def test_probe_accepts_this_machine():
    assert xpnet.backend("numba") is xp
    assert xp.versions == {"numba": numba.__version__, "numpy": numpy.__version__}


def test_missing_cache_folder_is_named_with_its_remedy():
    code = (
        "import numba.core.caching as caching; caching.CacheImpl._locator_classes = []\n"
        "import xpnet\n"
        "try: import xpnet_numba\n"
        "except xpnet.BackendUnavailableError as e: print(e)"
    )
    message = run(code)
    assert "no locator available" in message
    assert "name a folder that can be written in NUMBA_CACHE_DIR" in message
