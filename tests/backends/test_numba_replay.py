"""What the backend `numba` alone does when it replays steps; `test_replay` has the rest."""

import ctypes
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import steps
import threadpoolctl
from hypothesis import given, settings
from hypothesis import strategies as st
from steps import assert_same, make_images, make_trainer, train

import xpnet

numba = pytest.importorskip("numba", reason="numba is not installed")

from xpnet_numba import layout, lowering, program, team, xp  # noqa: E402
from xpnet_numba.kernels import activations, dense, losses  # noqa: E402
from xpnet_numba.kernels.steps import momentum_step  # noqa: E402

few = settings(deadline=None, derandomize=True, max_examples=60)


def test_images_that_the_tests_call_sparse_are():
    images = make_images("sparse", (37, 29))
    assert 0 < numpy.count_nonzero(images) <= lowering.DENSEST * images.size


@few
@given(steps.trainings(), st.sampled_from([2000, 0]))
def test_replayed_training_equals_plain_training_where_the_blas_takes_part(training, largest):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lowering, "LARGEST_PRODUCT", largest)
        steps.assert_trains_alike(xp, training)


def carry_out_backwards(team, program, *, helped):
    """Do what `Team.carry_out` does, the last part of each stage first, as if there were as many threads."""
    fields = [int(x) for x in program.array]
    number = team._work.argtypes[-1]
    for step in range(fields[layout.STEPS]):
        prepare(fields, step, ctypes.sizeof(number))
        for stage in integers(fields[layout.STAGES], (fields[layout.COUNT], layout.STAGE_WIDTH)):
            carry_out_stage(fields, *map(int, stage), number)


def carry_out_stage(fields, first, end, parts, number):
    operations, width, numbers, numbers_width, slots = fields[: layout.SLOTS + 1]
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5, number)
    for part in reversed(range(parts)):
        for i in range(first, end):
            row = operations + i * width
            address, length = map(int, integers(row, 2))
            begin, stop = length * part // parts, length * (part + 1) // parts
            if length == 0:
                begin, stop = 0, int(part == 0)
            if begin < stop:
                details = row + layout.DETAILS * 8
                function(address)(details, numbers + i * numbers_width, slots, begin, stop, 0)


def prepare(fields, step, size):
    """Change what differs from step to step."""

    def rows(at, width):
        return integers(fields[at], (fields[at + 1], width)).tolist() if fields[at + 1] else []

    for slot, added in rows(layout.MOVES, layout.MOVE_WIDTH):
        integers(fields[layout.SLOTS], slot + 1)[slot] += added
    for one, other in rows(layout.SWAPS, layout.SWAP_WIDTH):
        slots = integers(fields[layout.SLOTS], max(one, other) + 1)
        slots[[one, other]] = slots[[other, one]]
    numbers = fields[layout.TABLE] + step * fields[layout.TABLE_BYTES]
    for column, target, count in rows(layout.COPIES, layout.COPY_WIDTH):
        ctypes.memmove(target, numbers + column * size, count * size)


def leaves(tree):
    return [tree] if isinstance(tree, numpy.ndarray) else [x for part in tree for x in leaves(part)]


def integers(address, shape):
    size = int(numpy.prod(shape))
    return numpy.ctypeslib.as_array((ctypes.c_int64 * size).from_address(address)).reshape(shape)


@settings(few, max_examples=30)
@given(steps.trainings(), st.sampled_from([lowering.LARGEST_PRODUCT, 2000]))
def test_order_of_the_parts_of_a_stage_changes_no_bit(training, largest):
    model, data, options = training
    forwards, backwards = (make_trainer(xp, model, data, **options)[0] for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lowering, "LARGEST_PRODUCT", largest)
        sums = train(forwards, len(data))
        patch.setattr(team.Team, "carry_out", carry_out_backwards)
        if largest > 2000:
            patch.setattr(program, "PARTS", 64)
        found = train(backwards, len(data))
    assert forwards.compiled.report == backwards.compiled.report == ""
    assert sums == found
    for name, p in forwards.params.items():
        numpy.testing.assert_array_equal(p, backwards.params[name])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_order_of_the_parts_changes_no_bit_of_convolutions(dtype, monkeypatch):
    model, images = steps.CONVOLUTIONS, make_images("dense", (37, 156))
    data = xpnet.Dataset(images, numpy.arange(37) % 3)
    forwards, backwards = (make_trainer(xp, model, data, dtype=dtype)[0] for _ in range(2))
    sums = train(forwards, len(data))
    monkeypatch.setattr(team.Team, "carry_out", carry_out_backwards)
    monkeypatch.setattr(program, "PARTS", 64)
    assert sums == train(backwards, len(data))
    assert forwards.compiled.report == backwards.compiled.report == ""
    for name, p in forwards.params.items():
        numpy.testing.assert_array_equal(p, backwards.params[name])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(37, 5), (37, 3, 7, 18)])
