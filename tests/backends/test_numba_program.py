"""The operations and stages that the backend `numba` makes of a recorded step."""

import itertools

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xpnet
from xpnet.losses import LOSSES

numba = pytest.importorskip("numba", reason="numba is not installed")

from xpnet.recording import NotReplayableError, Reference, leaves, record  # noqa: E402
from xpnet_numba import program, stages, xp  # noqa: E402

few = settings(deadline=None, derandomize=True, max_examples=150)
OPTIMIZERS = [xpnet.SGD(0.1), xpnet.Momentum(0.1), xpnet.Nesterov(0.1), xpnet.Adam()]
ACTIVATIONS = {
    "none": None,
    "sigmoid": xpnet.Sigmoid,
    "relu": xpnet.ReLU,
    "tanh": xpnet.Tanh,
    "softmax": xpnet.Softmax,
}


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

    def step(params, state, total, images, labels, indices):
        scale = 1.0 if images.dtype.kind == "f" else 1 / 255
        x = xp.nn.gather_batch(images, indices, scale=scale, offset=-0.5, dtype=numpy.dtype(dtype))
        outputs, pullback = trunk(xp, params, x)
        value, d_outputs = criterion.function(xp, outputs, xp.nn.gather_labels(labels, indices))
        _, grads = pullback(d_outputs, input_gradient=False)
        params, state = optimizer(xp, params, grads, state)
        return params, state, xp.nn.accumulate(total, value, indices.shape[0])

    return step


def planned(model, *, batch=16, kind="sparse", loss="softmax_cross_entropy", optimizer=OPTIMIZERS[0]):
    """Return the recording of a training step, and its plan."""
    params = model.init(xp, 0)
    images = make_images(kind, (40, model.n_in))
    labels = numpy.arange(40, dtype=numpy.int32) % 2
    total, indices = numpy.zeros((), numpy.float32), numpy.arange(batch, dtype=numpy.int32)
    step = make_step(model, loss=loss, optimizer=optimizer)
    args = params, optimizer.init(xp, params), total, images, labels, indices
    _, recording = record(xp, step, args)
    return recording, program.make_plan(recording)


def plan_of(step, *args):
    _, recording = record(xp, step, args)
    return recording, program.make_plan(recording)


def kernels(plan):
    return [operation.kernel for operation in plan.operations if operation.kernel]


def count_stages(plan):
    return len({operation.stage for operation in plan.operations})


# An account of its own of what must wait for what: a stage is carried out by parts of rows, each of which
# does all operations of the stage in order, while others do theirs; what the host does follows the stage.


def ends_before(first, second, slot):
    """Return whether `second` finds done what `first`, which comes before it in a plan, does to a slot."""
    if first.stage != second.stage:
        return first.stage < second.stage
    if second.host:
        return True  # The host follows the parts, and does one thing after another.
    if first.host:
        return False
    if first.length == second.length == 0:
        return True  # Both are in part 0.
    by_rows = all(uses(operation, slot) <= set("rwu") for operation in (first, second))
    return by_rows and first.length == second.length


def uses(operation, slot):
    """Return the letters by which an operation uses a slot."""
    return {a for s, a in zip(operation.operands, operation.access, strict=True) if s == slot}


def hazards(plan):
    """Return what may go wrong: pairs of operations that use a slot, of which one writes it."""
    found = []
    for first, second in itertools.combinations(plan.operations, 2):
        for slot in set(first.operands) & set(second.operands):
            writes = any(uses(operation, slot) & set("wWuU") for operation in (first, second))
            if writes and not ends_before(first, second, slot):
                found.append((slot, first, second))
    return found


def unfilled(recording, plan):
    """Return slots that are read or returned though nothing has been written there."""
    filled = {i for i, slot in enumerate(plan.slots) if slot.argument is not None}
    filled |= {slot for pair in plan.compressed.values() for slot in pair}
    found = []
    for operation in plan.operations:
        found += [s for s in operation.operands if uses(operation, s) & set("rRuU") and s not in filled]
        filled |= {s for s in operation.operands if uses(operation, s) & set("wW")}
    return found + [r for r in leaves(recording.result) if isinstance(r, Reference) and r not in filled]


