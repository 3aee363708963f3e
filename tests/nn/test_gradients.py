"""Every gradient in `nn` against central differences in float64, on arguments drawn from declarations."""

import numpy as np
import pytest
from checking import assert_gradient, results_of

from xpnet import nn
from xpnet.drawing import drawn, placed

FUNCTIONS = nn.FUNCTIONS.values()
GRADIENTS = {f.gradient for f in FUNCTIONS}


def floats_of(function):
    return [name for name, form in function.arrays.items() if form.kind == "float"]


def needs_gradient(function):
    """Return whether a model's error can pass through a function: not if it is known, or only adds up."""
    of_gradients = function.name in GRADIENTS or "grad" in function.arrays
    known = bool(function.changed) or function.is_loss or of_gradients
    # The gradient at each part of a sum is that at the sum.
    only_adds = function.name in ("accumulate", "accumulate_weighted", "add")
    of_targets = function.name == "smooth_labels"
    # Gradients pass through sums over processes: `BatchNorm` has them.
    between_processes = function.twin.__module__ in ("xpnet.nn.collective", "xpnet.nn.synchronised")
    return bool(floats_of(function)) and not (known or only_adds or of_targets or between_processes)


def test_every_function_that_needs_a_gradient_has_one():
    assert {f.name for f in FUNCTIONS if needs_gradient(f)} == {f.name for f in FUNCTIONS if f.gradient}
    assert GRADIENTS - {None} <= nn.FUNCTIONS.keys()


def assert_gradients(xp, function, arguments, gradients, dy=1.0):
    """Compare gradients, by argument, with the differences of the sum of `dy` times the first result."""
    given = placed(xp, function, arguments)
    for name, gradient in gradients.items():

        def total(x, name=name):
            y = results_of(getattr(xp.nn, function.name)(**given | {name: x}))[0]
            return xp.sum(y * xp.asarray(dy))

        assert_gradient(xp, total, arguments[name], xp.to_host(gradient))


SIZES = [{"*": (5, 4), "batch": 5}, {"*": (1,), "batch": 1}]


@pytest.mark.parametrize("sizes", SIZES, ids=["some rows", "one row"])
@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f.gradient], ids=lambda f: f.name)
def test_gradient_agrees_with_finite_differences(xp64, function, sizes):
    for seed in range(3):
        arguments = drawn(function, seed=seed, dtype="float64", sizes=sizes)
        results = results_of(getattr(xp64.nn, function.name)(**placed(xp64, function, arguments)))
        known = arguments | dict(zip(function.results, map(xp64.to_host, results), strict=True))
        known["dy"] = np.random.default_rng(seed).normal(size=tuple(results[0].shape))
        gradient = nn.FUNCTIONS[function.gradient]
        names = [*gradient.arguments, *gradient.numbers, *gradient.options]
        given = placed(xp64, gradient, {name: known[name] for name in names if name in known})
        gradients = results_of(getattr(xp64.nn, gradient.name)(**given))
        gradients = dict(zip(floats_of(function), gradients, strict=True))
        assert_gradients(xp64, function, arguments, gradients, known["dy"])


@pytest.mark.parametrize("sizes", SIZES, ids=["some rows", "one row"])
@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f.is_loss], ids=lambda f: f.name)
def test_gradient_of_a_loss_agrees_with_finite_differences(xp64, function, sizes):
    for seed in range(3):
        arguments = drawn(function, seed=seed, dtype="float64", sizes=sizes)
        _, gradient = getattr(xp64.nn, function.name)(**placed(xp64, function, arguments))
        assert_gradients(xp64, function, arguments, {next(iter(function.arrays)): gradient})
