"""Each declaration agrees with its twin, and one that does not is refused."""

import collections
import contextlib
import itertools
import re

import array_api_strict
import numpy as np
import pytest
from checking import results_of

import xpnet
from xpnet import nn
from xpnet.checked import checked
from xpnet.drawing import drawn, placed
from xpnet.nn import declared

XP = checked(xpnet.Namespace("strict", array_api_strict))
functions = pytest.mark.parametrize("function", nn.FUNCTIONS.values(), ids=lambda f: f.name)
SIZES = {"*": (4, 6)}
BROADCASTING = {"batch_norm", "standardize"}
"""Functions whose twins also take arrays of one shape, element by element."""
UNCHANGED = {"all_reduce"}
"""Functions that may change an argument, but whose twins do not."""


def run(function, arguments):
    """Return the results of a twin under array-api-strict with checks, and its arguments afterwards."""
    given = placed(XP, function, {name: _writable(value) for name, value in arguments.items()})
    with np.errstate(invalid="ignore"):
        results = results_of(getattr(XP.nn, function.name)(**given))
    host = [None if x is None else np.array(XP.to_host(x)) for x in results]
    return dict(zip(function.results, host, strict=True)), {
        name: np.array(XP.to_host(given[name])) for name in function.arrays
    }


def _writable(value):
    return value.copy() if isinstance(value, np.ndarray) else value


def examine(function):
    """Raise an error unless a declaration says what its twin does with drawn arguments."""
    flags = [name for name, kind in function.numbers.items() if kind is bool]
    for seed, *values in itertools.product(range(3), *[[True, False]] * len(flags)):
        fixed = dict(zip(flags, values, strict=True))
        for sizes in (SIZES, SIZES | {"batch": 1}):
            arguments = drawn(function, seed=seed, sizes=sizes) | fixed
            results, after = run(function, arguments)
            assert tuple(function.results)[: len(function.changed)] == function.changed
            for name in function.arrays:
                expected = results[name] if name in function.changed else arguments[name]
                np.testing.assert_array_equal(after[name], expected)
            for name, form in function.results.items():
                if form.kind == "float" and results[name] is not None:
                    assert np.isfinite(results[name]).all()
                    assert (results[name] >= form.interval[0]).all()
                    assert (results[name] <= form.interval[1]).all()
        arguments = drawn(function, seed=seed, sizes=SIZES) | fixed
        for name, value in arguments.items():
            if name in function.arrays and value.ndim:
                _examine_dependence(function, arguments, name)


def _examine_dependence(function, arguments, name):
    """Change the first element of an argument: only the same row, or the same element, may change with it."""
    first = (0,) * arguments[name].ndim
    changed = arguments[name].copy()
    changed[first] = changed[changed != changed[first]][0]
    before, after = (run(function, arguments | {name: x})[0] for x in (arguments[name], changed))
    for result, form in function.results.items():
        if before[result] is not None and function.reads_own_rows(name, result):
            same = np.isclose(before[result], after[result], rtol=1e-6)
            same[first if form.axes is None else 0] = True
            assert same.all(), f"`{result}` of {function.name!r} does not read its own rows of `{name}`"


@functions
def test_declaration_agrees_with_its_twin(function):
    examine(function)


def broken(function):
    """Yield declarations of a function, each with one mistake."""
    text = function.declaration
    pieces = re.split("( -> |, )", text)  # forms, with what is between them
    forms = [*function.arguments.items(), *function.results.items()]
    # An axis that nothing else has or needs may have any name.
    axes = *function.axes, *(["..."] if function.has_further_axes else [])
    free = [axis for axis in axes if len(re.findall(rf"(?<!\w){re.escape(axis)}(?!\w)", text)) == 1]
    free = [axis for axis in free if axis not in _needed(function)]
    yield text.rpartition(", " if len(function.results) > 1 else " -> ")[0]  # a result too few
    if all(form.axes for _, form in forms) and function.name not in BROADCASTING:
        yield re.sub(rf"\b({'|'.join(function.axes)})( (\w+|\.\.\.))*", "*", text)  # element by element
    for i, (name, form) in enumerate(forms):
        is_result = i >= len(function.arguments)
        for mistake in _mistakes(pieces[2 * i], name, form, is_result=is_result, free=free):
            if function.name in UNCHANGED and mistake == pieces[2 * i].replace("!", ""):
                continue
            yield "".join([*pieces[: 2 * i], mistake, *pieces[2 * i + 1 :]])


def _needed(function):
    """Return the axes that are computed, and those that they are computed of."""
    needed = {*function.computed}

    class Lengths(dict):
        def __missing__(self, axis):
            needed.add(axis)
            return (1,) if axis == "*" else 1

    for compute in function.computed.values():
        with contextlib.suppress(TypeError, ValueError, KeyError):
            compute(Lengths(), collections.defaultdict(lambda: 1))
    return needed