def assert_order_of_the_step(recording, plan):
    """Compare who wrote what an operation reads with the order of the step's calls.

    In the recording a slot is written once, but by the optimizer's steps, which change what has been read.
    """
    by_slot = {}
    for i, operation in enumerate(plan.operations):
        for slot in set(operation.operands):
            for access in uses(operation, slot):
                by_slot.setdefault(slot, []).append((i, access))
    changed = {slot for slot, found in by_slot.items() if any(a in "uU" for _, a in found)}
    for slot, found in by_slot.items():
        writes = [i for i, access in found if access in "wW"]
        reads = [i for i, access in found if access in "rR"]
        updates = [i for i, access in found if access in "uU"]
        assert not writes or min(writes) < min([*reads, *updates, len(plan.operations)])
        if slot in changed and not writes:  # a parameter or what an optimizer keeps
            assert max(reads, default=-1) < min(updates)


def assert_sound(recording, plan):
    assert hazards(plan) == []
    assert unfilled(recording, plan) == []
    order = [(operation.stage, operation.host is not None) for operation in plan.operations]
    assert order == sorted(order)
    for operation in plan.operations:
        assert len(operation.operands) == len(operation.access)
        for slot, access in zip(operation.operands, operation.access, strict=True):
            # What is divided by rows has as many as the operation makes.
            if operation.length and access in "rwu":
                assert plan.slots[slot].shape[0] in (operation.length, 0) or operation.kernel in (
                    "multiply_sparse",
                )


@st.composite
def models(draw):
    sizes = draw(st.lists(st.sampled_from([1, 2, 3, 4, 16, 20]), min_size=2, max_size=5))
    sizes[-1] = max(sizes[-1], 2)
    layers = []
    for pair in itertools.pairwise(sizes):
        activation = ACTIVATIONS[draw(st.sampled_from(sorted(ACTIVATIONS)))]
        layers += [xpnet.Linear(*pair), *([activation()] if activation else [])]
    return xpnet.Sequential(*layers)


@few
@given(
    models(),
    st.sampled_from(sorted(LOSSES)),
    st.sampled_from(OPTIMIZERS),
    st.sampled_from([1, 3, 4, 16, 20]),
    st.sampled_from(["sparse", "dense", "float"]),
    st.sampled_from([program.LARGEST_PRODUCT, 300, 0]),
)
def test_no_operation_uses_what_another_has_not_finished(model, loss, optimizer, batch, kind, largest):
    # Sizes that are equal, or that are the number of blocks, would hide what is divided otherwise.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "LARGEST_PRODUCT", largest)
        recording, plan = planned(model, batch=batch, kind=kind, loss=loss, optimizer=optimizer)
    assert_sound(recording, plan)
    assert_order_of_the_step(recording, plan)


def test_checker_finds_each_kind_of_hazard():
    """The checker itself: two operations on one slot, of which one must wait."""
    rows = {"length": 8, "kernel": "relu", "operands": (0,)}
    for first, second in ("wR", "Rw", "wW", "uR", "Ru"):
        pair = [stages.Operation(access=a, **rows) for a in (first, second)]
        plan = stages.Plan([stages.Slot((8,), "f4")], pair, [], {}, None)
        assert len(hazards(plan)) == 1
        pair[1].stage = 1
        assert hazards(plan) == []
    whole = stages.Operation(access="W", length=0, kernel=None, operands=(0,))
    for other in (stages.Operation(access="r", **rows), stages.Operation(access="w", **rows)):
        assert len(hazards(stages.Plan([], [whole, other], [], {}, None))) == 1
    by_rows = [stages.Operation(access=a, **rows) for a in "wr"]
    assert hazards(stages.Plan([], by_rows, [], {}, None)) == []
    by_rows[1].length = 4
    assert len(hazards(stages.Plan([], by_rows, [], {}, None))) == 1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["sparse", "dense", "float"])
