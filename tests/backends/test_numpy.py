"""How the backend `numpy` replays steps; `test_replay` tests what all backends that replay share."""

import functools

import numpy
import pytest
from checking import assert_close, assert_returns_what_its_twin_does, results_of
from steps import PLAIN, assert_same, copied

import xpnet
from xpnet import nn
from xpnet.drawing import drawn
from xpnet_numpy import in_place, stack, xp


def normal(*shape, seed=0, dtype="float32", scale=1.0):
    return (scale * numpy.random.default_rng(seed).normal(size=shape)).astype(dtype)


def positions(high, *, seed=0, size=6):
    return numpy.random.default_rng(seed).integers(0, high, size).astype(numpy.int32)


SIZES = [{}, {"*": (0, 5)}, *({"classes": classes} for classes in (1, 2, 10, 63, 64, 200))]


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", in_place.FUNCTIONS)
def test_functions_write_what_the_twins_return(name, dtype, extreme):
    function = nn.FUNCTIONS[name]

    def kernel(*args, **kwargs):
        made = [
            x if x is None else numpy.asarray(x) for x in results_of(function.twin(numpy, *args, **kwargs))
        ]
        made = [x if x is None else numpy.full(x.shape, 7, x.dtype) for x in made]
        given = dict(zip((*function.arguments, *function.numbers), args, strict=False)) | kwargs
        arrays = [given.pop(key) for key in function.arrays]
        in_place.FUNCTIONS[name](*arrays, *(x for x in made if x is not None), **given)
        return tuple(made) if len(made) > 1 else made[0]

    written = xpnet.Namespace("written", numpy, fused={name: kernel})
    for sizes in SIZES:
        arguments = drawn(function, seed=0, dtype=dtype, integer="uint64", sizes=sizes, extreme=extreme)
        assert_returns_what_its_twin_does(written, function, arguments)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_small_values_of_sigmoid_are_as_exact_as_large_ones(dtype):
    z = numpy.linspace(-80, 80, 1001).astype(dtype)
    found = numpy.empty_like(z)
    in_place.sigmoid(z, found)
    numpy.testing.assert_allclose(found, xpnet.nn.sigmoid(numpy, z), rtol=50 * numpy.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_number_is_too_large_for_a_sigmoid(dtype):
    for numbers in ([80.0], [88.9], [710.0], [numpy.inf], [-numpy.inf, 1.0], [numpy.nan, 710.0]):
        z = numpy.array(numbers, dtype)
        found = numpy.empty_like(z)
        with numpy.errstate(all="raise", under="ignore"):
            in_place.sigmoid(z, found)
        assert_close(PLAIN, found, xpnet.nn.sigmoid(numpy, z), dtype=dtype)


@pytest.mark.parametrize(("rows", "columns"), [(3, 1), (1, 3)])
@pytest.mark.parametrize("number", [numpy.inf, numpy.nan])
def test_products_with_a_single_zero_keep_infinities_and_nan(rows, columns, number):
    for x, weight in ((0.0, number), (number, 0.0)):
        z = numpy.empty((rows, columns))
        with numpy.errstate(invalid="ignore"):
            in_place.linear(
                numpy.full((rows, 1), x), numpy.full((1, columns), weight), numpy.zeros(columns), z
            )
        assert numpy.isnan(z).all()


def gradients(xp, x, weight, dy):
    _, d_weight, d_bias = xp.nn.linear_backward(x, weight, dy, input_gradient=False)
    return d_weight, d_bias


def compare(step, *, shapes=((5, 4), (4,)), states=1, calls=12, batches=(6,), dtype="float32"):
    """Compare a step and its compiled form over calls that each take the results of the one before."""
    params = [normal(*shape, seed=i, dtype=dtype) for i, shape in enumerate(shapes)]
    kept = [[numpy.zeros_like(p) for p in params] for _ in range(states)]
    mine, plain = (params, kept), (copied(params), copied(kept))
    compiled = xp.compile(step)
    for i in range(calls):
        batch = batches[i % len(batches)]
        x, dy = normal(batch, 5, seed=i, dtype=dtype), normal(batch, 4, seed=100 + i, dtype=dtype)
        mine, plain = compiled(xp, *mine, x, dy), step(xp, *plain, x, dy)
        assert_same(mine, plain, dtype=dtype, factor=50)
    assert compiled.report == ""
    return mine


def with_rule(name, xp, params, kept, x, dy):
    function = nn.FUNCTIONS[name]
    numbers = [x for key, x in drawn(function, seed=0).items() if key not in function.arrays]
    made = [
        getattr(xp.nn, name)(p, g, *states, *numbers)
        for p, g, *states in zip(params, gradients(xp, x, params[0], dy), *kept, strict=True)
    ]
    made = [m if isinstance(m, tuple) else (m,) for m in made]
    params, *kept = map(list, zip(*made, strict=True))
    return params, kept


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "states"), [("sgd_step", 0), ("momentum_step", 1), ("nesterov_step", 1)])
@pytest.mark.parametrize("columns", [7, 2**16])
def test_linear_rules_take_the_steps_of_all_parameters_in_one_matrix(
    name, states, dtype, columns, monkeypatch
):
    monkeypatch.setattr(stack, "_COLUMNS", columns)  # 24 are four blocks, or one
    params, kept = compare(functools.partial(with_rule, name), states=states, dtype=dtype)
    rows = [params, *kept]
    matrix = params[0].base
    assert matrix.shape == (2, len(rows) + 1, 24)
    assert all(a.base is matrix for row in rows for a in row)


