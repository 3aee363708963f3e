"""The operations and stages that the backend `numba` makes of a recorded step."""

import itertools
import operator

import numpy
import pytest
import steps
from checking import optimizers
from hypothesis import given, settings
from hypothesis import strategies as st

import xpnet
from xpnet import layers
from xpnet.losses import LOSSES

numba = pytest.importorskip("numba", reason="numba is not installed")

from xpnet.replay.lower import lower  # noqa: E402
from xpnet.replay.stages import Operation, in_stages  # noqa: E402
from xpnet.replay.trace import NotReplayableError, Value  # noqa: E402
from xpnet.replay.tracing import trace  # noqa: E402
from xpnet_numba import lowering, twins, xp  # noqa: E402

few = settings(deadline=None, derandomize=True, max_examples=150)
OPTIMIZERS = optimizers(0.1, times=1)
ACTIVATIONS = {"none": None, **layers.ACTIVATIONS, "softmax": xpnet.Softmax}


def make_images(kind, shape):
    random = numpy.random.default_rng(0)
    images = random.integers(1, 256, shape).astype(numpy.uint8)
    if kind == "sparse":
        images[random.random(shape) < 0.8] = 0
    return images.astype(numpy.float32) if kind == "float" else images


def make_step(model, *, loss="softmax_cross_entropy", optimizer=OPTIMIZERS[0], dtype="float32"):
    """Return a training step as `xpnet.trainer.Trainer` takes it."""
    criterion = LOSSES[loss]
    trunk = criterion.trunk(model)

    def step(xp, params, state, total, images, labels, indices):
        scale = 1.0 if images.dtype.kind == "f" else 1 / 255
        x = xp.nn.gather_batch(images, indices, scale=scale, offset=-0.5, dtype=numpy.dtype(dtype))
        outputs, pullback = trunk(xp, params, x)
        value, d_outputs = criterion.function(xp, outputs, xp.nn.gather_labels(labels, indices))
        _, grads = pullback(d_outputs, input_gradient=False)
        params, state = optimizer(xp, params, grads, state)
        return params, state, xp.nn.accumulate(total, value, indices.shape[0])

    return step


class Lowered:
    """The trace of a step and its operations."""

    def __init__(self, step, *args):
        _, self.trace = trace(xp, step, args, plain=twins.xp)
        rules = lowering.Rules(self.trace)
        self.operations = in_stages(lower(self.trace, rules.table))
        self.compressed = rules.compressed

    @property
    def kernels(self):
        return [operation.name for operation in self.operations if not operation.host]

    @property
    def by_host(self):
        return [operation for operation in self.operations if operation.host]


def lowered(model, *, batch=16, kind="sparse", loss="softmax_cross_entropy", optimizer=OPTIMIZERS[0]):
    """Return a training step as operations."""
    params = model.init(xp, 0)
    images = make_images(kind, (40, model.n_in))
    labels = numpy.arange(40, dtype=numpy.int32) % 2
    total, indices = numpy.zeros((), numpy.float32), numpy.arange(batch, dtype=numpy.int32)
    step = make_step(model, loss=loss, optimizer=optimizer)
    return Lowered(step, params, optimizer.init(xp, params), total, images, labels, indices)


def count_stages(found):
    return len({operation.stage for operation in found.operations})


# An account of its own of what must wait for what: a stage is carried out by parts of rows, each of which
# does all operations of the stage in order, while others do theirs; what the host does follows the stage.


def ends_before(first, second, value):
    """Return whether `second` finds done what `first`, which comes before it, does to a value."""
    if first.stage != second.stage:
        return first.stage < second.stage
    if second.host:
        return True  # The host follows the parts, and does one thing after another.
    if first.host:
        return False
    if first.length == second.length == 0:
        return True  # Both are in part 0.
    by_rows = all(uses(operation, value) <= set("rwu") for operation in (first, second))
    return by_rows and first.length == second.length