@pytest.mark.parametrize("depth", [0, 1, 2, 5, 9])
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_network_of_any_depth_takes_few_stages_and_no_host(activation, depth, kind, optimizer):
    model = xpnet.mlp(30, *[12] * depth, 5, activation=activation)
    recording, plan = planned(model, kind=kind, optimizer=optimizer)
    assert_sound(recording, plan)
    assert not plan.by_host
    assert count_stages(plan) <= 4
    # The gradients of the other layers' inputs are wanted, each by a product with a transposed weight.
    assert kernels(plan).count("transpose") == depth


def test_each_call_has_its_operations():
    _, plan = planned(xpnet.mlp(30, 12, 5), kind="dense", optimizer=xpnet.Nesterov(0.1))
    found = sorted(kernels(plan))
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
    recording, plan = planned(xpnet.mlp(30, 12, 5), kind="sparse", batch=batch)
    assert len(plan.compressed) == 1
    (images,) = plan.compressed
    assert plan.slots[images].dtype == "uint8"
    names = kernels(plan)
    assert {"multiply_sparse", "differentiate_sparse", "add_shares", "add_offset"} < set(names)
    assert "gather" not in names
    assert names.count("multiply") == 3
    assert_sound(recording, plan)


@pytest.mark.parametrize("kind", ["dense", "float"])
def test_other_images_are_gathered(kind):
    _, plan = planned(xpnet.mlp(30, 12, 5), kind=kind)
    assert plan.compressed == {}
    assert ("gather" if kind == "dense" else "gather_floats") in kernels(plan)
    assert not {"multiply_sparse", "differentiate_sparse"} & set(kernels(plan))


def test_share_of_zeros_decides(monkeypatch):
    model = xpnet.mlp(30, 12, 5)
    monkeypatch.setattr(program, "DENSEST", 0.0)
    assert planned(model, kind="sparse")[1].compressed == {}
    monkeypatch.setattr(program, "DENSEST", 1.0)
    assert len(planned(model, kind="dense")[1].compressed) == 1


def test_lists_that_would_be_too_large_are_not_made(monkeypatch):
    monkeypatch.setattr(program, "LARGEST_LISTS", 30 * 16)
    model = xpnet.mlp(30, 12, 5)
    assert len(planned(model, batch=16)[1].compressed) == 1
    assert planned(model, batch=17)[1].compressed == {}


@pytest.mark.parametrize("first", [xpnet.Sigmoid(), xpnet.Tanh()])
def test_images_that_enter_an_activation_are_gathered(first):
    model = xpnet.Sequential(first, xpnet.Linear(30, 3))
    recording, plan = planned(model, kind="sparse")
    assert plan.compressed == {}
    assert_sound(recording, plan)


def test_large_products_are_called_on_the_host(monkeypatch):
    model = xpnet.mlp(30, 12, 5)
    for largest, count in ((16 * 30 * 12, 0), (16 * 30 * 12 - 1, 2), (16 * 12 * 5 - 1, 5)):
        monkeypatch.setattr(program, "LARGEST_PRODUCT", largest)
        recording, plan = planned(model, kind="dense")
        by_host = [operation for operation in plan.operations if operation.host]
        assert len(by_host) == count
        assert plan.by_host == (count > 0)
        assert kernels(plan).count("multiply") == 5 - count
        assert_sound(recording, plan)


def test_what_has_no_operation_is_called_on_the_host():
    recording, plan = planned(xpnet.Sequential(xpnet.Linear(30, 12), xpnet.Tanh(), xpnet.Linear(12, 5)))
    assert plan.by_host
    assert sum(operation.host is not None for operation in plan.operations) == 1  # tanh, not its gradient
    assert_sound(recording, plan)


def test_changed_arrays_are_those_of_the_optimizer():
    for optimizer, kept in ((OPTIMIZERS[0], 0), (OPTIMIZERS[1], 1), (OPTIMIZERS[3], 2)):
        recording, plan = planned(xpnet.mlp(30, 12, 5), optimizer=optimizer)
        places = [recording.values[i].argument for i in plan.changed]
        assert None not in places
        assert len(places) == 4 * (1 + kept)
        written = {recording.values[i].array.shape for i in plan.changed}
        assert written == {(30, 12), (12,), (12, 5), (5,)}


