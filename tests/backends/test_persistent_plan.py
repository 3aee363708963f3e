"""What the plan of a persistent kernel takes, what it refuses, and its numbers; no kernel runs here."""

import functools
import itertools

import numpy
import pytest
from steps import OPTIMIZERS, PLAIN, make_arguments, make_images

import xpnet
from xpnet import layers, schedules
from xpnet.batches import Scaling
from xpnet.problem import Problem
from xpnet.replay.tracing import trace
from xpnet.trainer import Trainer

BATCH = 16

OTHERS = [
    *layers.ACTIVATIONS.values(),
    xpnet.Softmax,
    functools.partial(xpnet.Dropout, 0.2),
    functools.partial(xpnet.BatchNorm, 8),
    functools.partial(xpnet.LayerNorm, 8),
    lambda: xpnet.Residual(xpnet.Linear(8, 8), xpnet.Tanh()),
    lambda: xpnet.Sequential(xpnet.Unflatten(2, 2, 2), xpnet.ReLU(), xpnet.Flatten()),
]


def traced(step, *args):
    return trace(PLAIN, step, args)[1]


def trainer_of(
    model, *, optimizer=None, dtype="float32", kind="sparse", n_in=29, loss="softmax_cross_entropy"
):
    data = xpnet.Dataset(make_images(kind, (37, n_in)), numpy.arange(37) % 3)
    problem = Problem(model, xpnet.losses.LOSSES[loss], Scaling(), dtype)
    params = model.init(PLAIN, 3, dtype=dtype)
    optimizer = optimizer or xpnet.Momentum(0.1)
    return Trainer(PLAIN, problem, params, data, optimizer=optimizer, batch_size=BATCH, seed=3)


def trained(model, **options):
    """Return the trace of a step of `fit`."""
    trainer = trainer_of(model, **options)
    total = numpy.zeros((), trainer._images.dtype)
    carry = trainer.params, trainer._state, total, trainer._next_step
    rows = numpy.arange(BATCH, dtype="int32")
    return traced(trainer._step, *carry, rows, trainer._images.images, trainer._targets.arrays)


def mlp(*sizes, activation=xpnet.Sigmoid):
    layers = [layer for pair in itertools.pairwise(sizes) for layer in (xpnet.Linear(*pair), activation())]
    return xpnet.Sequential(*layers[:-1])


@pytest.fixture(scope="module")
def plan_of(package):
    return package.plan.plan_of


def refused(package, reason, step, *args):
    with pytest.raises(package.plan.NotPersistent, match=reason):
        package.plan.plan_of(traced(step, *args))


def written(change=None):
    """Return a step written out, of which a function may change the results; see `steps.step`."""

    def step(xp, params, images, labels, indices):
        x = xp.nn.gather_batch(images, indices, scale=1 / 255, offset=0.0, dtype=xp.float32)
        outputs = xp.nn.linear(x, params["weight"], params["bias"])
        loss, d_outputs = xp.nn.softmax_cross_entropy(outputs, xp.nn.gather_labels(labels, indices))
        _, d_weight, d_bias = xp.nn.linear_backward(x, params["weight"], d_outputs, input_gradient=False)
        found = {"x": x, "outputs": outputs, "loss": loss, "d_weight": d_weight, "d_bias": d_bias}
        if change is not None:
            return change(xp, params, found)
        return {name: xp.nn.sgd_step(params[name], found[f"d_{name}"], 0.5) for name in ("weight", "bias")}

    return step


def stepped(xp, params, found):
    return {name: xp.nn.sgd_step(params[name], found[f"d_{name}"], 0.5) for name in ("weight", "bias")}


def test_a_network_of_any_depth_has_two_barriers_a_step(plan_of):
    for depth in range(1, 8):
        plan = plan_of(trained(mlp(29, *[7] * depth, 3)))
        assert plan.barriers == 2
        assert len(plan.steps) == 2 * depth + 2