def _mistakes(piece, name, form, *, is_result, free):
    """Yield one form with a mistake in it."""
    head, colon, tail = piece.rpartition(": ")
    if form.kind in ("count", "key"):
        return
    if "!" in head:
        yield piece.replace("!", "")
    elif not is_result:
        yield f"{head}!: {tail}"
    if form.optional:
        yield piece.replace("? ", "")
    for axis in form.axes or ():
        if axis in free:
            continue
        if axis == "...":
            yield piece.replace(" ...", "")
            continue
        yield head + colon + re.sub(rf"\b{axis}\b", "mistaken", tail)
    if form.axes:
        yield piece.removesuffix(" ".join(form.axes)) + "*"
    elif form.axes == () and is_result:
        yield piece.replace("()", "*")
    if form.kind == "int":
        yield re.sub(r"int(\[.*\])? ", "", piece)
    axes = tail.removeprefix("? ").partition("] ")[2] or tail.removeprefix("? ")
    if form.kind == "float" and is_result:
        yield f"{head}{colon}int {axes}"
        yield f"{head}{colon}float[{'-1 0.4' if np.isfinite(form.interval[1]) else '1000 1001'}] {axes}"
    elif form.interval == (0, np.inf):
        yield f"{head}{colon}{axes}"


CASES = [(f, text) for f in nn.FUNCTIONS.values() for text in broken(f)]


@pytest.mark.parametrize(("function", "text"), CASES, ids=[f"{f.name}: {text}" for f, text in CASES])
def test_declaration_with_a_mistake_is_refused(function, text, monkeypatch):
    def examine_mistaken():
        kept = {name: getattr(function, name) for name in ("gradient", "computed", "drawable", "mixes_rows")}
        mistaken = declared(function.twin, text, **kept)
        monkeypatch.setitem(nn.FUNCTIONS, function.name, mistaken)
        examine(mistaken)

    with pytest.raises((AssertionError, IndexError, TypeError, ValueError)):
        examine_mistaken()


MALFORMED = {
    "x: float[0] n -> y: n": r"limits of floats are 'float\[low high\]', got 'float\[0\]'",
    "x: float[a b] n -> y: n": r"limits of floats are 'float\[low high\]', got 'float\[a b\]'",
    "x: float[1 0] n -> y: n": r"limits of floats are 'float\[low high\]', got 'float\[1 0\]'",
    "x: stored[3] n -> y: n": "only 'int' and 'float' have limits",
    "x: ? n -> y: n": r"'\?', which is for results only",
    "x: n -> y: n, y: n": "results must have different names",
    "x: Float n -> y: n": "the form of an array is",
    "x: n -> y: 3": "the form of an array is",
    "x: key n -> y: n": "the form of an array is",
    "x: ... n ... -> y: n": r"an array has '\.\.\.' only once",
    "x: n -> y: n ...": r"`y` of '<lambda>' has '\.\.\.', which no argument has",
    "x: key -> y: x": "`y` of '<lambda>' has 'x', which no argument has",
}


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_declaration_says_what_is_wrong(text):
    with pytest.raises(ValueError, match=MALFORMED[text]):
        declared(lambda xp, x: x, text)


@pytest.mark.parametrize("shape", [(5, 7), (5, 2, 7), (5, 2, 3, 7)])
def test_further_axes_may_stand_in_the_middle(shape):
    form = declared(lambda xp, x: x, "x: batch ... channels -> y: batch ... channels").arrays["x"]
    found = dict(form.lengths(shape))
    assert found == {"batch": 5, "...": shape[1:-1], "channels": 7}
    assert form.shape(found) == shape
    assert form.lengths((5,)) is None


def test_further_axes_are_drawn_in_different_numbers():
    function = nn.FUNCTIONS["gather_batch"]
    shapes = [drawn(function, seed=seed)["images"].shape for seed in range(20)]
    assert {len(shape) for shape in shapes} == {1, 2, 3}


def test_name_that_is_taken_cannot_be_declared_again():
    def relu(xp, z):
        return z

    before = nn.FUNCTIONS["relu"]
    with pytest.raises(ValueError, match=r"'relu' is already declared in xpnet\.nn\.activations"):
        nn.function("z: * -> y: *")(relu)
    assert nn.FUNCTIONS["relu"] is before


def test_function_of_a_users_own_is_in_namespaces_that_are_made_later(monkeypatch):
    def double(xp, z):
        return 2 * z

    early = xpnet.Namespace("early", np)
    monkeypatch.setitem(nn.FUNCTIONS, "double", declared(double, "z: * -> y: *"))
    late = checked(xpnet.Namespace("late", np))
    np.testing.assert_array_equal(late.nn.double(np.ones(2)), [2, 2])
    with pytest.raises(AttributeError, match="has no function 'double'; it was declared after"):
        early.nn.double(np.ones(2))
    with pytest.raises(AttributeError, match=r"of 'late' has no function 'treble'$"):
        xpnet.Namespace("late", np).nn.treble(np.ones(2))
