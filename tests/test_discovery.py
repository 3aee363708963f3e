import importlib.metadata
import pickle
import re
import signal
import sys

import numpy as np
import pytest

import xpnet
from xpnet import discovery
from xpnet_numpy.blas import blas_advice


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a one-module package with a backend, by default `toy`."""
    modules = []

    def install(source, *, name="toy", package="toy-package", folder="one"):
        module = "xpnet_" + package.replace("-", "_")
        place = tmp_path / folder
        info = place / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (place / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[xpnet.backends]\n{name} = {module}:xp\n")
        monkeypatch.syspath_prepend(place)
        modules.append(module)

    yield install
    for module in modules:
        sys.modules.pop(module, None)


TOY = "import numpy\nfrom xpnet import Device, Namespace\nxp = Namespace('toy', numpy{})\n"


def infos():
    return {info.name: info for info in xpnet.backends()}


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
        "import numpy\nfrom xpnet import Device, Namespace\nused = []\n"
        "def toy(text):\n"
        "    device = Device(use=lambda: used.append(text), at=lambda xp, text: toy(text))\n"
        "    return Namespace('toy', numpy, device=device)\n"
        "xp = toy('0')\n"
    )
    xpnet.backend("toy:1")
    xpnet.backend("toy")
    xpnet.backends()
    assert sys.modules["xpnet_toy_package"].used == ["1", "0"]


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


FAILING = """
class Handle:
    def __str__(self):
        fail()

class Unspoken(Exception):
    def __str__(self):
        fail()

def fail(*args):
    raise {}

