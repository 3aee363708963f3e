"""What a declaration and a struct add to `cupy`: a step, and an activation that keeps its argument."""

import contextlib
import shutil

import cuda_on_host
import numpy
import pytest

import xpnet
from xpnet import nn

STRUCTS = """
struct Parabola {
    template <typename T> static __device__ T of(T z) { return z * z; }
    template <typename T> static __device__ T backward(T z, T dy) { return 2 * z * dy; }
};

template <typename T> struct WeighedDecay {
    T* mean;
    T lr, beta, rest, decay;
    __device__ void operator()(T* param, Index i, T g) const
    {
        mean[i] = beta * mean[i] + rest * g;
        param[i] -= lr * (mean[i] + decay * param[i]);
    }
};
"""
SHAPES = (5, 4), (4, 3), (3,), (3, 2), (2,), (5, 2)


def parabola(xp, z):
    return z * z


def parabola_backward(xp, z, dy):
    return 2 * z * dy


def weighed_decay_step(xp, param, grad, mean, lr: float, beta: float, decay: float):
    mean *= beta
    mean += (1 - beta) * grad
    param -= lr * (mean + decay * param)
    return param, mean


def fading_step(xp, param, grad, step: int, lr: float):
    param -= lr / step * grad
    return param


@contextlib.contextmanager
def declared():
    """Let `nn` have these functions for a while."""
    functions = [
        nn.declared(parabola, "z: * -> y: *", gradient="parabola_backward"),
        nn.declared(parabola_backward, "z: *, dy: * -> dz: *"),
        nn.declared(weighed_decay_step, "param!: *, grad: *, mean!: * -> *, *"),
        nn.declared(fading_step, "param!: *, grad: *, step: count -> *"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        for function in functions:
            patch.setitem(nn.FUNCTIONS, function.name, function)
            patch.setattr(nn, function.name, function.twin, raising=False)
        patch.setattr(nn, "__all__", sorted(nn.FUNCTIONS))
        yield


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of `xpnet_cupy` whose kernels.cu has the structs, on this processor."""
    folder = tmp_path_factory.mktemp("copy") / "xpnet_cupy"
    shutil.copytree(cuda_on_host.FOLDER, folder)
    with (folder / "kernels.cu").open("a", encoding="utf-8") as file:
        file.write(STRUCTS)
    used = {"Parabola", "Identity", "WeighedDecay", "Store", "double"}
    with declared(), pytest.MonkeyPatch.context() as patch:
        found = cuda_on_host.load(folder)
        only = [s for s in cuda_on_host.symbols(found.source) if {*s[:-1].split("<")[1].split(", ")} <= used]
        library = cuda_on_host.compiled(found, tmp_path_factory.mktemp("host"), only=only)
        patch.setattr(found.kernels, "_kernel", cuda_on_host.kernel_of(library))
        patch.setattr(found.blas, "multiply", cuda_on_host.multiply)
        yield found


@pytest.fixture(params=[2**24, 0], ids=["by a kernel", "by cuBLAS"])
def xp(request, package, monkeypatch):
    monkeypatch.setattr(package.dense, "LARGEST_PRODUCT", request.param)
    return cuda_on_host.namespace(package)


def draw(*shapes):
    random = numpy.random.default_rng(0)
    return [random.normal(size=shape) / 2 for shape in shapes]


def forward(xp, x, weight, bias):
    return xp.nn.parabola(xp.nn.linear(x, weight, bias))


def train(xp, params, means, x, targets):
    weight, bias, last_weight, last_bias = params
    z = xp.nn.linear(x, weight, bias)
    y = xp.nn.parabola(z)
    _, d_outputs = xp.nn.squared_error(xp.nn.linear(y, last_weight, last_bias), targets)
    dy, *d_last = xp.nn.linear_backward(y, last_weight, d_outputs)
    dz = xp.nn.parabola_backward(z, dy)
    _, *d_first = xp.nn.linear_backward(x, weight, dz, input_gradient=False)
    steps = zip(params, (*d_first, *d_last), means, strict=True)
    return tuple(zip(*(xp.nn.weighed_decay_step(*step, 0.1, 0.9, 0.2) for step in steps), strict=True))


def test_all_have_kernels(xp):
    assert {"parabola", "parabola_backward", "weighed_decay_step"} <= {*xp.fused}
    z, dy = draw((7, 3), (7, 3))
    numpy.testing.assert_allclose(xp.nn.parabola(z=z), z * z)
    numpy.testing.assert_allclose(xp.nn.parabola_backward(z, dy=dy), 2 * z * dy)


def test_a_function_without_cuda_code_is_its_twin():
    with declared():
        xp = cuda_on_host.namespace(cuda_on_host.load())
        assert "parabola" not in xp.fused
        assert xp.nn.parabola(numpy.asarray(3.0)) == 9


def test_a_count_is_not_captured_for_a_twin(package):
    xp, numbers = cuda_on_host.namespace(package), []
    compiled = xp.compile(lambda xp, p, g, n: xp.nn.fading_step(p, g, n, 0.5))
    param, grad = xp.asarray(numpy.zeros(3)), xp.asarray(numpy.ones(3))
    for n in (1, 2, 4):
        param = compiled(xp, param, grad, n)
        numbers.append(float(param[0]))
    assert numbers == [-0.5, -0.75, -0.875]
    assert compiled.report == "`nn.fading_step` has no kernel that takes a number that may change"


def test_training_fuses_them_with_layers_and_equals_the_twins(xp):
    compiled, plain = xp.compile(train), xpnet.Namespace("plain", numpy)
    x, *params, targets = draw(*SHAPES)

    def start(copy):
        return tuple([copy(p) for p in params]), tuple([copy(0 * p) for p in params])

    found, expected = start(lambda p: xp.asarray(p, copy=True)), start(numpy.copy)
    for _ in range(5):
        found = compiled(xp, *found, xp.asarray(x), xp.asarray(targets))
        expected = train(plain, *expected, x, targets)
        for one, other in zip((*found[0], *found[1]), (*expected[0], *expected[1]), strict=True):
            numpy.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)
    assert compiled.report == ""
    (program,) = compiled.programs
    assert [task.name for task in program.tasks] == [
        "linear parabola",
        "linear",
        "squared_error",
        "linear_backward parabola",
        "linear_weighed_decay_step",
        "linear_weighed_decay_step",
    ]


def test_an_argument_is_kept_only_for_a_gradient(xp):
    arrays = [xp.asarray(array) for array in draw(*SHAPES[:3])]
    compiled = xp.compile(forward)
    for _ in range(4):
        numpy.testing.assert_allclose(compiled(xp, *arrays), forward(xp, *arrays))
    (program,) = compiled.programs
    ((y, z),) = [task.results for task in program.tasks]
    assert y is not None
    assert z is None
