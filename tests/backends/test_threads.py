"""Threads that train, predict and compile at once: the bytes are those of one thread after another."""

import threading

import numpy
import pytest
import steps

import xpnet


@pytest.fixture(scope="module")
def xp(replaying):
    return replaying


def in_threads(n, work):
    """Return what `work` returns for 0 to n - 1, each in a thread of its own; all begin at once."""
    found, errors, barrier = [None] * n, [], threading.Barrier(n)

    def run(i):
        try:
            barrier.wait(30)
            found[i] = work(i)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert not any(thread.is_alive() for thread in threads)
    return found


DATA = steps.make_images("sparse", (90, 60)), numpy.arange(90, dtype=numpy.uint8) % 3
OPTIMIZERS = xpnet.SGD(0.5), xpnet.Momentum(0.5), xpnet.Adam(0.01)


def trained(xp, seed):
    """Return the bytes of what a training leaves, of what is predicted with it, and its losses."""
    data = xpnet.Dataset(*DATA)
    model = xpnet.mlp(60, 12, 3) if seed % 2 else xpnet.Sequential(xpnet.Linear(60, 5), xpnet.Linear(5, 3))
    run = xpnet.fit(
        xp, model, data, test=data, optimizer=OPTIMIZERS[seed % 3], epochs=2, batch_size=16 + seed, seed=seed
    )
    assert run.report == ""
    losses = [(epoch.train_loss, epoch.test_loss, epoch.test_accuracy) for epoch in run.history]
    outputs = run.predict_proba(data), run.predict(data), numpy.asarray(run.evaluate(data).loss)
    return [x.tobytes() for x in (*map(xp.to_host, run.params.values()), *outputs)], losses


def test_trainings_in_threads_leave_the_bytes_of_trainings_in_turn(xp):
    seeds = range(4)
    expected = [trained(xp, seed) for seed in seeds]
    found = in_threads(8, lambda i: [trained(xp, (i + seed) % 4) for seed in seeds])
    assert found == [[expected[(i + seed) % 4] for seed in seeds] for i in range(8)]
