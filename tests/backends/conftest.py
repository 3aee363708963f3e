"""Fixtures: backends that replay, and `cupy` on this processor, to test its source and graphs."""

from unittest import mock

import cuda_on_host
import pytest

import xpnet


@pytest.fixture(scope="session", params=["numpy", "numba"])
def replaying(request):
    """Return a backend that replays on processors."""
    try:
        return xpnet.backend(request.param)
    except xpnet.BackendUnavailableError as e:
        pytest.skip(str(e))


@pytest.fixture(scope="session")
def package():
    """The modules of `xpnet_cupy`."""
    return cuda_on_host.load()


@pytest.fixture(scope="session")
def library(package, tmp_path_factory):
    """`kernels.cu`, compiled by g++."""
    return cuda_on_host.compiled(package, tmp_path_factory.mktemp("host"))


@pytest.fixture
def kernels_on_host(package, library):
    """Make the package's kernels those of the library."""
    with mock.patch.object(package.kernels, "_kernel", cuda_on_host.kernel_of(library)):
        yield


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy", exc_type=ImportError)


@pytest.fixture
def probing(cupy):
    from xpnet_cupy import probing

    return probing