def test_order_of_the_parts_changes_no_bit_of_normalisation(shape, dtype, monkeypatch):
    forwards, backwards = xp.compile(steps.normalise), xp.compile(steps.normalise)
    args = steps.make_rows(*shape, dtype=dtype)
    expected = [forwards(xp, *steps.copied(args)) for _ in range(3)][-1]
    monkeypatch.setattr(team.Team, "carry_out", carry_out_backwards)
    monkeypatch.setattr(program, "PARTS", 64)
    found = [backwards(xp, *steps.copied(args)) for _ in range(3)][-1]
    assert forwards.report == backwards.report == ""
    for actual, other in zip(leaves(found), leaves(expected), strict=True):
        numpy.testing.assert_array_equal(actual, other)


# Kernels that add up or call `exp`, on arrays that lie beside each other, as small new arrays often do.
def flat(*arrays):
    return map(numpy.ravel, arrays)


NEIGHBOURS = {
    "softmax": lambda z, t, out: activations.softmax.loop(z, out, 0, 5),
    "softmax_backward": lambda z, t, out: activations.softmax_backward.loop(z, t, out, 0, 5),
    "log_softmax": lambda z, t, out: activations.log_softmax.loop(z, out, 0, 5),
    "log_softmax_backward": lambda z, t, out: activations.log_softmax_backward.loop(z, t, out, 0, 5),
    "softmax_cross_entropy": lambda z, t, out: losses._softmax_cross_entropy(z, CLASSES, out, numpy.empty(5)),
    "sigmoid_cross_entropy": lambda z, t, out: mean_of(losses.sigmoid_cross_entropy, z, t, out),
    "squared_error": lambda z, t, out: mean_of(losses.squared_error, z, t, out),
    "sigmoid": lambda z, t, out: activations.sigmoid.loop(*flat(z, out)),
    "momentum_step": lambda z, t, out: momentum_step.loop(*flat(out, z, t), 0.1, 0.9, 0.1, 0.7),
    "sum_rows": lambda z, t, out: dense.sum_rows_into(z, out[0]),
}


def mean_of(kernel, z, t, out):
    loss = numpy.empty(1, z.dtype)
    kernel.loop(*flat(z, t), loss, out.ravel())
    return loss


CLASSES = numpy.arange(5, dtype=numpy.int32)


@pytest.mark.parametrize("dtype", [numpy.float32, numpy.float64])
@pytest.mark.parametrize("kernel", NEIGHBOURS)
def test_bits_do_not_depend_on_where_arrays_lie(kernel, dtype):
    """LLVM keeps two versions of a loop, one for arrays that might overlap; each adds up in its order."""
    random = numpy.random.default_rng(0)
    values = [random.normal(size=(5, 10)).astype(dtype) for _ in range(3)]
    buffer, found = numpy.empty(2000, dtype), set()
    # The output behind the inputs with a gap of some elements, then before them.
    for gap in range(80):
        for places in ((0, 50 + gap, 100 + 2 * gap), (100 + 2 * gap, 50 + gap, 0), (0, 500 + gap, 50 + gap)):
            arrays = [buffer[place : place + 50].reshape(5, 10) for place in places]
            for a, value in zip(arrays, values, strict=True):
                a[...] = value
            result = NEIGHBOURS[kernel](*arrays)
            found.add(
                (numpy.asarray(result, dtype).tobytes() if result is not None else b"", arrays[2].tobytes())
            )
    assert len(found) == 1


