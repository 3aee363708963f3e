"""The backend `cupy`: its errors if it cannot be used, and its kernels on a GPU if it can."""

import subprocess
import sys

import numpy
import pytest
import steps
from checking import assert_returns_what_its_twin_does

import xpnet
from xpnet import BackendUnavailableError, nn
from xpnet.drawing import drawn
from xpnet_bench import results
from xpnet_bench.limit import batch_products, is_on_cuda, multiplier

DTYPES = ("float32", "float64")
OPTIMIZERS = [xpnet.Momentum(lr=4.0), xpnet.Adam()]
WARM = xpnet.schedules.Warmup(20, xpnet.schedules.Cosine(0.01, steps=100))

WITHOUT_CUPY = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == "cupy":
            raise ModuleNotFoundError("No module named 'cupy'", name="cupy")

sys.meta_path.insert(0, Blocker())
import xpnet
try:
    xpnet.backend("cupy")
except xpnet.BackendUnavailableError as e:
    print(e.cause)
    print(e.remedy)
"""

IMPORT_ONLY = """
import pathlib
import sys
import xpnet_cupy
assert xpnet_cupy.xp.name == "cupy"
assert "relu" in xpnet_cupy.xp.fused
assert not xpnet_cupy.kernels._kernel.cache_info().currsize
assert "scipy" not in sys.modules
maps = pathlib.Path("/proc/self/maps")
loaded = maps.read_text(encoding="utf-8") if maps.exists() else ""
# Not cublasLt, which `import cupy` loads where CUDA is installed as wheels.
assert not [name for name in ("libcublas.so", "libnvrtc", "libnccl", "libcusolver") if name in loaded]
"""


def _run(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture
def no_gpu(cupy):
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        return
    if count:
        pytest.skip("a CUDA device is here")


@pytest.fixture(scope="module")
def xp():
    try:
        return xpnet.backend("cupy")
    except BackendUnavailableError as e:
        pytest.skip(str(e))


def test_without_cupy_the_error_names_both_ways_to_install_it():
    cause, remedy = _run(WITHOUT_CUPY)
    assert cause == "cannot be loaded: No module named 'cupy'"
    assert "`pip install 'xpnet[cupy13]'` if the driver serves CUDA 13" in remedy
    assert "`pip install 'xpnet[cupy12]'` if it serves CUDA 12" in remedy


def test_importing_the_package_compiles_nothing_loads_no_library_of_cuda_and_needs_no_device(cupy):
    assert _run(IMPORT_ONLY) == []


@pytest.mark.parametrize("name", ["cupy", "cupy:0", "cupy:1"])
def test_without_a_device_the_error_is_cudas_own_and_names_other_backends(name, no_gpu):
    with pytest.raises(BackendUnavailableError) as caught:
        xpnet.backend(name)
    assert "CUDA device and found none (cudaError" in caught.value.cause
    assert caught.value.remedy.endswith("or choose 'numpy' or 'numba'")


@pytest.mark.parametrize("text", ["x", "-1", "", "1.5", "²"])
def test_a_device_that_is_no_number_is_refused_before_the_driver_is_asked(text, cupy):
    from xpnet_cupy import xp

    with pytest.raises(BackendUnavailableError, match=r"has no device .*; give a device's number"):
        xp.on(text)


def test_to_use_a_backend_is_to_use_its_device(cupy, no_gpu):
    from xpnet_cupy import xp

    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaError"):
        xp.use()


def test_a_device_that_is_not_there_names_those_that_are(probing, monkeypatch):
    from xpnet_cupy import xp

    monkeypatch.setattr(probing, "count_devices", lambda: 2)
    with pytest.raises(BackendUnavailableError, match="'2'; choose among 'cupy:0', 'cupy:1'"):
        xp.on("2")


def _draw(*shape, dtype, seed=0):
    x = numpy.random.default_rng(seed).standard_normal(shape) * 3
    return numpy.asarray(x, dtype=dtype)


@pytest.mark.gpu
def test_a_step_on_a_gpu_overwrites_a_transposed_parameter(xp):
    param, grad = (_draw(6, 40, dtype="float32", seed=seed) for seed in (0, 1))
    moved = xp.asarray(param).T
    xp.nn.sgd_step(moved, xp.asarray(grad).T, 0.5)
    numpy.testing.assert_allclose(xp.to_host(moved), param.T - numpy.float32(0.5) * grad.T, rtol=5e-6)


@pytest.mark.gpu
def test_the_same_arguments_on_a_gpu_give_the_same_bits(xp):
    outputs, targets = (xp.asarray(_draw(999, 333, dtype="float32", seed=seed)) for seed in (0, 1))
    losses = {xp.to_host(xp.nn.squared_error(outputs, targets)[0]).tobytes() for _ in range(20)}
    assert len(losses) == 1


@pytest.mark.gpu
def test_a_numbered_device_makes_arrays_that_come_back_to_the_host(xp):
    first = xpnet.backend("cupy:0")
    x = first.asarray([1.0, 2.0], dtype=first.float32)
    first.synchronize()
    assert x.device == first.device == xp.device
    assert isinstance(first.to_host(x), numpy.ndarray)
    assert first.to_host(x).tolist() == [1.0, 2.0]


@pytest.mark.gpu
def test_the_name_without_a_number_is_the_first_device(xp, cupy):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("needs two GPUs")
    second = xpnet.backend("cupy:1")
    assert second.nn.relu(second.zeros((2,))).device == second.device
    first = xpnet.backend("cupy")
    assert first.nn.relu(first.zeros((2,))).device == first.device != second.device


@pytest.mark.gpu
def test_a_device_beyond_the_last_is_refused(xp):
    with pytest.raises(BackendUnavailableError, match="has no device '999'; choose among 'cupy:0'"):
        xpnet.backend("cupy:999")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(128, 784, 64), (512, 600, 500)])
def test_linear_layers_on_a_gpu_match_their_twins(shape, dtype, xp):
    """cuBLAS computes the last of the shapes."""
    sizes = dict(zip(("batch", "n_in", "n_out"), shape, strict=True))
    for name in ("linear", "linear_backward"):
        arguments = drawn(nn.FUNCTIONS[name], seed=0, dtype=dtype, sizes=sizes)
        assert_returns_what_its_twin_does(xp, nn.FUNCTIONS[name], arguments)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_first_layer_on_a_gpu_reads_stored_images(dtype, xp, cupy):
    from xpnet_cupy.dense import Dense
    from xpnet_cupy.stored import Stored

    dense, random = Dense(tf32=False), numpy.random.default_rng(0)
    images, indices = random.integers(0, 256, (300, 784), "uint8"), random.integers(0, 300, 130, "int32")
    weight, bias, dy = (_draw(*shape, dtype=dtype) for shape in ((784, 66), (66,), (130, 66)))
    how = {"scale": 1 / 255, "offset": -0.5, "dtype": numpy.dtype(dtype)}
    x = Stored(cupy.asarray(images), cupy.asarray(indices), shape=(130, 784), **how)
    gathered = nn.gather_batch(numpy, images, indices, **how)
    found = (
        dense.activated(None, x, xp.asarray(weight), xp.asarray(bias))[0],
        *dense.gradient(x, xp.asarray(dy)),
    )
    expected = nn.linear(numpy, gathered, weight, bias), *nn.linear_backward(numpy, gathered, weight, dy)[1:]
    for one, other in zip(found, expected, strict=True):
        size = abs(other).max()
        numpy.testing.assert_allclose(
            cupy.asnumpy(one), other, rtol=0, atol=16 * numpy.finfo(dtype).eps * size
        )


STEPS = 100


@pytest.fixture
def graphs(xp, monkeypatch):
    """The namespace, with each step a graph."""
    from xpnet_cupy import programs
    from xpnet_cupy.persistent.calls import NotPersistent

    def refuse(trace):
        raise NotPersistent("graphs are tested")

    monkeypatch.setattr(programs, "plan_of", refuse)
    return xp


def _training(xp, *, optimizer=OPTIMIZERS[0], sizes=(784, 64, 10), batch_size=128, dropout=0.0):
    """Return a trainer of 100 steps an epoch, with the parameters that it has on NumPy."""
    train, _ = xpnet.datasets.mnist()
    model = xpnet.mlp(*sizes, activation="sigmoid")
    if dropout:
        model = xpnet.Sequential(*model.layers[:2], xpnet.Dropout(dropout), *model.layers[2:])
    options = {"batch_size": batch_size, "seed": 138, "dtype": "float32"}
    return steps.make_trainer(xp, model, train[: batch_size * STEPS], optimizer=optimizer, **options)[0]


def _trained(trainer):
    """Return the loss and the parameters after an epoch of 100 steps, on the host."""
    order = numpy.random.default_rng(0).permutation(trainer.samples).astype("int32")
    trainer.rehearse()
    loss = float(trainer.xp.to_host(trainer.epoch(order)))
    assert trainer.compiled.report == ""
    return loss, {name: trainer.xp.to_host(p) for name, p in trainer.params.items()}


def _assert_near(found, expected):
    assert abs(found[0] / expected[0] - 1) < 1e-4
    for name, p in expected[1].items():
        numpy.testing.assert_allclose(found[1][name], p, rtol=1e-3, atol=1e-4)


TRAININGS = [
    {"optimizer": OPTIMIZERS[0]},
    {"optimizer": OPTIMIZERS[1], "batch_size": 32},
    {"optimizer": xpnet.AdamW(WARM, weight_decay=0.1), "dropout": 0.2},
    {"optimizer": xpnet.Momentum(1.0), "sizes": (784, 70, 33, 10)},
]


@pytest.mark.gpu
@pytest.mark.parametrize("options", TRAININGS, ids=["momentum", "adam", "schedule and dropout", "deep"])
def test_hundred_steps_of_one_kernel_on_a_gpu_stay_near_numpy_and_have_the_same_bits(options, xp):
    trainers = [_training(xp, **options) for _ in range(3)]
    found = [_trained(trainer) for trainer in trainers]
    _assert_near(found[0], _trained(_training(xpnet.backend("numpy"), **options)))
    bits = {(loss, *(p.tobytes() for p in params.values())) for loss, params in found}
    assert len(bits) == 1
    (program,) = trainers[0].compiled.programs
    assert type(program).__name__ == "PersistentProgram", program.reason
    assert program.nodes == program.captures == 0
    assert program._kernel._function.local_size_bytes == 0, "registers were spilled"
    assert int(program._kernel._barrier[0]) == program._kernel._arrived


@pytest.mark.gpu
@pytest.mark.parametrize("options", TRAININGS[:3], ids=["momentum", "adam", "schedule and dropout"])
def test_hundred_captured_steps_on_a_gpu_stay_near_numpy(options, graphs):
    trainers = [_training(graphs, **options), _training(xpnet.backend("numpy"), **options)]
    _assert_near(*map(_trained, trainers))
    (program,) = trainers[0].compiled.programs
    assert program.reason == "graphs are tested"
    assert program.captures == 2


@pytest.mark.gpu
def test_a_captured_step_of_the_courses_network_has_at_most_seven_nodes(graphs):
    trainer = _training(graphs)
    _trained(trainer)
    (program,) = trainer.compiled.programs
    assert program._graph is not None
    assert len(program.tasks) <= program.nodes <= 7


@pytest.mark.gpu
@pytest.mark.parametrize("sizes", [(784, 64, 10), (784, 1024, 1024, 10)], ids=["kernel", "graph"])
def test_a_scan_on_a_gpu_returns_before_the_device_has_finished(sizes, xp, cupy):
    trainer = _training(xp, sizes=sizes, batch_size=256)
    _trained(trainer)
    (program,) = trainer.compiled.programs
    assert (program.nodes == 0) == (sizes == (784, 64, 10)), program.reason
    carry = trainer.params, trainer._state, xp.zeros((), dtype=xp.float32), None
    rows = xp.reshape(xp.arange(256 * STEPS, dtype=xp.int32), (STEPS, 256))
    rows = xp.concat([rows] * 10)
    xp.synchronize()
    xp.scan(trainer.compiled, carry, rows, trainer._images.images, trainer._targets.arrays)
    assert not cupy.cuda.get_current_stream().done
    xp.synchronize()


@pytest.mark.gpu
def test_a_scan_on_a_gpu_carries_what_a_step_makes(xp):
    def step(xp, h, w, b, x):
        return xp.nn.tanh(xp.nn.add(xp.nn.linear(h, w, b), x)), w, b

    carry = [_draw(*shape, dtype="float32") / 9 for shape in ((5, 4), (4, 4), (4,))]
    rows, compiled = _draw(50, 5, 4, dtype="float32"), xp.compile(step)
    found, expected = tuple(map(xp.asarray, carry)), tuple(carry)
    for _ in range(2):
        found = xp.scan(compiled, found, xp.asarray(rows))
        expected = xpnet.backend("numpy").scan(step, expected, rows)
    numpy.testing.assert_allclose(xp.to_host(found[0]), expected[0], rtol=1e-4, atol=1e-5)
    assert compiled.report == ""
    assert compiled.programs[0].captures == 2


@pytest.mark.gpu
def test_a_model_trained_on_a_gpu_predicts_the_same_on_numpy_and_back(tmp_path, xp):
    train, test = xpnet.datasets.mnist()
    model = xpnet.mlp(784, 64, 10, activation="sigmoid")
    run = xpnet.fit(xp, model, train, test=test, optimizer=OPTIMIZERS[0], epochs=1, progress=False)
    run.save(tmp_path / "model.safetensors")
    for name in ("numpy", "cupy"):
        found = xpnet.load(tmp_path / "model.safetensors", xpnet.backend(name)).evaluate(test)
        assert abs(found.accuracy - run.history[-1].test_accuracy) <= 1e-3


@pytest.mark.gpu
def test_error_for_a_batch_too_large_for_a_gpu_names_one_that_fits(xp):
    data = xpnet.Dataset(numpy.zeros((200_000, 4), dtype="uint8"), numpy.arange(200_000) % 10)
    model = xpnet.mlp(4, 1_000_000, 10, activation="sigmoid")
    with pytest.raises(xpnet.DeviceMemoryError, match="a batch size of at most"):
        xpnet.fit(xp, model, data, optimizer=OPTIMIZERS[0], epochs=1, batch_size=200_000, progress=False)


def test_bytes_asked_for_are_read_from_cupys_own_error(cupy):
    from xpnet_cupy import devices

    error = cupy.cuda.memory.OutOfMemoryError(1_234_567, 89)
    assert devices.asked_for(str(error)) == 1_234_567
    assert devices.shortage(None, ValueError("other")) is None


@pytest.mark.gpu
@pytest.mark.parametrize("tf32", [False, True])
def test_products_on_a_gpu_are_one_graph_of_cublas(tf32, xp):
    products = [*batch_products((784, 64, 10), 128), *batch_products((784, 64, 10), 17)]
    assert is_on_cuda(xp)
    multiply = multiplier(xp, products, tf32=tf32)
    assert type(multiply).__name__ == "Captured"
    multiply()
    xp.synchronize()


@pytest.mark.gpu
def test_a_gpu_is_called_by_its_model(xp):
    assert xp.device_name().startswith(("NVIDIA", "Tesla", "Quadro", "GeForce"))
    assert xp.device_name() in results.machine(1, "beads")["gpu"]
