"""The sum over a group of processes as a function of a namespace."""

import copy
import pickle

import numpy as np
import pytest
from groups import Pretended

import xpnet
from xpnet import BackendUnavailableError
from xpnet.checked import checked
from xpnet.distributed import ALONE

ARRAYS = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.T,
    "every second": lambda x: x[:, ::2],
    "backwards": lambda x: x[::-1],
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype),
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "not aligned": lambda x: np.frombuffer(bytearray(b" " + x.tobytes()), x.dtype, offset=1),
    "without axes": lambda x: x[1, 2],
    "an array without axes": lambda x: np.array(x[1, 2]),
    "empty": lambda x: x[:0],
}


@pytest.mark.parametrize("name", ["numpy", "numba"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", ARRAYS.values(), ids=ARRAYS)
def test_array_of_any_form_is_summed(name, form, dtype):
    group = Pretended(3)
    x = form(np.arange(12, dtype=dtype).reshape(3, 4))
    before, is_own = np.array(x), isinstance(x, np.ndarray) and x.flags.writeable
    found = xpnet.backend(name).with_group(group).nn.all_reduce(x)
    np.testing.assert_array_equal(found, 3 * before)
    assert (found.shape, found.dtype.newbyteorder("=")) == (before.shape, dtype)
    assert group.sums == [before.shape]
    if is_own:
        assert found is x
    else:
        np.testing.assert_array_equal(x, before)


def test_array_of_any_library_is_summed(xp):
    for shape in ((2, 3), ()):
        x = xp.ones(shape, dtype=xp.float32)
        if xp.device_kind == "gpu":
            pytest.skip("sums on GPUs are made by NCCL")
        found = xp.with_group(Pretended(4)).nn.all_reduce(x)
        xp.check_array("x", found)
        assert found.device == x.device
        np.testing.assert_array_equal(xp.to_host(found), np.full(shape, 4.0))
        assert float(xp.to_host(xp.nn.all_reduce(xp.ones((), dtype=xp.float32)))) == 1


def test_process_alone_has_its_own_sum(xp):
    if xp.device_kind == "gpu":
        pytest.skip("sums on GPUs are made by NCCL")
    x = xp.ones((2,), dtype=xp.float32)
    np.testing.assert_array_equal(xp.to_host(xp.with_group(ALONE).nn.all_reduce(x)), [1, 1])


@pytest.fixture
def mine():
    """Return a backend with another device and with TF32, as on a GPU."""
    device = xpnet.Device(at=lambda xp, text: xpnet.Namespace(f"on {text}", np))
    return xpnet.Namespace("mine", np, device=device, tf32=lambda: xpnet.Namespace("tf32", np))


def summed(xp):
    return float(xp.nn.all_reduce(np.ones(1))[0])


def test_group_stays_with_what_a_namespace_returns(mine):
    own = mine.with_group(Pretended())
    assert [summed(each) for each in (own, own.on("1"), own.with_tf32())] == [2, 2, 2]
    assert summed(own.on("1").with_group(ALONE)) == 1
    assert [summed(each) for each in (mine, mine.on("1"), mine.with_tf32())] == [1, 1, 1]
    assert (own.on("1").name, own.with_tf32().name) == ("on 1", "tf32")
    assert own.with_functions(own.nn).nn is own.nn


def test_group_does_not_add_products_in_tf32(numpy_xp):
    with pytest.raises(BackendUnavailableError, match="has no products in TF32"):
        numpy_xp.with_group(Pretended()).with_tf32()


def test_checked_namespace_keeps_its_group_and_its_checks(mine):
    checked(mine)
    for own in (checked(mine.with_group(Pretended())), checked(mine).with_group(Pretended())):
        for each in (own, own.on("1"), own.with_tf32()):
            assert each.checked
            assert summed(each) == 2
            with pytest.raises(TypeError, match=r"^nn\.all_reduce: `x` "):
                each.nn.all_reduce([1.0])
            with pytest.raises(TypeError, match=r"^nn\.relu: `z` "):
                each.nn.relu([1.0])
    assert summed(checked(mine)) == 1


def test_group_is_part_of_what_a_namespace_prints(mine):
    own = mine.with_group(Pretended(3))
    assert repr(own) == "<xpnet.Namespace 'mine' on cpu, rank 0 of 3>"
    assert repr(checked(own)) == "<xpnet.Namespace 'mine' on cpu, rank 0 of 3, checked>"
    assert repr(mine) == "<xpnet.Namespace 'mine' on cpu>"


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_namespace_with_a_group_is_copied_as_it_is_and_never_pickled(name):
    own = xpnet.backend(name).with_group(Pretended())
    assert copy.copy(own) is copy.deepcopy(own) is own
    assert copy.deepcopy(own.nn) is own.nn
    for each in (own, own.nn, checked(own)):
        with pytest.raises(
            TypeError, match=r"^cannot pickle <xpnet.Namespace .* rank 0 of 2.* in its group;"
        ):
            pickle.dumps(each)
    assert pickle.loads(pickle.dumps(xpnet.backend(name))) is xpnet.backend(name)