def uses(operation, value):
    """Return the letters by which an operation uses a value."""
    return {a for v, a in zip(operation.operands, operation.access, strict=True) if v is value}


def hazards(operations):
    """Return what may go wrong: pairs of operations that use a value, of which one writes it."""
    found = []
    for first, second in itertools.combinations(operations, 2):
        for value in set(first.operands) & set(second.operands):
            writes = any(uses(operation, value) & set("wWuU") for operation in (first, second))
            if writes and not ends_before(first, second, value):
                found.append((value, first, second))
    return found


def unfilled(found):
    """Return values that are read or returned though nothing has been written there."""
    filled = set(found.trace.arguments).union(*found.compressed.values())
    missing = []
    for operation in found.operations:
        read = [v for v in operation.operands if uses(operation, v) & set("rRuU") and v.shape != (0,)]
        missing += [v for v in read if v not in filled]
        filled |= {v for v in operation.operands if uses(operation, v) & set("wW")}
    return missing + [v for v in found.trace.returned if v not in filled]


def assert_order_of_the_step(found):
    """Compare who wrote what an operation reads with the order of the step's calls.

    A value is written once, but by the optimizer's steps, which change what has been read.
    """
    by_value = {}
    for i, operation in enumerate(found.operations):
        for value in set(operation.operands):
            for access in uses(operation, value):
                by_value.setdefault(value, []).append((i, access))
    changed = {value for value, uses in by_value.items() if any(a in "uU" for _, a in uses)}
    assert changed == found.trace.changed
    for value, all_ in by_value.items():
        writes = [i for i, access in all_ if access in "wW"]
        reads = [i for i, access in all_ if access in "rR"]
        updates = [i for i, access in all_ if access in "uU"]
        assert not writes or min(writes) < min([*reads, *updates, len(found.operations)])
        if value in changed and not writes:  # a parameter or what an optimizer keeps
            assert max(reads, default=-1) < min(updates)


def assert_sound(found):
    assert hazards(found.operations) == []
    assert unfilled(found) == []
    order = [(operation.stage, operation.host is not None) for operation in found.operations]
    assert order == sorted(order)
    for operation in found.operations:
        assert len(operation.operands) == len(operation.access)
        for value, access in zip(operation.operands, operation.access, strict=True):
            if operation.length and access in "rwu":
                # What is divided by rows has as many; a weight may be seen as one of fewer axes.
                rows = itertools.accumulate(value.shape, operator.mul)
                assert operation.length in [*rows]


@st.composite
def models(draw):
    sizes = draw(st.lists(st.sampled_from([1, 2, 3, 4, 16, 20]), min_size=2, max_size=5))
    sizes[-1] = max(sizes[-1], 2)
    parts = []
    for pair in itertools.pairwise(sizes):
        activation = ACTIVATIONS[draw(st.sampled_from(sorted(ACTIVATIONS)))]
        parts += [xpnet.Linear(*pair), *([activation()] if activation else [])]
    return xpnet.Sequential(*parts)


@few
@given(
    models(),
    st.sampled_from(sorted(LOSSES)),
    st.sampled_from(OPTIMIZERS),
    st.sampled_from([1, 3, 4, 16, 20]),
    st.sampled_from(["sparse", "dense", "float"]),
    st.sampled_from([lowering.LARGEST_PRODUCT, 300, 0]),
)
def test_no_operation_uses_what_another_has_not_finished(model, loss, optimizer, batch, kind, largest):
    # Sizes that are equal, or that are the number of blocks, would hide what is divided otherwise.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lowering, "LARGEST_PRODUCT", largest)
        found = lowered(model, batch=batch, kind=kind, loss=loss, optimizer=optimizer)
    assert_sound(found)
    assert_order_of_the_step(found)