@pytest.mark.parametrize(("name", "states"), [("sgd_step", 0), ("momentum_step", 1), ("nesterov_step", 1)])
@pytest.mark.parametrize("before", [3, 4])
def test_steps_round_alike_however_many_there_were_before(name, states, before):
    """So a training that continues from a file, which begins a new matrix, has the same bytes."""
    compiled = xp.compile(functools.partial(with_rule, name))
    carry = [normal(5, 4), normal(4, seed=1)], [[numpy.zeros((5, 4), "f4"), numpy.zeros(4, "f4")]] * states

    def after(carry, steps):
        for i in steps:
            carry = compiled(xp, *carry, normal(6, 5, seed=i), normal(6, 4, seed=100 + i))
        return carry

    carry = after(carry, range(before))
    continued = copied(carry[0]), copied(carry[1])
    for old, new in zip(
        after(carry, range(before, 9))[0], after(continued, range(before, 9))[0], strict=True
    ):
        assert old.tobytes() == new.tobytes()


def test_adam_takes_the_steps_one_by_one():
    params, _ = compare(functools.partial(with_rule, "adam_step"), states=2)
    assert not any(numpy.shares_memory(params[0], p) for p in params[1:])


def test_parameters_of_two_rules_keep_to_their_own():
    def step(xp, params, kept, x, dy):
        (weight, bias), ((v, _),) = params, kept
        d_weight, d_bias = gradients(xp, x, weight, dy)
        weight, v = xp.nn.momentum_step(weight, d_weight, v, 0.1, 0.9)
        return [weight, xp.nn.sgd_step(bias, d_bias, 0.5)], [[v, kept[0][1]]]

    compare(step)


def test_rates_may_differ_between_parameters():
    def step(xp, params, kept, x, dy):
        found = zip(params, gradients(xp, x, params[0], dy), (0.1, 0.7), strict=True)
        return [xp.nn.sgd_step(p, g, lr) for p, g, lr in found], kept

    compare(step)


def test_rates_may_differ_between_sizes_of_batches():
    def step(xp, params, kept, x, dy):
        found = zip(params, gradients(xp, x, params[0], dy), strict=True)
        return [xp.nn.sgd_step(p, g, x.shape[0] / 100) for p, g in found], kept

    compare(step, batches=(6, 3))


def test_a_gradient_may_serve_two_parameters():
    def step(xp, params, kept, x, dy):
        d_weight, _ = gradients(xp, x, params[0], dy)
        return [xp.nn.sgd_step(p, d_weight, 0.1) for p in params], kept

    compare(step, shapes=((5, 4), (5, 4)))


def test_a_bias_may_be_a_row():
    def step(xp, params, kept, x, dy):
        found = zip(params, gradients(xp, x, params[0], dy), strict=True)
        return [xp.nn.sgd_step(p, g, 0.1) for p, g in found], kept

    compare(step, shapes=((5, 4), (1, 4)))


def test_learning_rate_among_the_arguments_is_not_part_of_a_program():
    def step(xp, params, kept, x, dy, lr):
        found = zip(params, gradients(xp, x, params[0], dy), strict=True)
        return [xp.nn.sgd_step(p, g, lr) for p, g in found], kept

    compiled = xp.compile(step)
    params = [normal(5, 4), normal(4, seed=1)]
    expected = copied(params)
    for lr in (1, 1, 1, 2, 3):
        args = normal(6, 5, seed=lr), normal(6, 4, seed=9), lr
        params, _ = compiled(xp, params, [], *args)
        expected, _ = step(xp, expected, [], *args)
        assert_same(params, expected, factor=50)
    assert "`lr` of `nn.sgd_step` is a number that may change" in compiled.report


def test_a_parameter_may_be_infinite():
    step = functools.partial(with_rule, "momentum_step")
    params = [normal(5, 4), numpy.array([0, -numpy.inf, 1, 2], numpy.float32)]
    mine = plain = params, [[numpy.zeros_like(p) for p in params]]
    compiled = xp.compile(step)
    mine, plain = copied(mine), copied(plain)
    for i in range(5):
        args = normal(6, 5, seed=i), normal(6, 4, seed=50 + i)
        mine, plain = compiled(xp, *mine, *args), step(xp, *plain, *args)
        for a, b in zip([*mine[0], *mine[1][0]], [*plain[0], *plain[1][0]], strict=True):
            numpy.testing.assert_allclose(a, b, rtol=1e-5)
    assert compiled.report == ""