def test_adam_counts_steps_in_the_program():
    _, plan = planned(xpnet.mlp(30, 12, 5), optimizer=xpnet.Adam(0.1, 0.5, 0.75, 1e-3))
    assert len(plan.counted) == 4
    for operation, counter, numbers in plan.counted:
        assert operation in plan.operations
        assert counter.added == 1
        assert numbers(1) == pytest.approx((0.2, 0.5, 0.5, 0.75, 0.25, 4.0, 1e-3))
        assert numbers(2)[0] == pytest.approx(0.1 / 0.75)


def test_step_of_adam_with_mixed_dtypes_says_why_not():
    arrays = [numpy.ones((2, 3), dtype) for dtype in ("float32", "float32", "float64", "float64")]
    step = lambda *args: xp.nn.adam_step(*args, 0.1, 0.9, 0.99, 1e-8)  # noqa: E731
    _, recording = record(xp, step, (*arrays, 3))
    with pytest.raises(NotReplayableError, match="adam_step"):
        program.make_plan(recording)


def test_parameter_is_not_changed_while_it_is_read():
    def step(x, weight, bias, grad):
        y = xp.nn.linear(x, weight, bias)
        weight = xp.nn.sgd_step(weight, grad, 0.1)
        return y, xp.nn.linear(x, weight, bias), xp.nn.sgd_step(weight, grad, 0.2)

    x, weight, bias = (numpy.ones(shape, numpy.float32) for shape in ((16, 16), (16, 16), 16))
    recording, plan = plan_of(step, x, weight, bias, numpy.array(x))
    assert_sound(recording, plan)
    assert kernels(plan) == ["multiply", "sgd_step", "multiply", "sgd_step"]
    assert [operation.stage for operation in plan.operations] == [0, 1, 2, 3]


# A batch of mostly empty images is never written out, and transposed beside its first product.


def gathered(images, indices):
    return xp.nn.gather_batch(images, indices, scale=1 / 255, offset=0.0, dtype=xp.float32)


def sparse_arguments():
    images, indices = make_images("sparse", (40, 30)), numpy.arange(16, dtype=numpy.int32)
    weight, bias, dy = (numpy.ones(shape, numpy.float32) for shape in ((30, 5), 5, (16, 5)))
    return images, indices, weight, bias, dy


def test_batch_that_is_returned_is_filled():
    def step(images, indices, weight, bias, dy):
        x = gathered(images, indices)
        return x, xp.nn.linear(x, weight, bias)

    assert_sound(*plan_of(step, *sparse_arguments()))


def test_gradient_without_a_product_before_it_finds_its_lists():
    def step(images, indices, weight, bias, dy):
        x = gathered(images, indices)
        return xp.nn.linear_backward(x, weight, dy, input_gradient=False)[1:]

    assert_sound(*plan_of(step, *sparse_arguments()))


def test_two_layers_may_take_one_batch():
    def step(images, indices, weight, bias, dy):
        x = gathered(images, indices)
        one, two = (xp.nn.linear(x, weight, bias) for _ in range(2))
        return one, two, *xp.nn.linear_backward(x, weight, one, input_gradient=False)[1:]

    recording, plan = plan_of(step, *sparse_arguments())
    assert kernels(plan).count("multiply_sparse") == 2
    assert_sound(recording, plan)


def test_numbers_come_from_no_number_of_a_slot():
    """What stands for an array is an int, but not the number that the array holds."""

    def step(param, grad, lr):
        return xp.nn.sgd_step(param, grad, lr)

    param, grad = (numpy.ones((2, 3), numpy.float32) for _ in range(2))
    _, plan = plan_of(step, param, grad, numpy.array(0.5, numpy.float32))
    assert not any(isinstance(n, Reference) for operation in plan.operations for n in operation.numbers)


def test_numbers_come_from_no_argument_as_it_was_at_the_recording():
    def step(total, value, count):
        return xp.nn.accumulate(total, value, count)

    one = numpy.ones((), numpy.float32)
    try:
        _, plan = plan_of(step, one, one, 7)
    except NotReplayableError:
        return
    (operation,) = plan.operations
    assert any(counted is operation for counted, *_ in plan.counted)