def test_checker_finds_each_kind_of_hazard():
    """The checker itself: two operations on one value, of which one must wait."""
    value = Value((8,), numpy.dtype("float32"))

    def operation(access, length=8):
        return Operation("relu", (value,), access, length)

    for first, second in ("wR", "Rw", "wW", "uR", "Ru"):
        pair = [operation(first), operation(second)]
        assert len(hazards(pair)) == 1
        pair[1].stage = 1
        assert hazards(pair) == []
    for access in "rw":
        assert len(hazards([operation("W", 0), operation(access)])) == 1
    assert hazards([operation("w"), operation("r")]) == []
    assert len(hazards([operation("w"), operation("r", 4)])) == 1


@pytest.mark.parametrize("kind", ["sparse", "float"])
def test_network_of_convolutions_needs_no_host_and_no_copy_of_reshaped_images(kind):
    found = lowered(steps.CONVOLUTIONS, kind=kind)
    assert_sound(found)
    assert found.by_host == []
    assert found.kernels.count("convolve") + found.kernels.count("convolve_back") == 3 + 2
    assert found.kernels.count("differentiate_convolution") == 3
    assert not {"flatten", "unflatten", "flatten_backward"} & {*found.kernels}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["sparse", "dense", "float"])
@pytest.mark.parametrize("depth", [0, 1, 2, 5, 9])
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_network_of_any_depth_takes_few_stages_and_no_host(activation, depth, kind, optimizer):
    model = xpnet.mlp(30, *[12] * depth, 5, activation=activation)
    found = lowered(model, kind=kind, optimizer=optimizer)
    assert_sound(found)
    assert found.by_host == []
    assert count_stages(found) <= 4
    # The gradients of the other layers' inputs are wanted, each by a product with a transposed weight.
    assert found.kernels.count("transpose") == depth


def test_each_call_has_its_operations():
    found = lowered(xpnet.mlp(30, 12, 5), kind="dense", optimizer=xpnet.Nesterov(0.1))
    found = sorted(found.kernels)
    assert found == sorted(
        [
            *["gather", "gather_labels", "softmax_cross_entropy", "mean", "accumulate"],
            *["multiply"] * 5,  # two forward, one for a gradient of an input, two for those of weights
            *["transpose", "sigmoid", "sigmoid_backward", "add_rows", "add_rows"],
            *["nesterov_step"] * 4,
        ]
    )


@pytest.mark.parametrize("batch", [1, 16])
def test_images_that_are_mostly_zero_are_taken_without_the_zeros(batch):
    found = lowered(xpnet.mlp(30, 12, 5), kind="sparse", batch=batch)
    assert len(found.compressed) == 1
    (images,) = found.compressed
    assert images.dtype == "uint8"
    names = found.kernels
    assert {"multiply_sparse", "differentiate_sparse", "add_partials", "add_offset"} < set(names)
    assert "gather" not in names
    assert names.count("multiply") == 3
    assert_sound(found)


@pytest.mark.parametrize("kind", ["dense", "float"])
def test_other_images_are_gathered(kind):
    found = lowered(xpnet.mlp(30, 12, 5), kind=kind)
    assert found.compressed == {}
    assert ("gather" if kind == "dense" else "gather_floats") in found.kernels
    assert not {"multiply_sparse", "differentiate_sparse"} & set(found.kernels)


def test_share_of_zeros_decides(monkeypatch):
    model = xpnet.mlp(30, 12, 5)
    monkeypatch.setattr(lowering, "DENSEST", 0.0)
    assert lowered(model, kind="sparse").compressed == {}
    monkeypatch.setattr(lowering, "DENSEST", 1.0)
    assert len(lowered(model, kind="dense").compressed) == 1


def test_lists_that_would_be_too_large_are_not_made(monkeypatch):
    monkeypatch.setattr(lowering, "LARGEST_LISTS", 30 * 16)
    model = xpnet.mlp(30, 12, 5)
    assert len(lowered(model, batch=16).compressed) == 1
    assert lowered(model, batch=17).compressed == {}