def test_a_scale_that_is_an_array_is_used():
    def step(xp, images, indices, scale):
        x = xp.nn.gather_batch(images, indices, scale=scale, offset=0.0, dtype=xp.float32)
        return xp.nn.relu(x)

    compiled = xp.compile(step)
    images = positions(256, size=(9, 5)).astype(numpy.uint8)
    for value in (0.5, 0.5, 0.25, 0.125):
        args = images, positions(9), numpy.array(value, numpy.float32)
        assert_same(compiled(xp, *args), step(xp, *args))
    assert compiled.report == ""


def test_a_parameter_may_take_two_steps():
    def step(xp, params, kept, x, dy):
        weight, bias = params
        d_weight, d_bias = gradients(xp, x, weight, dy)
        weight = xp.nn.sgd_step(weight, d_weight, 0.1)
        bias = xp.nn.sgd_step(bias, d_bias, 0.1)
        d_weight, d_bias = gradients(xp, x, weight, xp.nn.linear(x, weight, bias))
        return [xp.nn.sgd_step(weight, d_weight, 0.01), xp.nn.sgd_step(bias, d_bias, 0.01)], kept

    compare(step)


def test_a_gradient_may_serve_two_rules():
    def step(xp, params, kept, x, dy):
        (p, q), ((v, _),) = params, kept
        d_weight, _ = gradients(xp, x, p, dy)
        p = xp.nn.sgd_step(p, d_weight, 0.1)
        q, v = xp.nn.momentum_step(q, d_weight, v, 0.1, 0.9)
        return [p, q], [[v, kept[0][1]]]

    compare(step, shapes=((5, 4), (5, 4)))


def test_parameters_are_read_with_the_values_after_their_step():
    def step(xp, params, kept, x, dy):
        d_weight, d_bias = gradients(xp, x, params[0], dy)
        weight, bias = xp.nn.sgd_step(params[0], d_weight, 0.1), xp.nn.sgd_step(params[1], d_bias, 0.1)
        return [weight, bias], kept, xp.nn.linear(x, weight, bias)

    compiled = xp.compile(step)
    params, kept = [normal(5, 4), normal(4, seed=1)], []
    for i in range(5):
        args = normal(6, 5, seed=i), normal(6, 4, seed=-i - 1 + 100)
        expected = step(xp, copied(params), kept, *args)
        found = compiled(xp, params, kept, *args)
        assert_same(found, expected)
        params = found[0]
    assert compiled.report == ""


def test_gradients_that_are_returned_are_new():
    def step(xp, params, kept, x, dy):
        found = gradients(xp, x, params[0], dy)
        return [xp.nn.sgd_step(p, g, 0.1) for p, g in zip(params, found, strict=True)], kept, found

    compiled = xp.compile(step)
    params, held = [normal(5, 4), normal(4, seed=1)], []
    for i in range(5):
        params, _, found = compiled(xp, params, [], normal(6, 5, seed=i), normal(6, 4, seed=9))
        held.append((found, copied(found)))
    assert compiled.report == ""
    for found, kept in held:
        assert_same(found, kept, factor=0.0)


@pytest.mark.parametrize("batches", [(6,), (6, 3)])
def test_two_sets_of_parameters_do_not_mix(batches):
    """Steps of one set never change what the other set's steps returned, in any program."""
    step = functools.partial(with_rule, "momentum_step")
    compiled = xp.compile(step)
    sets = [([normal(5, 4, seed=i), normal(4, seed=i)], [[normal(5, 4) * 0, normal(4) * 0]]) for i in (1, 2)]
    expected = copied(sets)
    chosen = numpy.random.default_rng(0)
    for i in range(40):
        which, batch = chosen.choice(2), chosen.choice(batches)
        args = normal(batch, 5, seed=i), normal(batch, 4, seed=50 + i)
        sets[which] = compiled(xp, *sets[which], *args)
        expected[which] = step(xp, *expected[which], *args)
        assert_same(sets, expected, factor=200)
    assert compiled.report == ""


def test_a_run_keeps_its_parameters_and_nothing_else():
    data = xpnet.Dataset(positions(256, size=(9, 5)).astype(numpy.uint8), positions(3, size=9))
    run = xpnet.fit(xp, xpnet.mlp(5, 3), data, optimizer=xpnet.Momentum(0.1), epochs=1, batch_size=4)
    assert all(p.base is None for p in run.params.values())


def test_parameters_move_between_programs_unchanged():
    compiled = xp.compile(functools.partial(with_rule, "momentum_step"))
    found = [normal(5, 4), normal(4)], [[normal(5, 4) * 0, normal(4) * 0]]
    matrices = []
    for i in range(12):
        batch = 6 if i % 2 else 3
        found = compiled(xp, *found, normal(batch, 5, seed=i), normal(batch, 4, seed=50 + i))
        matrices.append(found[0][0].base)
    assert compiled.report == ""
    assert all(matrix is matrices[-1] for matrix in matrices[4:])
