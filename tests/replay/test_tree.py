"""Leaves of trees, in order, and trees rebuilt of other leaves."""

import numpy
import pytest

from xpnet.replay.tree import leaves, rebuilt


def test_leaves_come_in_order_with_the_keys_of_dicts():
    x, y = numpy.ones(2), numpy.ones(3)
    number, text = 2.5, "text"
    found = leaves({"b": (x, [y, number]), "a": text})
    assert ("b", "a") in [leaf for leaf in found if type(leaf) is tuple]
    places = [next(i for i, leaf in enumerate(found) if leaf is one) for one in (x, y, number, text)]
    assert places == sorted(places)
    assert leaves(x)[0] is x


def test_leaves_tell_dicts_apart_by_their_keys_and_their_order():
    assert leaves({"a": 1, "b": 2}) != leaves({"b": 1, "a": 2})
    assert leaves({"a": 1}) != leaves({"c": 1})


@pytest.mark.parametrize("other", [([1, 2], [3]), (1, 2, 3), ([[1], 2, 3],), ([1], [2], [3])])
def test_leaves_tell_trees_of_other_forms_apart(other):
    assert leaves(([1], [2, 3])) != leaves(other)


def test_rebuilt_tree_has_the_form_and_the_other_leaves():
    tree = {"b": (1.0, [2.0, 3.0]), "a": {"c": 4.0}, "d": ()}
    found = leaves(tree)
    assert rebuilt(tree, iter(found)) == tree
    changed = [10 * x if isinstance(x, float) else x for x in found]
    result = rebuilt(tree, iter(changed))
    assert result == {"b": (10.0, [20.0, 30.0]), "a": {"c": 40.0}, "d": ()}
    assert list(result) == ["b", "a", "d"]
    assert type(result["b"]) is tuple
