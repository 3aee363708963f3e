"""Scans on the backend `numba`, whose threads carry out many steps without Python between them."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy
import pytest
import steps
from steps import copied, make_images, make_trainer, train
from test_forks import in_child
from test_threads import in_threads

import xpnet
from xpnet import schedules
from xpnet.pace import Pace

numba = pytest.importorskip("numba", reason="numba is not installed")

from xpnet.replay.program import scan_by_runs  # noqa: E402
from xpnet_numba import layout, program, team, xp  # noqa: E402
from xpnet_numba.program import NumbaProgram  # noqa: E402

SPARSE, DENSE = (make_images(kind, (90, 36)) for kind in ("sparse", "dense"))
LABELS = numpy.arange(90) % 3
RATE = schedules.Warmup(4, schedules.Cosine(0.05, steps=9))


@pytest.fixture
def looped(monkeypatch):
    """Return the numbers of steps that the team was given at once, which grow however long they take."""
    found, carry_out = [], team.Team.carry_out

    def note(self, program, *, helped):
        found.append(int(program.array[layout.STEPS]))
        carry_out(self, program, helped=helped)

    monkeypatch.setattr(team.Team, "carry_out", note)
    monkeypatch.setattr(program, "Pace", lambda seconds: Pace(1e9))
    return found


def arrays_of(tree):
    if isinstance(tree, numpy.ndarray | numpy.generic):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, tuple | list) else ()
    return [x for part in parts for x in arrays_of(part)]


def digest(*trees):
    """Return a digest of the bytes of arrays."""
    return hashlib.sha256(b"".join(x.tobytes() for x in arrays_of(trees))).hexdigest()


NETWORKS = {
    "sparse": (xpnet.mlp(36, 12, 3), SPARSE, {"optimizer": xpnet.Momentum(0.5, weight_decay=0.1)}),
    "float32": (xpnet.mlp(36, 33, 12, 3), DENSE, {"optimizer": xpnet.Adam(RATE), "dtype": "float32"}),
    "one layer": (xpnet.mlp(36, 3), DENSE, {"optimizer": xpnet.SGD(RATE, momentum=0.8)}),
    "dropout": (
        xpnet.Sequential(xpnet.Linear(36, 12), xpnet.Dropout(0.4), xpnet.Sigmoid(), xpnet.Linear(12, 3)),
        SPARSE,
        {"optimizer": xpnet.AdamW(RATE), "batch_size": 8},
    ),
    "state": (
        xpnet.Sequential(xpnet.Linear(36, 12), xpnet.BatchNorm(12), xpnet.ReLU(), xpnet.Linear(12, 3)),
        DENSE,
        {"optimizer": xpnet.RMSprop(0.01)},
    ),
    # NumPy's function, which is called between stages.
    "by host": (
        xpnet.Sequential(xpnet.Linear(36, 12), xpnet.Tanh(), xpnet.Linear(12, 3)),
        DENSE,
        {"optimizer": xpnet.Momentum(0.5)},
    ),
    "clipped": (xpnet.mlp(36, 12, 3), DENSE, {"optimizer": xpnet.Nesterov(0.5, clip_norm=0.3)}),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_epochs_have_the_bits_of_one_run_a_step(network, looped, monkeypatch):
    model, images, options = NETWORKS[network]
    data = xpnet.Dataset(images, LABELS)
    found, expected = (make_trainer(xp, model, data, **options)[0] for _ in range(2))
    sums = train(found, len(data), steps=60)
    assert (max(looped) > 1) == (network != "by host")
    assert found.report == ""
    monkeypatch.setattr(NumbaProgram, "scan", scan_by_runs)
    assert sums == train(expected, len(data), steps=60)
    assert digest(found.params, found._state) == digest(expected.params, expected._state)
    assert found._state.get("step") == expected._state.get("step")


FIT = """
import xpnet, test_numba_scan as t
from steps import make_trainer, train
from xpnet_numba import team, xp
team._PATIENCE = {patience}  # Helpers that sleep soon come late.
found = []
for model, images, options in t.NETWORKS.values():
    for _ in range({times}):
        trainer = make_trainer(xp, model, xpnet.Dataset(images, t.LABELS), **options)[0]
        found.append(t.digest(*map(t.numpy.float64, train(trainer, 90, steps=240)), trainer.params))