def test_weights_and_traffic_are_counted(plan_of):
    plan = plan_of(trained(mlp(29, 17, 3)))
    assert plan.batch == BATCH
    assert plan.dtype == "float32"
    assert plan.weights == 29 * 17 + 17 + 17 * 3 + 3
    # Forward through both layers, and back through the second.
    assert plan.traffic == BATCH * 4 * (29 * 17 + 17 + 17 * 3 + 3 + 17 * 3)


def test_arguments_are_those_of_the_step_and_what_no_call_changes_may_move(plan_of):
    found = trained(mlp(29, 17, 3))
    plan = plan_of(found)
    assert {*plan.arguments} == {*found.arguments}
    assert len({*plan.arguments}) == len(plan.arguments)
    assert {*plan.strided} == {*found.arguments} - found.changed - {*plan.totals.values()}
    assert {value.dtype.name for value in plan.strided} == {"uint8", "int32"}


def test_a_total_becomes_its_argument(plan_of):
    found = trained(mlp(29, 3))
    ((new, total),) = plan_of(found).totals.items()
    assert new in found.returned
    assert total.shape == ()
    assert total.leaf is not None


def test_rates_and_what_follows_from_them_are_numbers_of_each_step(plan_of):
    rate = schedules.Cosine(0.1, steps=20)
    assert plan_of(trained(mlp(29, 3))).numbers == ()
    (number,) = plan_of(trained(mlp(29, 3), optimizer=xpnet.SGD(rate))).numbers
    assert number.function(5) == rate(5)
    decayed = plan_of(trained(mlp(29, 3), optimizer=xpnet.SGD(rate, weight_decay=0.5))).numbers
    assert [n.function(3) for n in decayed] == [rate(3), 1 - rate(3) * 0.5]


def test_what_adam_divides_by_are_numbers_of_each_step(plan_of):
    plan = plan_of(trained(mlp(29, 17, 3), optimizer=xpnet.Adam(0.1, beta1=0.5, beta2=0.75)))
    assert [number.function(2) for number in plan.numbers] == [0.75, 1 - 0.75**2]
    # The number of the first step is 1: it is 0 among the arguments.
    assert {number.added for number in plan.numbers} == {1}


def test_the_number_of_a_step_of_dropout_is_a_count(plan_of):
    layers = xpnet.Linear(29, 17), xpnet.Dropout(0.3), xpnet.Linear(17, 3)
    (count,) = plan_of(trained(xpnet.Sequential(*layers))).counts
    assert (count.function, count.added) == (None, 0)


def test_pixels_are_listed_unless_something_else_reads_them(plan_of):
    assert len(plan_of(trained(mlp(29, 17, 3))).listed) == 1
    assert not plan_of(trained(xpnet.Sequential(xpnet.Dropout(0.1), xpnet.Linear(29, 3)))).listed
    images = xpnet.Sequential(xpnet.Unflatten(29, 1, 1), xpnet.Flatten(), xpnet.Linear(29, 3))
    assert len(plan_of(trained(images)).listed) == 1


def test_what_the_second_stage_reads_is_in_scratch_memory_and_does_not_overlap(plan_of):
    plan = plan_of(trained(mlp(29, 17, 5, 3)))
    pieces = sorted((at, BATCH * (1 if hasattr(x, "run") else x.shape[1])) for x, at in plan.places.items())
    assert len(pieces) == 2 + 3 + 1  # inputs, gradients at outputs, losses
    for (begin, length), (after, _) in itertools.pairwise(pieces):
        assert begin + length <= after
    assert sum(pieces[-1]) <= plan.scratch
    assert all(begin % 4 == 0 for begin, _ in pieces)  # for loads of 16 bytes


