"""Trainings with users' layers and rules that have state, on backends that replay."""

import dataclasses

import numpy
import pytest
from steps import PLAIN, assert_trained_alike, make_images, make_trainer, train

import xpnet
from xpnet.replay.captured import Captured


@pytest.fixture(scope="module")
def xp(replaying):
    return replaying


class Counting:
    """A rule that counts its steps."""

    def __init__(self, count):
        self.count = 0
        self.counts = [0]
        self.totals = {"steps": 0}
        self.array = numpy.zeros(1)
        self.log = []
        self._count = count
        self.begun = 0

    def init(self, xp, params):
        self.begun += 1
        return {}

    def __call__(self, xp, params, grads, state):
        self._count(self)
        return {name: xp.nn.sgd_step(p, grads[name], 0.1) for name, p in params.items()}, state


def by_attribute(rule):
    rule.count += 1


def by_item(rule):
    rule.counts[0] += 1


def by_key(rule):
    rule.totals["steps"] += 1


def by_array(rule):
    rule.array += 1


def by_log(rule):
    rule.log.append(None)


COUNTERS = {
    "count": (by_attribute, lambda rule: rule.count),
    "counts": (by_item, lambda rule: rule.counts[0]),
    "totals": (by_key, lambda rule: rule.totals["steps"]),
    "array": (by_array, lambda rule: rule.array[0]),
    "log": (by_log, lambda rule: len(rule.log)),
}


@pytest.mark.parametrize("name", COUNTERS)
def test_step_that_counts_counts_every_step_and_no_rehearsal(xp, dataset, name):
    count, counted = COUNTERS[name]
    rule = Counting(count)
    run = xpnet.fit(
        xp, xpnet.mlp(12, 3), dataset, test=dataset, optimizer=rule, epochs=2, batch_size=18, progress=False
    )
    assert (counted(rule), rule.begun) == (10, 1)
    assert run.report == f"the step changes `Counting.{name}`"


class Scheduled:
    """A rule whose rate a callback changes."""

    def __init__(self, lr):
        self.lr = lr

    def init(self, xp, params):
        return {}

    def __call__(self, xp, params, grads, state):
        return {name: xp.nn.sgd_step(p, grads[name], self.lr) for name, p in params.items()}, state


class Switched(xpnet.ReLU):
    """A layer that becomes a ReLU at some epoch."""

    def __init__(self):
        object.__setattr__(self, "epoch", 0)

    def __call__(self, xp, params, x, *, stream=None):
        if self.epoch < 2:
            return xpnet.Tanh()(xp, params, x, stream=stream)
        return super().__call__(xp, params, x, stream=stream)


class Noise:
    """A layer that draws random numbers on the host."""

    shapes = xpnet.ReLU.shapes

    def init(self, xp, seed, *, dtype="float32"):
        return {}

    def __call__(self, xp, params, x, *, stream=None):
        y = x if stream is None else x + xp.asarray(stream.normal(x.shape).astype(x.dtype))
        return y, lambda dy, *, input_gradient=True: (dy, {})


def test_layer_that_draws_on_the_host_is_named_by_the_run(xp, dataset):
    model = xpnet.Sequential(xpnet.Linear(12, 8), Noise(), xpnet.Linear(8, 3))
    reports = []
    run = xpnet.fit(
        xp,
        model,
        dataset,
        test=dataset,
        optimizer=xpnet.SGD(0.1),
        epochs=1,
        callbacks=[lambda run: reports.append(run.report)],
        progress=False,
    )
    assert (
        run.report
        == "the step draws random numbers on the host (`Dropout` does not, given `stream.at(step)`)"
    )
    assert reports == [run.report]


class Largest:
    """A layer that reads a value on the host when it is not training."""

    shapes = xpnet.ReLU.shapes

    def init(self, xp, seed, *, dtype="float32"):
        return {}

    def __call__(self, xp, params, x, *, stream=None):
        if stream is None:
            return x / float(xp.max(x)), None
        return xpnet.ReLU()(xp, params, x)


def test_tests_that_are_not_sped_up_are_named_by_the_run(xp, dataset):
    model = xpnet.Sequential(xpnet.Linear(12, 8), Largest(), xpnet.Linear(8, 3))
    run = xpnet.fit(
        xp, model, dataset, test=dataset, optimizer=xpnet.SGD(0.1), epochs=2, batch_size=16, progress=False
    )
    number = Largest.__call__.__code__.co_firstlineno + 2
    assert run.report == (
        f"in test, `test_stateful_training.py:{number}: return x / float(xp.max(x)), None` reads a value on "
        "the host"
    )


def test_change_by_a_callback_between_epochs_is_seen(xp, dataset):
    def trained(xp):
        rule, layer = Scheduled(0.5), Switched()
        model = xpnet.Sequential(xpnet.Linear(12, 8), layer, xpnet.Linear(8, 3))

        def change(run):
            rule.lr = 0.5 * 0.7 ** len(run.history)
            object.__setattr__(layer, "epoch", len(run.history))

        return xpnet.fit(
            xp, model, dataset, optimizer=rule, epochs=4, batch_size=16, callbacks=[change], progress=False
        )

    run, expected = trained(xp), trained(PLAIN)
    assert run.report == ""
    for name, p in expected.params.items():
        numpy.testing.assert_allclose(run.params[name], p, rtol=1e-4, atol=1e-6)


class Loop:
    """A user's training loop, which keeps what its step returns."""

    def __init__(self, xp):
        self.xp = xp
        self.params = numpy.zeros((2, 3))
        self.history = []
        self.calls = 0
        self.rule = Scheduled(0.5)
        self.step = xp.compile(self._step)

    def _step(self, xp, p, g):
        self._noted()
        return self.rule(xp, {"p": p}, {"p": g}, {})[0]["p"]

    @staticmethod
    def _noted():
        NOTED.append(None)

    def run(self, n):
        for i in range(n):
            self.calls = i
            self.params = self.step(self.xp, self.params, numpy.ones((2, 3)))
            self.history.append(float(self.params[0, 0]))


NOTED = []
Loop._noted.__module__ = "xpnet.losses"  # so that it may log its calls and still be replayed


def test_attributes_that_the_step_does_not_name_may_change(xp):
    NOTED.clear()
    loop = Loop(xp)
    loop.run(8)
    assert loop.history == [-0.5 * i for i in range(1, 9)]
    assert loop.step.report == ""
    assert len(NOTED) == 2


@dataclasses.dataclass(frozen=True)
class Frozen(xpnet.SGD):
    """A user's rule that cannot change."""


@pytest.mark.parametrize(
    ("optimizer", "own"), [(xpnet.Adam(), True), (Frozen(0.1), False), (Scheduled(0.1), False)]
)
def test_only_code_outside_xpnet_is_watched(xp, optimizer, own):
    data = xpnet.Dataset(make_images("sparse", (37, 29)), numpy.arange(37) % 3)
    trainer, _ = make_trainer(xp, xpnet.mlp(29, 10, 3), data, optimizer=optimizer)
    captured = Captured(xp, trainer._step)
    assert (captured.own, bool(captured)) == (own, not own)
    train(trainer, 37)
    assert trainer.report == ""
    plain, _ = make_trainer(PLAIN, xpnet.mlp(29, 10, 3), data, optimizer=optimizer)
    train(plain, 37)
    if not isinstance(optimizer, xpnet.Adam):
        assert_trained_alike(trainer, plain)