@pytest.mark.parametrize("first", [xpnet.Sigmoid(), xpnet.Tanh()])
def test_images_that_enter_an_activation_are_gathered(first):
    model = xpnet.Sequential(first, xpnet.Linear(30, 3))
    found = lowered(model, kind="sparse")
    assert found.compressed == {}
    assert_sound(found)


def test_large_products_are_called_on_the_host(monkeypatch):
    model = xpnet.mlp(30, 12, 5)
    for largest, count in ((16 * 30 * 12, 0), (16 * 30 * 12 - 1, 2), (16 * 12 * 5 - 1, 5)):
        monkeypatch.setattr(lowering, "LARGEST_PRODUCT", largest)
        found = lowered(model, kind="dense")
        assert len(found.by_host) == count
        assert found.kernels.count("multiply") == 5 - count
        assert_sound(found)


def test_what_has_no_operation_is_called_on_the_host():
    found = lowered(xpnet.Sequential(xpnet.Linear(30, 12), xpnet.Tanh(), xpnet.Linear(12, 5)))
    assert [operation.name for operation in found.by_host] == ["tanh"]  # and not its gradient
    assert_sound(found)


def test_standardised_inputs_need_no_host():
    layer = xpnet.Standardize(3)
    for shape in ((16, 3), (2, 4, 5, 3)):
        x = numpy.ones(shape, numpy.float32)
        found = Lowered(lambda xp, params, x: layer(xp, params, x)[0], layer.init(xp, 0), x)
        assert found.kernels == ["standardize_rows"]
        assert found.by_host == []


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS.keys() - {"none", "tanh"}))
def test_losses_and_activations_need_no_host(loss, activation):
    parts = xpnet.Linear(30, 12), ACTIVATIONS[activation](), xpnet.Linear(12, 5)
    found = lowered(xpnet.Sequential(*parts), loss=loss)
    assert found.by_host == []
    assert_sound(found)


@pytest.mark.parametrize("shape", [(16, 6), (16, 4, 5, 6)])
def test_normalisation_needs_no_host_and_finds_the_moments_of_an_array_once(shape):
    found = Lowered(steps.normalise, *steps.make_rows(*shape))
    assert_sound(found)
    assert found.by_host == []
    assert found.kernels.count("add_squares") == 2  # of `x` and of `y`


def test_moments_of_an_array_that_changes_are_found_again():
    def step(xp, x, scale, shift, dy):
        y, *_ = xp.nn.batch_norm_training(x, scale, shift, eps=1e-5)
        x = xp.nn.sgd_step(x, dy, 0.1)
        return x, y, xp.nn.batch_norm_training_backward(x, scale, dy, eps=1e-5)

    found = Lowered(step, *steps.make_rows(16, 6)[1:])
    assert_sound(found)
    assert found.kernels.count("add_squares") == 2


def test_changed_arrays_are_those_of_the_optimizer():
    for optimizer, kept in ((OPTIMIZERS[0], 0), (OPTIMIZERS[1], 1), (OPTIMIZERS[3], 2)):
        found = lowered(xpnet.mlp(30, 12, 5), optimizer=optimizer)
        changed = found.trace.changed
        places = [value.leaf for value in changed]
        assert None not in places
        assert len(places) == 4 * (1 + kept)
        assert {value.shape for value in changed} == {(30, 12), (12,), (12, 5), (5,)}


def test_adam_counts_steps_in_the_program():
    found = lowered(xpnet.mlp(30, 12, 5), optimizer=xpnet.Adam(0.1, 0.5, 0.75, 1e-3))
    counted = [operation for operation in found.operations if operation.count]
    assert [operation.name for operation in counted] == ["adam_step"] * 4
    for operation in counted:
        (leaf,) = (i for i, n in enumerate(found.trace.leaves) if type(n) is int)
        numbers = [operation.count({leaf: step}) for step in (0, 1)]  # The step adds 1.
        assert numbers[0] == pytest.approx((0.2, 0.5, 0.5, 0.75, 0.25, 4.0, 1e-3))
        assert numbers[1][0] == pytest.approx(0.1 / 0.75)


