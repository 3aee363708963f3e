"""Random networks, losses, optimizers and batches: compiled steps and plain steps agree."""

import hypothesis
import numpy
import pytest
import steps
from checking import assert_close

import xpnet


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_compiled_networks_are_right(fuzzer, name):
    try:
        xp = xpnet.backend(name)
    except xpnet.BackendUnavailableError as e:
        pytest.skip(str(e))
    fuzz = fuzzer(f"networks on {name}")
    for turn in fuzz.turns(least=1):

        @hypothesis.seed(fuzz.rng.randrange(2**32) + turn)
        @hypothesis.settings(max_examples=20, database=None, deadline=None)
        @hypothesis.given(steps.trainings())
        def check(training):
            assert_right(fuzz.tally, xp, training)

        check()


def assert_right(tally, xp, training):
    """Compare a training with a plain one, and count it as refused if it was not sped up."""
    model, data, options = training
    mine, plain = (steps.make_trainer(n, model, data, **options)[0] for n in (xp, steps.PLAIN))
    sums, expected = steps.train(mine, len(data)), steps.train(plain, len(data))
    dtype = options["dtype"]
    steps.assert_trained_alike(mine, plain, dtype=dtype)
    assert_close(steps.PLAIN, numpy.array(sums), expected, dtype=dtype, factor=steps.FACTOR)
    if mine.compiled.report:
        # A gradient whose terms cancel may differ by more than the trial's tolerance.
        assert mine.compiled.report.startswith("replayed, the step gives other results")
        tally.refused["left plain"] += 1
    else:
        tally.accepted += 1