assert len({{*found}}) == len(t.NETWORKS)
print(t.hashlib.sha256("".join(found).encode()).hexdigest())
"""
FOLDERS = [Path(__file__).parents[2] / "backends", Path(__file__).parents[1], Path(__file__).parent]


def test_number_and_lateness_of_threads_change_no_bit():
    def run(threads, patience, times=2):
        done = subprocess.run(
            [sys.executable, "-c", FIT.format(patience=patience, times=times)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, FOLDERS)),
                "NUMBA_NUM_THREADS": str(threads),
            },
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert len({run(1, 300_000), run(2, 300_000), run(3, 1), run(16, 2000)}) == 1


def following(xp, one, other, count, x, constant):
    """Return values that the step makes, one that it makes of the other, and a number."""
    made = xp.nn.accumulate(other, x[0], 0.5)
    return made, xp.nn.accumulate(one, constant, 1.0), count + 2


def numbers(*values, dtype="float32"):
    return tuple(numpy.asarray(value, dtype) for value in values)


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 100, 101])
def test_what_is_carried_is_what_steps_return_and_what_was_given_stays(n, looped):
    one, other, constant = numbers(1, 2, 0.25)
    rows = (numpy.random.default_rng(0).normal(size=n).astype("float32"),)
    compiled = xp.compile(following)
    found = xp.scan(compiled, (one, other, 3), rows, constant)
    # Two steps run as they are written; one is tried, and one runs alone.
    assert looped == [1, 1, *(end - begin for begin, end in Pace(1e9).chunks(n - 3))]
    assert (max(looped) > 1) == (n > 5)
    expected = xp.fold(
        following, (one, other, 3), ((tuple(x[i, ...] for x in rows), constant) for i in range(n))
    )
    steps.assert_same(found, expected)
    assert compiled.report == ""
    assert [float(x) for x in (one, other, constant)] == [1, 2, 0.25]
    # What was returned belongs to the caller: what follows does not overwrite it.
    kept, first = digest(found), xp.scan(compiled, (one, other, 3), rows, constant)
    again = xp.scan(compiled, found, rows, constant)
    called = compiled(xp, *found, (rows[0][0, ...],), constant)
    folded = xp.fold(compiled, found, [((rows[0][i, ...],), constant) for i in range(n)])
    assert digest(found) == digest(first) == kept
    assert digest(again) == digest(folded)
    steps.assert_same(called, following(xp, *found, (rows[0][0, ...],), constant))


def total(xp, total, x, y):
    return (xp.nn.accumulate(total, xp.nn.squared_error(x, y)[0], 1.0),)


def rows_like(x, form):
    """Return rows with these values, stored in another way."""
    if form == "reversed":
        return x[::-1].copy()[::-1]
    if form == "every second":
        return numpy.repeat(x, 2, axis=0)[::2]
    if form == "misaligned":
        return steps.shifted(x, 2)
    if form == "by columns":
        return numpy.asfortranarray(x)
    if form == "read-only":
        x = x.copy()
        x.flags.writeable = False
    return x


@pytest.mark.parametrize(
    "form", ["reversed", "every second", "misaligned", "by columns", "read-only", "plain"]
)
def test_rows_may_be_stored_in_any_way(form, looped):
    x = numpy.random.default_rng(0).normal(size=(40, 6, 5)).astype("float32")
    y, (zero,) = numpy.ones((6, 5), "float32"), numbers(0)
    compiled = xp.compile(total)
    expected = xp.scan(xp.compile(total), (zero,), x.copy(), y)
    looped[:] = [1]
    (found,) = xp.scan(compiled, (zero,), rows_like(x, form), y)
    assert digest(found) == digest(expected)
    assert (max(looped) > 1) == (form not in ("misaligned", "by columns"))


def test_one_row_may_be_used_again_and_again():
    (zero, one), compiled = numbers(0, 1), xp.compile(lambda xp, sum, x: (xp.nn.accumulate(sum, x, 1.0),))
    for _ in range(2):
        assert xp.scan(compiled, (zero,), numpy.broadcast_to(one, 5000))[0] == 5000


def test_rows_that_a_step_changes_are_changed(looped):
    def step(xp, sum, x, grad):
        x = xp.nn.sgd_step(x, grad, 1.0)
        return (xp.nn.accumulate(sum, xp.nn.squared_error(x, grad)[0], 1.0),)

    (zero,), grad = numbers(0), numpy.ones((4, 16), "float32")
    given, expected = (numpy.arange(10 * 64, dtype="float32").reshape(10, 4, 16) for _ in range(2))
    rows = steps.shifted(given, 0)
    compiled = xp.compile(step)
    found = xp.scan(compiled, (zero,), rows, grad)
    steps.assert_same(found, xp.fold(step, (zero,), ((expected[i], grad) for i in range(10))))
    assert max(looped) == 1


def test_images_may_be_rows(looped):
    """Compressed ones are compressed at each step."""

    def step(xp, params, images, labels, indices):
        params, _ = steps.step(xp, params, images, labels, indices)
        return (params,)

    params, images, labels, indices = steps.make_arguments()
    rows = numpy.stack([numpy.roll(images, i, axis=0) for i in range(12)])
    expected = (copied(params),)
    for i in range(12):
        expected = step(xp, *expected, rows[i], labels, indices)
    compiled = xp.compile(step)
    steps.assert_same(xp.scan(compiled, (copied(params),), rows, labels, indices), expected)
    assert compiled.report == ""
    assert max(looped) == 1


def test_threads_may_scan_at_once():
    def work(i):
        return [digest(*trained(kind)) for kind in NETWORKS]

    def trained(kind):
        model, images, options = NETWORKS[kind]
        trainer = make_trainer(xp, model, xpnet.Dataset(images, LABELS), **options)[0]
        return train(trainer, 90, steps=60), trainer.params

    expected = work(0)
    assert in_threads(4, work) == [expected] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_child_scans_as_its_parent_does():
    model, images, options = NETWORKS["float32"]
    trainer = make_trainer(xp, model, xpnet.Dataset(images, LABELS), **options)[0]
    train(trainer, 90)

    def work():
        return digest(train(trainer, 90), trainer.params)

    child = in_child(work)
    assert child == work()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_scan_ends_soon_after_an_interrupt_and_leaves_nothing_half_done():
    (zero, one), compiled = numbers(0, 1), xp.compile(lambda xp, sum, x: (xp.nn.accumulate(sum, x, 1.0),))
    assert xp.scan(compiled, (zero,), numpy.broadcast_to(one, 10))[0] == 10
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        xp.scan(compiled, (zero,), numpy.broadcast_to(one, 10**12))  # would take days
    timer.join()
    for n in (10, 11):
        assert xp.scan(compiled, (zero,), numpy.broadcast_to(one, n))[0] == n
        assert compiled(xp, zero, one)[0] == 1
    assert compiled.report == ""


class Ending:
    """A schedule that has no rate for late steps."""

    def __call__(self, step):
        if step > 20:
            raise RuntimeError("no rate is left")
        return 0.5**step


def test_schedule_that_raises_leaves_nothing_half_done():
    optimizer = xpnet.SGD(Ending())

    @steps.noting
    def step(xp, params, state, grad):
        return optimizer(xp, params, {"p": grad}, state)

    def scanned(n):
        return xp.scan(compiled, ({"p": numpy.zeros((4, 3))}, {"step": 0}), numpy.ones((n, 4, 3)))

    compiled = xp.compile(step)
    (params, state) = expected = scanned(20)
    assert state == {"step": 20}
    assert digest(params) == digest(numpy.full((4, 3), -sum(0.5**n for n in range(1, 21))))
    with pytest.raises(RuntimeError, match="no rate is left"):
        scanned(21)
    assert digest(scanned(20)) == digest(expected)
    assert compiled.report == ""