"""


@pytest.mark.parametrize(
    "error", ["SystemExit(3)", "SystemExit()", "BaseException('panic')", "KeyError('x')", "StopIteration()"]
)
@pytest.mark.parametrize(
    ("source", "usable"),
    [
        ("fail()", False),
        (TOY.format(", device=Device(probe=fail)"), False),
        (TOY.format(", advice=fail"), True),
        (TOY.format("") + "xp.device = Handle()", False),
    ],
    ids=["import", "probe", "advice", "device"],
)
def test_backend_that_raises_spoils_no_other_row(source, usable, error, install):
    install(FAILING.format(error) + source)
    found = infos()
    assert found["numpy"].usable
    assert found["toy"].usable is usable
    said = found["toy"].advice[0] if usable else found["toy"].reason
    assert error.partition("(")[0] in said


@pytest.mark.parametrize("source", ["fail()", TOY.format(", device=Device(probe=fail)")])
def test_interruption_ends_the_listing(source, install):
    install(FAILING.format("KeyboardInterrupt") + source)
    with pytest.raises(KeyboardInterrupt):
        xpnet.backends()


@pytest.mark.parametrize("kind", [SystemExit, BaseException, TimeoutError])
def test_exception_from_a_signal_handler_is_not_blamed_on_a_backend(kind, install):
    def interrupt(number, frame):
        raise kind("enough")

    install("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(kind, match="enough"):
            xpnet.backends()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("error", ["SystemExit(3)", "OSError('no libfast')", "StopIteration()", "Unspoken()"])
def test_backend_that_exits_raises_its_cause(error, install):
    for source, package in (("fail()", "one"), (TOY.format(", device=Device(probe=fail)"), "two")):
        install(FAILING.format(error) + source, name=package, package=package, folder=package)
        with pytest.raises(xpnet.BackendUnavailableError, match=error.partition("(")[0]):
            xpnet.backend(package)


def test_package_that_takes_a_shipped_name_is_an_error_that_names_both(install):
    install(TOY.format(""), name="numpy", package="evil-arrays")
    for name in ("numpy", None):
        with pytest.raises(xpnet.BackendUnavailableError) as caught:
            xpnet.backend(name)
        assert "xpnet (xpnet_numpy:xp)" in str(caught.value)
        assert "evil-arrays (xpnet_evil_arrays:xp)" in str(caught.value)
        assert "uninstall evil-arrays" in caught.value.remedy
    found = infos()
    assert found["numpy"].reason == str(caught.value)
    assert found["numba"].usable
    assert "xpnet_evil_arrays" not in sys.modules


def test_error_names_all_packages_that_take_a_shipped_name(install):
    for folder in ("one", "two"):
        install(TOY.format(""), name="numpy", package=f"evil-{folder}", folder=folder)
    with pytest.raises(xpnet.BackendUnavailableError) as caught:
        xpnet.backend("numpy")
    assert re.search(r"evil-\w+ \(\w+:xp\), evil-\w+ \(\w+:xp\) and xpnet \(", caught.value.cause)
    assert re.search(r"reserved for xpnet: uninstall evil-\w+ and evil-\w+, or", caught.value.remedy)


def test_shipped_name_is_refused_even_if_only_one_package_has_it(install, monkeypatch):
    install(TOY.format(""), name="numpy", package="evil-arrays")
    registered = importlib.metadata.entry_points(group="xpnet.backends")
    alone = [entry for entry in registered if entry.dist.name == "evil-arrays"]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: alone)
    with pytest.raises(
        xpnet.BackendUnavailableError,
        match=r"provided by evil-arrays .*; the name is reserved for xpnet: uninstall evil",
    ):
        xpnet.backend("numpy")


def test_two_packages_of_one_name_are_an_error_that_names_both(install):
    for package in ("first-toy", "second-toy"):
        install(TOY.format(""), package=package, folder=package)
    with pytest.raises(xpnet.BackendUnavailableError) as caught:
        xpnet.backend("toy")
    assert "first-toy (xpnet_first_toy:xp)" in caught.value.cause
    assert "second-toy (xpnet_second_toy:xp)" in caught.value.cause
    assert infos()["toy"].reason == str(caught.value)
    assert not infos()["toy"].usable


def test_leftover_of_an_earlier_installation_is_not_a_second_package(tmp_path, install):
    install(TOY.format(""), folder="checkout")
    install(TOY.format(""), folder="site-packages")
    assert infos()["toy"].usable
    for folder in ("a", "b"):
        info = tmp_path / folder / "xpnet-0.0.9.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: xpnet\nVersion: 0.0.9\n")
        (info / "entry_points.txt").write_text("[xpnet.backends]\nnumpy = xpnet_numpy:xp\n")
        sys.path.insert(0, str(tmp_path / folder))
    try:
        assert xpnet.backend("numpy").name == "numpy"
    finally:
        del sys.path[:2]


def test_shipped_names_are_those_that_the_project_registers():
    registered = importlib.metadata.distribution("xpnet").entry_points.select(group="xpnet.backends")
    assert {entry.name: entry.value for entry in registered} == {
        name: f"xpnet_{name}:xp" for name in discovery.SHIPPED
    }


@pytest.mark.parametrize("metadata", ["", "Metadata-Version: 2.1\nVersion: 1.0\n"])
def test_package_without_a_name_is_called_by_its_entry_point(metadata, install, tmp_path):
    install("raise OSError('x')")
    (tmp_path / "one" / "toy_package-1.0.dist-info" / "METADATA").write_text(metadata)
    assert infos()["toy"].remedy == "reinstall xpnet_toy_package:xp"


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


def test_advice_of_a_third_party_is_shown(install):
    install(
        "import numpy\nfrom xpnet import Namespace\nxp = Namespace('toy', numpy, advice=lambda: ['set X'])\n"
    )
    assert {info.name: info for info in xpnet.backends()}["toy"].advice == ("set X",)


def test_advice_that_is_one_text_is_one_line(install):
    install(TOY.format(", advice=lambda: 'set X'"))
    assert infos()["toy"].advice == ("set X",)


def test_errors_survive_pickling():
    error = xpnet.BackendUnavailableError("toy", "is broken", "fix it")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "backend 'toy' is broken; fix it"
    unknown = xpnet.UnknownBackendError("toy", ["numpy"])
    assert str(pickle.loads(pickle.dumps(unknown))) == str(unknown)
