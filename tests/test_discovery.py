import importlib.metadata
import pickle
import sys

import numpy as np
import pytest

import xpnet
from xpnet.blas import blas_advice


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Give a function that installs a package of one module which provides the backend `toy`."""

    def install(source):
        (tmp_path / "xpnet_toy.py").write_text(source)
        info = tmp_path / "toy_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-package\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[xpnet.backends]\ntoy = xpnet_toy:xp\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "xpnet_toy", raising=False)

    yield install
    sys.modules.pop("xpnet_toy", None)


def test_shipped_backends_are_registered():
    registered = {entry.name for entry in importlib.metadata.entry_points(group="xpnet.backends")}
    assert {"numpy", "numba", "cupy"} <= registered, "install the checkout: pip install -e '.[test]'"


def test_default_is_numpy(monkeypatch):
    monkeypatch.delenv("XPNET_BACKEND", raising=False)
    assert xpnet.backend().name == "numpy"


def test_environment_variable_is_read_at_the_call(monkeypatch):
    monkeypatch.setenv("XPNET_BACKEND", "no-such-backend")
    with pytest.raises(xpnet.UnknownBackendError, match="'no-such-backend'"):
        xpnet.backend()
    monkeypatch.setenv("XPNET_BACKEND", "numpy")
    assert xpnet.backend().name == "numpy"


def test_empty_environment_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("XPNET_BACKEND", "")
    assert xpnet.backend().name == "numpy"


def test_explicit_name_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("XPNET_BACKEND", "no-such-backend")
    assert xpnet.backend("numpy").name == "numpy"


def test_unknown_backend_names_the_choices():
    with pytest.raises(xpnet.UnknownBackendError, match="'torch': choose one of cupy, numba, numpy"):
        xpnet.backend("torch")


def test_backend_is_made_once():
    assert xpnet.backend("numpy") is xpnet.backend("numpy")


def test_third_party_backend_is_found(install):
    install("import numpy\nfrom xpnet import Namespace\nxp = Namespace('toy', numpy)\n")
    xp = xpnet.backend("toy")
    np.testing.assert_array_equal(xp.nn.relu(np.array([-1.0, 2.0])), [0.0, 2.0])
    assert "toy" in [info.name for info in xpnet.backends()]


def test_backend_that_is_asked_for_is_used_and_one_that_is_listed_is_not(install):
    install(
        "import numpy\nfrom xpnet import Namespace\nused = []\n"
        "def toy(device):\n"
        "    return Namespace('toy', numpy, use=lambda: used.append(device), on=toy)\n"
        "xp = toy('0')\n"
    )
    xpnet.backend("toy:1")
    xpnet.backend("toy")
    xpnet.backends()
    assert sys.modules["xpnet_toy"].used == ["1", "0"]


def test_broken_package_is_reported_in_its_own_words(install):
    install("raise RuntimeError('built for another processor')\n")
    with pytest.raises(xpnet.BackendUnavailableError) as caught:
        xpnet.backend("toy")
    assert str(caught.value) == (
        "backend 'toy' cannot be loaded: RuntimeError: built for another processor; reinstall toy-package"
    )
    info = {info.name: info for info in xpnet.backends()}["toy"]
    assert not info.usable
    assert info.reason == str(caught.value)
    assert info.remedy == "reinstall toy-package"


def test_entry_point_must_be_a_namespace(install):
    install("import numpy as xp\n")
    with pytest.raises(xpnet.BackendUnavailableError, match="is a module, not an xpnet"):
        xpnet.backend("toy")


def test_backends_describes_the_usable_ones():
    info = {info.name: info for info in xpnet.backends()}["numpy"]
    assert info == xpnet.BackendInfo(
        "numpy",
        usable=True,
        library="numpy",
        version=np.__version__,
        device="cpu",
        fused=(),
        advice=tuple(blas_advice()),
    )


def test_advice_of_a_third_party_is_told(install):
    install(
        "import numpy\nfrom xpnet import Namespace\nxp = Namespace('toy', numpy, advice=lambda: ['set X'])\n"
    )
    assert {info.name: info for info in xpnet.backends()}["toy"].advice == ("set X",)


def test_errors_survive_pickling():
    error = xpnet.BackendUnavailableError("toy", "is broken", "mend it")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "backend 'toy' is broken; mend it"
    unknown = xpnet.UnknownBackendError("toy", ["numpy"])
    assert str(pickle.loads(pickle.dumps(unknown))) == str(unknown)
