import inspect
import subprocess
import sys
import types

import array_api_strict
import numpy as np
import pytest

import xpnet
from xpnet import nn


def test_namespace_has_the_librarys_names():
    xp = xpnet.Namespace("mine", np)
    assert xp.matmul is np.matmul
    assert xp.float32 is np.float32
    assert xp.linalg is np.linalg


def test_namespace_says_which_name_is_missing():
    with pytest.raises(AttributeError, match="'no_such_function'"):
        xpnet.Namespace("mine", np).no_such_function  # noqa: B018


def test_name_that_the_library_makes_on_demand_is_found():
    class Library:
        float32 = "kept"

        def __getattr__(self, name):
            if name != "made":
                raise AttributeError(name)
            return "on demand"

    xp = xpnet.Namespace("mine", Library())
    assert xp.made == "on demand"
    assert vars(xp)["made"] == "on demand"


def own_names():
    xp = xpnet.Namespace("mine", types.ModuleType("library"))
    return sorted(name for name in {*dir(type(xp)), *vars(xp)} if not name.startswith("__"))


@pytest.mark.parametrize("lazily", [False, True])
def test_names_that_a_namespace_defines_win_over_the_library(lazily):
    names = own_names()
    assert {"compile", "device", "fold", "fused", "library", "name", "nn", "on", "use", "_device"} <= set(
        names
    )
    made = dict.fromkeys([*names, "__name__", "matmul"], "the library's")

    def find(name):
        if name not in made:
            raise AttributeError(name)
        return made[name]

    library = types.ModuleType("library")
    vars(library).update({"__getattr__": find} if lazily else made)
    xp = xpnet.Namespace("mine", library)
    assert xp.matmul == "the library's"
    assert [name for name in names if getattr(xp, name) == "the library's"] == []
    assert (xp.name, xp.__name__, xp.fused, xp.library) == ("mine", "xpnet.mine", (), library)

    def step(x):
        return x

    assert xp.compile(step) is step
    xp = xpnet.Namespace("mine", library, compile=lambda step: lambda *args: "compiled")
    assert xp.compile(step)(xp, 1) == "compiled"


def test_completed_library_has_the_given_names_and_the_librarys_others():
    library = xpnet.standard.completed(np, sort=sorted)
    xp = xpnet.Namespace("mine", library)
    assert (library.__name__, library.ctypeslib, xp.library) == ("numpy", np.ctypeslib, library)
    assert xp.versions == {"numpy": np.__version__}
    assert xp.sort is sorted
    assert xp.argsort is np.argsort
    with pytest.raises(AttributeError, match="'numpy' has no attribute 'no_such_function'"):
        library.no_such_function  # noqa: B018


def test_unknown_kernel_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"'sofmax'.*choose among .*softmax"):
        xpnet.Namespace("mine", np, fused={"sofmax": lambda z: z})


def test_fused_kernel_replaces_its_twin():
    xp = xpnet.Namespace("mine", np, fused={"relu": lambda z: "fused"})
    assert xp.fused == ("relu",)
    assert xp.nn.relu(np.zeros(1)) == "fused"
    np.testing.assert_array_equal(xp.nn.relu_backward(np.ones(1), np.ones(1)), [1.0])


def test_every_function_of_nn_is_bound():
    xp = xpnet.Namespace("mine", np)
    assert set(vars(xp.nn)) == set(nn.__all__)
    assert "sigmoid" in xp.nn.sigmoid_backward.__doc__


def test_step_that_is_no_function_is_refused_before_it_is_called(xp):
    for use in (lambda: xp.compile(3), lambda: xp.fold(3, (), [])):
        with pytest.raises(TypeError, match="`step` must be a function of a namespace and arrays, got 3"):
            use()


def test_new_arrays_are_made_on_the_device():
    device = array_api_strict.Device("device1")
    xp = xpnet.Namespace("mine", array_api_strict, device=xpnet.Device(device))
    assert xp.device == device
    assert xp.zeros((2,)).device == xp.asarray([1.0]).device == xp.arange(3).device == device


def test_namespace_describes_itself_as_the_standard_requires():
    info = xpnet.backend("numpy").__array_namespace_info__()
    assert info.default_device() == "cpu"


def test_default_device_is_the_librarys():
    assert xpnet.Namespace("mine", np).device == "cpu"


def test_to_host_gives_a_numpy_array(xp):
    x = xp.to_host(xp.asarray(np.array([[1.5, 2.5]], dtype=np.float32)))
    assert isinstance(x, np.ndarray)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, [[1.5, 2.5]])


def test_to_host_takes_the_result_of_a_reduction(xp):
    assert float(xp.to_host(xp.sum(xp.ones((3,), dtype=xp.float32)))) == 3.0


def test_compile_is_the_identity_by_default():
    def step(x):
        return x

    assert xpnet.Namespace("mine", np).compile(step) is step


