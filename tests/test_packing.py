"""Nested states become JSON and tensors, and come back as they were."""

import json
import math

import numpy as np
import pytest

import xpnet
from xpnet.files import from_json, json_text
from xpnet.packing import pack, unpack


def there_and_back(xp, value):
    packed, tensors = pack(xp, value, "state")
    return unpack(from_json(json_text(packed)), tensors, xp.asarray)


def test_numbers_text_and_containers_come_back_with_their_types(xp):
    value = {"a": [1, 2.5, True, None, "x"], 3: (-(2**63), (), {}), "dict": {"array": "tuple"}, "e": 1e-300}
    assert there_and_back(xp, value) == value
    assert type(there_and_back(xp, value)[3]) is tuple


def test_numbers_that_are_not_finite_come_back(xp):
    found = there_and_back(xp, [math.inf, -math.inf, math.nan])
    assert found[:2] == [math.inf, -math.inf]
    assert math.isnan(found[2])


def test_arrays_come_back_on_the_backend(xp):
    value = {"v": {"0.weight": xp.ones((2, 3), dtype=xp.float32)}, "n": xp.asarray(3, dtype=xp.int32)}
    found = there_and_back(xp, value)
    for new, old in ((found["v"]["0.weight"], value["v"]["0.weight"]), (found["n"], value["n"])):
        xp.check_array("x", new)
        assert new.dtype == old.dtype
        assert new.shape == old.shape
        assert xp.to_host(new).tolist() == xp.to_host(old).tolist()


def test_arrays_of_numpy_stay_so(xp):
    found = there_and_back(xp, np.arange(3.0))
    assert isinstance(found, np.ndarray) or xp.name in ("numpy", "numba")
    assert np.asarray(xp.to_host(found) if not isinstance(found, np.ndarray) else found).tolist() == [0, 1, 2]


def test_what_was_packed_does_not_change_with_the_arrays():
    xp, x = xpnet.backend("numpy"), np.zeros(2)
    _, tensors = pack(xp, {"x": x}, "state")
    x[:] = 1
    assert tensors["state/x"].tolist() == [0, 0]


def test_arrays_of_one_path_have_different_names():
    value = {"a/b": np.zeros(1), "a": {"b": np.ones(1)}}
    assert {k: str(v) for k, v in there_and_back(xpnet.backend("numpy"), value).items()} == {
        "a/b": "[0.]",
        "a": "{'b': array([1.])}",
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"x": object()}, "`state/x` holds a object, which a checkpoint cannot store; use dicts"),
        ({1.5: 1}, "`state` has keys that are neither text nor whole numbers"),
        ([2**64], "`state/0` has more than 64 bits"),
        (np.zeros(2, complex), "`state` has dtype complex128, which a checkpoint cannot store"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_name(value, message):
    with pytest.raises((TypeError, ValueError), match=message):
        pack(xpnet.backend("numpy"), value, "state")


def test_array_of_another_shape_is_refused():
    packed, _ = pack(xpnet.backend("numpy"), np.zeros(2), "state")
    assert json.loads(json_text(packed))["shape"] == [2]
    with pytest.raises(ValueError, match=r"'state' is float64 of shape \(3,\)"):
        unpack(packed, {"state": np.zeros(3)}, np.asarray)