@pytest.mark.parametrize("size", [5, 8, 11, 16, 20])
@pytest.mark.parametrize("loss", [losses.sigmoid_cross_entropy, losses.squared_error])
def test_bits_of_a_mean_do_not_depend_on_where_few_elements_lie(loss, size):
    """LLVM compares how far apart arrays begin: those of a few elements may all be near."""
    random = numpy.random.default_rng(0)
    outputs, targets, buffer = random.normal(size=size), random.random(size), numpy.empty(400)
    found = set()
    for places in itertools.permutations((0, 1, 2)):
        for gap in range(9):
            z, t, out = (buffer[place * (size + gap) :][:size] for place in places)
            z[...], t[...] = outputs, targets
            found.add(mean_of(loss, z, t, out).tobytes())
    assert len(found) == 1


FIT = """
import hashlib, numpy, xpnet
from xpnet_numba import xp
random = numpy.random.default_rng(0)
images = random.integers(0, 256, (700, 196)).astype(numpy.uint8)
images[random.random(images.shape) < {zeros}] = 0
data = xpnet.Dataset(images, numpy.arange(700) % 10)
layers = xpnet.Linear(196, 64), xpnet.{layer}(), xpnet.Linear(64, 33), xpnet.Linear(33, 10)
model = xpnet.Sequential(*layers)
digest = hashlib.sha256()
for dtype in ("float32", "float64"):
    run = xpnet.fit(
        xp, model, data, optimizer=xpnet.{rule}, epochs=3, batch_size=96, offset={offset}, dtype=dtype,
        seed=1, test=data, progress=False,
    )
    for p in run.params.values():
        digest.update(xp.to_host(p).tobytes())
    digest.update(repr([(e.train_loss, e.test_loss) for e in run.history]).encode())
print(digest.hexdigest())
"""


SOURCES = [Path(__file__).parents[2] / folder for folder in ("", "backends")]


def run(code, **environment):
    """Return what Python code prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, SOURCES)), **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    "options",
    [
        {"zeros": 0.8, "layer": "Sigmoid", "rule": "Momentum(0.3)", "offset": -0.5},
        {"zeros": 0.0, "layer": "ReLU", "rule": "Adam(0.001)", "offset": 0.0},
        {"zeros": 0.8, "layer": "Tanh", "rule": "Nesterov(0.3)", "offset": 0.0},
    ],
    ids=["sparse", "dense", "by-host"],
)
def test_fit_gives_the_same_bits_with_any_number_of_threads(options):
    code = FIT.format(**options)
    # The BLAS, which serves the evaluation and what is called between stages, has one thread in both.
    limits = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    hashes = {run(code, NUMBA_NUM_THREADS=threads, **limits) for threads in "1223"}
    assert len(hashes) == 1
    assert len(hashes.pop()) == 64


def test_sparse_images_do_not_meet_a_bias_of_another_shape():
    """Such a batch is never written out, so what is left to the function itself cannot be replayed."""
    images, indices = make_images("sparse", (40, 30)), numpy.arange(16, dtype=numpy.int32)
    weight, bias = numpy.ones((30, 5), numpy.float32), numpy.ones(1, numpy.float32)

    def stepping(xp, images, indices, weight, bias):
        x = xp.nn.gather_batch(images, indices, scale=1 / 255, offset=0.0, dtype=xp.float32)
        return xp.nn.linear(x, weight, bias)

    compiled = xp.compile(stepping)
    for _ in range(4):
        assert_same(compiled(xp, images, indices, weight, bias), stepping(xp, images, indices, weight, bias))
    assert "`nn.linear` is given images and arrays of unusual shapes" in compiled.report


def test_blas_has_its_threads_back_after_recordings():
    before = [library["num_threads"] for library in threadpoolctl.threadpool_info()]
    compiled = xp.compile(lambda xp, x: xp.nn.relu(x))
    for _ in range(3):
        compiled(xp, numpy.ones((2, 2), numpy.float32))
    assert [library["num_threads"] for library in threadpoolctl.threadpool_info()] == before