def test_step_of_adam_with_mixed_dtypes_is_counted_for_the_host():
    traced, arrays, expected = (
        [numpy.ones((2, 3), dtype) for dtype in ("float32", "float32", "float64", "float64")]
        for _ in range(3)
    )
    step = lambda xp, *args: xp.nn.adam_step(*args, 0.1, 0.9, 0.99, 1e-8)  # noqa: E731
    found = Lowered(step, *traced, 3)
    (operation,) = found.operations
    (leaf,) = (i for i, n in enumerate(found.trace.leaves) if type(n) is int)
    assert operation.count({leaf: 7}) == ()
    operation.host(*arrays, *arrays[:1], *arrays[2:])
    xpnet.nn.adam_step(numpy, *expected, 7, 0.1, 0.9, 0.99, 1e-8)
    for array, other in zip(arrays, expected, strict=True):
        numpy.testing.assert_array_equal(array, other)


def test_parameter_is_not_changed_while_it_is_read():
    def step(xp, x, weight, bias, grad):
        y = xp.nn.linear(x, weight, bias)
        weight = xp.nn.sgd_step(weight, grad, 0.1)
        return y, xp.nn.linear(x, weight, bias), xp.nn.sgd_step(weight, grad, 0.2)

    x, weight, bias = (numpy.ones(shape, numpy.float32) for shape in ((16, 16), (16, 16), 16))
    found = Lowered(step, x, weight, bias, numpy.array(x))
    assert_sound(found)
    assert found.kernels == ["multiply", "sgd_step", "multiply", "sgd_step"]
    assert [operation.stage for operation in found.operations] == [0, 1, 2, 3]


# A batch of mostly empty images is never written out, and transposed beside its first product.


def gathered(xp, images, indices):
    return xp.nn.gather_batch(images, indices, scale=1 / 255, offset=0.0, dtype=xp.float32)


def sparse_arguments():
    images, indices = make_images("sparse", (40, 30)), numpy.arange(16, dtype=numpy.int32)
    weight, bias, dy = (numpy.ones(shape, numpy.float32) for shape in ((30, 5), 5, (16, 5)))
    return images, indices, weight, bias, dy


def test_batch_that_is_returned_is_filled():
    def step(xp, images, indices, weight, bias, dy):
        x = gathered(xp, images, indices)
        return x, xp.nn.linear(x, weight, bias)

    assert_sound(Lowered(step, *sparse_arguments()))


def test_gradient_without_a_product_before_it_finds_its_lists():
    def step(xp, images, indices, weight, bias, dy):
        x = gathered(xp, images, indices)
        return xp.nn.linear_backward(x, weight, dy, input_gradient=False)[1:]

    assert_sound(Lowered(step, *sparse_arguments()))


def test_two_layers_may_take_one_batch():
    def step(xp, images, indices, weight, bias, dy):
        x = gathered(xp, images, indices)
        one, two = (xp.nn.linear(x, weight, bias) for _ in range(2))
        return one, two, *xp.nn.linear_backward(x, weight, one, input_gradient=False)[1:]

    found = Lowered(step, *sparse_arguments())
    assert found.kernels.count("multiply_sparse") == 2
    assert_sound(found)


def test_array_in_the_place_of_a_number_is_for_the_host():
    def step(xp, param, grad, lr):
        return xp.nn.sgd_step(param, grad, lr)

    param, grad = (numpy.ones((2, 3), numpy.float32) for _ in range(2))
    found = Lowered(step, param, grad, numpy.array(0.5, numpy.float32))
    assert found.kernels == []
    assert [operation.name for operation in found.by_host] == ["sgd_step"]


def test_number_that_may_change_is_not_kept_as_it_was():
    def step(xp, total, value, count):
        return xp.nn.accumulate(total, value, count)

    total, value = (numpy.ones((), numpy.float32) for _ in range(2))
    with pytest.raises(NotReplayableError, match="a number that may change"):
        Lowered(step, total, value, 7)