def test_namespace_asks_its_device():
    calls = []
    device = xpnet.Device(
        name=lambda xp: f"NVIDIA H200 of {xp.name!r}",
        kind="gpu",
        use=lambda: calls.append("use"),
        at=lambda xp, text: (xp, text),
        to_host=lambda x: ("host", x),
        synchronize=lambda: calls.append("synchronize"),
        release=lambda: calls.append("release"),
        shortage=lambda error: (2, 1),
    )
    xp = xpnet.Namespace("mine", np, device=device)
    xp.use()
    xp.synchronize()
    xp.release()
    assert calls == ["use", "synchronize", "release"]
    assert (xp.device_name(), xp.device_kind) == ("NVIDIA H200 of 'mine'", "gpu")
    assert xp.on("1") == (xp, "1")
    assert xp.to_host(2) == ("host", 2)
    assert xp.shortage(MemoryError()) == (2, 1)


def test_device_of_the_librarys_own_is_where_arrays_are_made():
    second = array_api_strict.Device("device1")
    xp = xpnet.Namespace("mine", array_api_strict, device=second)
    assert (xp.device, xp.zeros((1,)).device, xp.device_kind) == (second, second, "cpu")


def test_host_is_the_default():
    xp = xpnet.Namespace("mine", np)
    xp.use()
    xp.synchronize()
    xp.release()
    assert (xp.device_name(), xp.device_kind) == ("cpu", "cpu")
    assert xp.shortage(MemoryError()) is None


def test_few_parameters_make_a_namespace():
    assert len(inspect.signature(xpnet.Namespace).parameters) <= 8


def test_compile_is_what_was_given():
    xp = xpnet.Namespace("mine", np, compile=lambda step: lambda x: ("compiled", step(x)))
    assert xp.compile(lambda xp, x: (xp.name, x))(xp, 1) == ("compiled", ("mine", 1))


def test_advice_is_what_was_given_or_nothing():
    assert xpnet.Namespace("mine", np).advice() == []
    assert xpnet.Namespace("mine", np, advice=lambda: ("one", "two")).advice() == ["one", "two"]


def test_backend_with_one_device_names_it():
    with pytest.raises(xpnet.BackendUnavailableError, match=r"'numpy' has no device '1'; .* on cpu only"):
        xpnet.backend("numpy:1")


def test_failing_probe_is_reported_in_its_own_words():
    def probe(xp):
        raise OSError("libfast.so.3: cannot open shared object file")

    xp = xpnet.Namespace("mine", np, device=xpnet.Device(probe=probe, remedy="install libfast 3"))
    with pytest.raises(xpnet.BackendUnavailableError) as caught:
        xp.probe()
    assert str(caught.value) == (
        "backend 'mine' cannot be used: OSError: libfast.so.3: cannot open shared object file; "
        "install libfast 3"
    )
    assert isinstance(caught.value.__cause__, OSError)


def test_probe_of_a_namespace_that_is_distrusted_runs_again(dataset):
    """As after a fork, when CUDA can no longer be used."""
    failures = []

    def probe(xp):
        if failures:
            raise RuntimeError(failures[0])

    xp = xpnet.Namespace("mine", np, device=xpnet.Device(probe=probe, remedy="use 'spawn'"))
    model, options = xpnet.mlp(12, 3), {"optimizer": xpnet.SGD(0.5), "epochs": 1}
    run = xpnet.fit(xp, model, dataset, **options)
    failures.append("initialization error")
    run.evaluate(dataset)
    xp.distrust()
    for use in (lambda: xpnet.fit(xp, model, dataset, **options), lambda: run.predict(dataset)):
        with pytest.raises(xpnet.BackendUnavailableError, match="initialization error; use 'spawn'"):
            use()


def test_probe_runs_once():
    calls = []
    xp = xpnet.Namespace("mine", np, device=xpnet.Device(probe=calls.append))
    xp.probe()
    xp.probe()
    assert calls == [xp]


def test_array_of_another_library_is_refused(xp):
    xp.check_array("x", xp.zeros((1,), dtype=xp.float32))
    other = np.zeros(1) if not isinstance(xp.zeros((1,)), np.ndarray) else array_api_strict.zeros((1,))
    with pytest.raises(TypeError, match=r"`x` is a .*, but the model is on .*; pass `xp.asarray\(x\)`"):
        xp.check_array("x", other)
    with pytest.raises(TypeError, match=r"`x` is a builtins.list"):
        xp.check_array("x", [1.0])


def test_array_is_known_without_the_modules_that_numpy_imports_on_demand():
    code = """
import sys, xpnet
xp = xpnet.backend("numpy")
xp.check_array("x", xp.zeros(1))
print({"numpy.f2py", "numpy.ma"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_repr_names_backend_and_device():
    assert repr(xpnet.backend("numpy")) == "<xpnet.Namespace 'numpy' on cpu>"


def test_array_of_another_device_is_refused():
    first, second = map(array_api_strict.Device, ("CPU_DEVICE", "device1"))
    xp = xpnet.Namespace("strict", array_api_strict, device=xpnet.Device(second))
    xp.check_array("x", xp.zeros((2,)))
    with pytest.raises(ValueError, match=r"`x` is on .*CPU_DEVICE.*, but the model is on .*device1"):
        xp.check_array("x", array_api_strict.zeros((2,), device=first))


def test_without_tf32_the_error_names_the_backend_that_has_it():
    with pytest.raises(xpnet.BackendUnavailableError, match=r"'numpy' has no products in TF32; .*'cupy'"):
        xpnet.backend("numpy").with_tf32()
