"""Random networks, losses, optimizers and batches: compiled steps give what plain steps give."""

import hypothesis
import pytest
import steps

import xpnet


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_compiled_networks_are_right(fuzzer, name):
    try:
        xp = xpnet.backend(name)
    except xpnet.BackendUnavailableError as e:
        pytest.skip(str(e))
    fuzz = fuzzer(f"networks on {name}")

    def check(training):
        with fuzz.trying():
            steps.assert_trains_alike(xp, training)

    options = hypothesis.settings(max_examples=10, database=None, deadline=None)
    for turn in fuzz.turns(least=1):
        seed = fuzz.rng.randrange(2**32) + turn
        hypothesis.seed(seed)(options(hypothesis.given(steps.trainings())(check)))()
