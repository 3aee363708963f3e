"""The trial of a program on copies, next to the step."""

import dataclasses

import pytest
from checking import results_of
from steps import assert_same

from xpnet import nn
from xpnet.drawing import drawn


@pytest.fixture(scope="module")
def xp(replaying):
    return replaying


@pytest.mark.parametrize("name", [name for name, f in nn.FUNCTIONS.items() if f.is_step])
def test_change_in_place_that_is_not_declared_is_found(xp, name, monkeypatch):
    """A trial is run on copies, so a program that changes more than it says leaves the arguments alone."""
    declared = nn.FUNCTIONS[name]
    arguments = drawn(declared, seed=0, dtype="float64", sizes={"*": (2, 3)})
    numbers = {key: x for key, x in arguments.items() if key not in declared.arrays}

    def step(xp, arrays):
        made = getattr(xp.nn, name)(**arrays, **numbers)
        return arrays | dict(zip(declared.changed, results_of(made), strict=True))

    def taken(step):
        arrays = {key: arguments[key].copy() for key in declared.arrays}
        for _ in range(4):
            arrays = step(xp, arrays)
        return arrays

    expected = taken(step)
    forms = {key: dataclasses.replace(form, changed=False) for key, form in declared.arguments.items()}
    monkeypatch.setitem(nn.FUNCTIONS, name, dataclasses.replace(declared, arguments=forms))
    compiled = xp.compile(step)
    assert_same(taken(compiled), expected, dtype="float64")
    assert compiled.report != ""