def test_shared_memory_fits_the_devices_for_the_networks_of_the_course(plan_of):
    for sizes in ((784, 64, 10), (784, 128, 64, 10)):
        for dtype in ("float32", "float64"):
            plan = plan_of(trained(mlp(*sizes), n_in=784, dtype=dtype, optimizer=xpnet.Adam()))
            assert plan.shared(512) <= 163 * 1024  # of an A100
            assert plan.shared(128) <= plan.shared(256) <= plan.shared(512)


def test_a_deep_network_needs_little_more_shared_memory_than_a_shallow_one(plan_of):
    shallow, deep = (plan_of(trained(mlp(29, *[64] * n, 3))).shared(64) for n in (2, 30))
    assert (
        deep - shallow < 30 * 64 * 4 * 2
    )  # What is kept for the way back is less than z and y of each layer.


def test_tiles_cover_each_parameter_once(package, plan_of):
    memory = package.code.memory
    plan = plan_of(trained(mlp(29, 70, 3)))
    for blocks in (1, 3, 132):
        tiles = memory.tiles_of(plan, blocks, 64)
        assert tiles.turns * blocks >= tiles.count
        for step, first in tiles.first.items():
            height, width = step.shape
            rows, columns = tiles.rows[step], tiles.columns[step]
            count = -(-height // rows) * -(-width // columns)
            after = [other for other in tiles.first.values() if other > first]
            assert first + count == min(after, default=tiles.count - len(plan.sums))
            assert rows * columns <= memory.PER_THREAD * 64


def test_tiles_are_as_small_as_the_blocks_allow(package, plan_of):
    plan = plan_of(trained(mlp(784, 64, 10), n_in=784))
    tiles = package.code.memory.tiles_of(plan, 132, 512)
    assert tiles.turns == 1
    assert max(tiles.rows.values()) == 7  # 112 tiles of the first weight, 10 of the second


def test_source_is_the_same_for_equal_traces(package, plan_of):
    model = mlp(29, 17, 3)
    one, other = (package.code.source_of(plan_of(trained(model)), blocks=3, threads=64) for _ in range(2))
    assert one == other  # so that a compiled kernel is found again on disk


def test_source_refuses_threads_that_are_no_warps(package, plan_of):
    plan = plan_of(trained(mlp(29, 3)))
    for size in ((0, 64), (3, 48), (3, 0)):
        with pytest.raises(ValueError, match="multiple of 32"):
            package.code.source_of(plan, blocks=size[0], threads=size[1])


def test_a_block_keeps_its_parameters_if_they_fit(package, plan_of):
    plan = plan_of(trained(mlp(784, 64, 10), n_in=784))
    many, one = (package.code.source_of(plan, blocks=blocks, threads=512) for blocks in (132, 1))
    assert "step_tile<true" in many
    assert "step_tile<false" not in many
    assert "step_tile<false" in one
    assert "step_tile<true" not in one


def test_pixels_of_the_next_step_are_staged_if_a_block_has_one_tile(package, plan_of):
    plan = plan_of(trained(mlp(29, 17, 3)))
    many, few = (package.code.source_of(plan, blocks=blocks, threads=64) for blocks in (132, 3))
    assert "stage_inputs<29, 1>(ahead, x0_rows(step + 1)" in many
    assert "(ahead, " not in few


def test_weights_after_the_first_are_copied_where_that_takes_no_more_memory(package, plan_of):
    plan = plan_of(trained(mlp(29, 64, 64, 3)))
    layout = package.code.memory.layout_of(plan, 512)
    _, second, third = (step.param for step in plan.steps if step.x is not None)
    assert {*layout.held} == {second, third}
    assert "linear_row<64, 64>(" in package.code.source_of(plan, blocks=132, threads=512)
    ends = [at + 4 * weight.shape[0] * weight.shape[1] for weight, at in layout.held.items()]
    assert max(ends) <= layout.size
    wide = plan_of(trained(mlp(29, 700, 700, 3)))
    assert [x.shape for x in package.code.memory.layout_of(wide, 512).held] == [(700, 3)]


def test_rows_may_be_arguments_themselves(plan_of):
    def step(xp, params, x, targets):
        outputs = xp.nn.linear(x, params["weight"], params["bias"])
        _, d_outputs = xp.nn.squared_error(outputs, targets)
        _, d_weight, d_bias = xp.nn.linear_backward(x, params["weight"], d_outputs)
        return stepped(xp, params, {"d_weight": d_weight, "d_bias": d_bias})

    params = {"weight": numpy.ones((5, 2)), "bias": numpy.ones(2)}
    plan = plan_of(traced(step, params, numpy.ones((4, 5)), numpy.ones((4, 2))))
    assert len(plan.strided) == 2
    assert plan.batch == 4


def test_steps_may_be_taken_in_any_order(plan_of):
    def reverse(xp, params, found):
        bias = xp.nn.sgd_step(params["bias"], found["d_bias"], 0.5)
        return {"weight": xp.nn.sgd_step(params["weight"], found["d_weight"], 0.5), "bias": bias}

    assert len(plan_of(traced(written(reverse), *make_arguments())).steps) == 2


def test_what_nothing_needs_is_left_out(plan_of):
    def idle(xp, params, found):
        xp.nn.relu(found["outputs"])
        return stepped(xp, params, found)

    plan = plan_of(traced(written(idle), *make_arguments()))
    assert [call.name for call in plan.calls] == ["linear", "softmax_cross_entropy"]


@pytest.mark.parametrize(
    "model",
    [
        xpnet.Sequential(
            xpnet.Unflatten(29, 1, 1), xpnet.Conv2d(1, 2, 3), xpnet.Flatten(), xpnet.Linear(58, 3)
        ),
        xpnet.Sequential(xpnet.Linear(29, 5), xpnet.BatchNorm(5), xpnet.Linear(5, 3)),
        xpnet.Sequential(xpnet.Linear(29, 5), xpnet.LayerNorm(5), xpnet.Linear(5, 3)),
    ],
    ids=["conv2d", "batch_norm", "layer_norm"],
)
def test_other_layers_are_refused_by_name(model, package):
    with pytest.raises(
        package.plan.NotPersistent, match=r"`nn\.(conv2d|batch_norm_training|layer_norm)` is in no"
    ):
        package.plan.plan_of(trained(model))


def test_functions_of_the_library_are_refused(package):
    def step(xp, params, images, labels, indices):
        new = written()(xp, params, images, labels, indices)
        return new, xp.tanh(params["bias"])

    found = trace(PLAIN, step, make_arguments(), whole=True)[1]
    with pytest.raises(package.plan.NotPersistent, match=r"`xp\.tanh` is in no persistent kernel"):
        package.plan.plan_of(found)


def test_clipping_by_the_norm_is_refused(package):
    with pytest.raises(package.plan.NotPersistent, match=r"`nn\.sum_of_squares` is in no persistent kernel"):
        package.plan.plan_of(trained(mlp(29, 3), optimizer=xpnet.SGD(0.1, clip_norm=1.0)))


@pytest.mark.parametrize("name", ["outputs", "loss", "x"])
def test_a_returned_value_that_is_not_in_memory_is_refused(name, package):
    def returning(xp, params, found):
        return stepped(xp, params, found), found[name]

    refused(package, "the step returns what", written(returning), *make_arguments())


def test_a_returned_gradient_is_refused(package):
    def returning(xp, params, found):
        return stepped(xp, params, found), found["d_bias"]

    refused(package, "has another use than its step", written(returning), *make_arguments())


def test_a_parameter_that_is_read_after_its_step_is_refused(package):
    def again(xp, params, found):
        weight = xp.nn.sgd_step(params["weight"], found["d_weight"], 0.5)
        outputs = xp.nn.linear(found["x"], weight, params["bias"])
        _, d_outputs = xp.nn.squared_error(outputs, found["outputs"])
        _, _, d_bias = xp.nn.linear_backward(found["x"], weight, d_outputs)
        return {"weight": weight, "bias": xp.nn.sgd_step(params["bias"], d_bias, 0.5)}

    refused(package, "`nn.linear` needs what the step has changed before", written(again), *make_arguments())


def test_a_parameter_that_is_changed_twice_is_refused(package):
    def twice(xp, params, found):
        new = stepped(xp, params, found)
        return {**new, "bias": xp.nn.sgd_step(new["bias"], found["d_bias"], 0.5)}

    refused(package, "another use than its step", written(twice), *make_arguments())


def test_a_gradient_that_is_changed_on_its_way_is_refused(package):
    def added(xp, params, found):
        grad = xp.nn.add(found["d_bias"], found["d_bias"])
        return stepped(xp, params, {**found, "d_bias": grad})

    refused(package, "another gradient than that of a linear layer", written(added), *make_arguments())


def test_a_loss_that_is_used_elsewhere_is_refused(package):
    def counted(xp, params, found):
        total = xp.nn.accumulate(found["loss"], found["loss"], 2.0)
        return stepped(xp, params, found), total

    refused(package, "is given what is no loss, or is used elsewhere", written(counted), *make_arguments())


@pytest.mark.parametrize("seed", range(60))
def test_networks_of_any_layers_are_planned_or_refused(seed, package):
    random = numpy.random.default_rng(seed)
    n_in, rows = int(random.choice([3, 29])), numpy.arange(BATCH, dtype="int32")
    found_layers = [xpnet.Linear(n_in, 8)]
    for kind in random.choice(len(OTHERS), 4):
        found_layers += [OTHERS[kind](), xpnet.Linear(8, 8)]
    model = xpnet.Sequential(*found_layers)
    trainer = trainer_of(model, n_in=n_in, optimizer=OPTIMIZERS[seed % len(OPTIMIZERS)])
    total = numpy.zeros((), trainer._images.dtype)
    carry = trainer.params, trainer._state, total, trainer._next_step, *trainer._kept
    found = traced(trainer._step, *carry, rows, trainer._images.images, trainer._targets.arrays)
    if {"batch_norm_training", "layer_norm"} & {call.name for call in found.calls}:
        with pytest.raises(package.plan.NotPersistent, match="is in no persistent kernel"):
            package.plan.plan_of(found)
    else:
        plan = package.plan.plan_of(found)
        assert "persistent(" in package.code.source_of(plan, blocks=3, threads=64)


def test_a_step_without_an_optimizer_is_refused(package):
    refused(package, "it takes no step", written(lambda xp, params, found: params), *make_arguments())


def test_labels_and_indices_of_few_bits_are_refused(package):
    params, images, labels, indices = make_arguments()
    refused(package, "labels of int8", written(), params, images, labels.astype("int8"), indices)
    refused(package, "labels of uint8", written(), params, images, labels, indices.astype("uint8"))


def test_whole_numbers_where_floats_belong_are_refused(package):
    def weighted(xp, params, images, labels, indices):
        x = xp.nn.gather_batch(images, indices, scale=1.0, offset=0.0, dtype=xp.float64)
        outputs, weights = (
            xp.nn.linear(x, params["weight"], params["bias"]),
            xp.nn.gather_labels(labels, indices),
        )
        _, d_outputs = xp.nn.weighted_squared_error(outputs, outputs, weights)
        _, d_weight, d_bias = xp.nn.linear_backward(x, params["weight"], d_outputs)
        return stepped(xp, params, {"d_weight": d_weight, "d_bias": d_bias})

    params, *others = make_arguments()
    params = {name: p.astype("float64") for name, p in params.items()}
    refused(package, "`nn.weighted_squared_error` has int", weighted, params, *others)


def test_arrays_of_another_dtype_are_refused(package):
    params, *others = make_arguments()
    refused(
        package, "float64, but the first layer float32", written(), {**params, "bias": numpy.ones(3)}, *others
    )
