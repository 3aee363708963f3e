"""Trainings whose steps a library traces: it keeps what a step read in its first call with certain shapes."""

from unittest import mock

import numpy
import pytest

import xpnet
from xpnet.replay.foreign import Jitted, compile_step
from xpnet.replay.tree import is_array, leaves

PLAIN = xpnet.Namespace("plain", numpy)


def trace(step):
    """Return a step whose random numbers and whose rates are those of its first call with the same shapes."""
    kept = {}

    def traced(*args):
        key = tuple((x.shape, str(x.dtype)) if is_array(x) else x for x in leaves(args))
        constants = kept.get(key)
        noted = iter(constants or ())
        made = kept.setdefault(key, [])

        def constant(make):
            def found(*args):
                if constants is None:
                    made.append(make(*args))
                    return made[-1]
                return next(noted)

            return found

        with (
            mock.patch.object(xpnet.Stream, "normal", constant(xpnet.Stream.normal)),
            mock.patch.object(Rule, "rate", constant(Rule.rate)),
        ):
            return step(*args)

    return traced


class Rule:
    """A rule whose rate may change, and that may count its steps."""

    def __init__(self, *, counts=False):
        self.lr = 0.5
        self.begun = 0
        self.count = 0
        self._counts = counts

    def rate(self):
        return self.lr

    def init(self, xp, params):
        self.begun += 1
        return {}

    def __call__(self, xp, params, grads, state):
        if self._counts:
            self.count += 1
        lr = self.rate()
        return {name: xp.nn.sgd_step(p, grads[name], lr) for name, p in params.items()}, state


def libraries():
    yield "by a stand-in", lambda: (PLAIN, xpnet.Namespace("mine", numpy, compile=trace))

    def with_jax():
        jax = pytest.importorskip("jax", reason="jax is not installed")
        return xpnet.Namespace("eager", jax.numpy), xpnet.Namespace("mine", jax.numpy, compile=jax.jit)

    yield "by jax.jit", with_jax


@pytest.fixture(params=[pytest.param(make, id=name) for name, make in libraries()])
def plain_and_traced(request):
    return request.param()


class Noise:
    """A layer that draws random numbers on the host."""

    shapes = xpnet.ReLU.shapes

    def init(self, xp, seed, *, dtype="float32"):
        return {}

    def __call__(self, xp, params, x, *, stream=None):
        y = x if stream is None else x + xp.asarray(stream.normal(x.shape).astype("float32"))
        return y, lambda dy, *, input_gradient=True: (dy, {})


def trained(xp, dataset, *layers, rule=None, **options):
    model = xpnet.Sequential(xpnet.Linear(12, 8), *layers, xpnet.ReLU(), xpnet.Linear(8, 3))
    options = {"epochs": 3, "batch_size": 16, "progress": False} | options
    return xpnet.fit(xp, model, dataset, optimizer=rule or xpnet.Momentum(0.5), **options)


def assert_alike(run, expected):
    for name, p in expected.params.items():
        numpy.testing.assert_allclose(
            run.xp.to_host(run.params[name]), expected.xp.to_host(p), rtol=1e-4, atol=1e-6
        )


def test_traced_training_equals_the_plain_one(plain_and_traced, dataset):
    plain, mine = plain_and_traced
    run = trained(mine, dataset, test=dataset)
    assert run.report == ""
    assert_alike(run, trained(plain, dataset))


def test_dropout_has_new_masks_in_every_step(plain_and_traced, dataset):
    plain, mine = plain_and_traced
    run = trained(mine, dataset, xpnet.Dropout(0.5), xpnet.Dropout(0.25), test=dataset)
    assert run.report == ""
    assert_alike(run, trained(plain, dataset, xpnet.Dropout(0.5), xpnet.Dropout(0.25)))


def test_layer_that_draws_on_the_host_has_new_numbers_in_every_step(plain_and_traced, dataset):
    plain, mine = plain_and_traced
    run = trained(mine, dataset, Noise(), test=dataset)
    assert "draws random numbers on the host" in run.report
    assert_alike(run, trained(plain, dataset, Noise()))


def test_rate_that_a_callback_changes_is_used(plain_and_traced, dataset):
    def halved(xp):
        rule = Rule()

        def halve(run):
            rule.lr /= 2

        return trained(xp, dataset, rule=rule, callbacks=[halve])

    plain, mine = plain_and_traced
    run = halved(mine)
    assert run.report == ""
    assert_alike(run, halved(plain))


def test_rule_that_counts_counts_its_steps(plain_and_traced, dataset):
    plain, mine = plain_and_traced
    rule = Rule(counts=True)
    run = trained(mine, dataset, rule=rule)
    assert (rule.count, rule.begun) == (18, 1)
    assert run.report == "the step changes `Rule.count`"
    assert_alike(run, trained(plain, dataset, rule=Rule(counts=True)))


def test_rate_that_changes_at_every_call_is_used_and_named():
    rule = Rule()

    def step(xp, p):
        return xp.nn.sgd_step(p, numpy.ones(3), rule.rate())

    mine = xpnet.Namespace("mine", numpy, compile=trace)
    traced, p = Jitted(mine, step), numpy.zeros(3)
    for i in range(9):
        rule.lr = float(i)
        p = traced(mine, p)
    numpy.testing.assert_array_equal(p, -36.0)
    assert traced.report == "`Rule.lr` changes from call to call"


def test_step_of_a_backend_that_compiles_nothing_is_left_as_it_is():
    step = lambda xp, x: x  # noqa: E731
    assert compile_step(PLAIN, step) is step


def test_step_with_a_report_is_left_to_its_backend(numpy_xp):
    assert type(compile_step(numpy_xp, lambda xp, x: x)) is type(numpy_xp.compile(lambda xp, x: x))


def test_training_without_a_compiler_has_nothing_to_report(dataset):
    assert trained(PLAIN, dataset, xpnet.Dropout(0.5), test=dataset).report == ""


def test_training_by_a_schedule_equals_the_plain_one(plain_and_traced, dataset):
    plain, mine = plain_and_traced
    rule = xpnet.SGD(xpnet.schedules.cosine(0.5, steps=18))
    assert_alike(trained(mine, dataset, rule=rule), trained(plain, dataset, rule=rule))


def test_step_that_cannot_be_traced_runs_as_it_is_written():
    def refuse(step):
        def traced(*args):
            raise RuntimeError("only such steps")

        return traced

    xp = xpnet.Namespace("mine", numpy, compile=refuse)
    step = compile_step(xp, lambda xp, x: xp.nn.relu(x))
    for _ in range(3):
        numpy.testing.assert_array_equal(step(xp, numpy.array([-1.0, 1.0])), [0, 1])
    assert step.report == "the step cannot be traced: RuntimeError: only such steps"
