"""Persistent kernels beside the loop of the twins, on this processor: see `cuda_grid_host.h`."""

import persistent_on_host
import pytest
from checking import assert_close
from persistent_networks import drawn
from persistent_on_host import BACKWARDS, FORWARDS, LOCKSTEP, RANDOM
from steps import FACTOR, PLAIN

from xpnet.replay.tree import is_array, leaves

DRAWN = 36

# By dtype, times `checking.TOLERANCE`: sums of a hundred steps in another order.
FACTORS = {"float32": FACTOR, "float64": 10 * FACTOR}


@pytest.fixture(scope="module")
def kernels(package, tmp_path_factory):
    """Return steps of each network and its kernel: 3 blocks, fewer than most batches have rows."""
    steps = [drawn(seed, steps=100 if seed < 8 else 9) for seed in range(DRAWN)]
    return compiled(package, tmp_path_factory, steps, blocks=3, threads=64)


@pytest.fixture(scope="module")
def wide_kernels(package, tmp_path_factory):
    """Return the same of some networks, with more blocks than rows and with more warps."""
    steps = [drawn(seed, steps=9) for seed in (2, 5, 7, 10)]
    return compiled(package, tmp_path_factory, steps, blocks=7, threads=160)


def compiled(package, folders, steps, **size):
    traces = [each.trace() for each in steps]
    made = persistent_on_host.compiled(package, traces, folders.mktemp("persistent"), **size)
    return [*zip(steps, made, strict=True)]


def arrays(carry):
    return [x for x in leaves(carry) if is_array(x)]


def are_same(carry, other):
    return all((one == two).all() for one, two in zip(arrays(carry), arrays(other), strict=True))


def assert_takes_the_steps(kernel, steps):
    carry, expected, dtype = leaves(kernel.scan(steps)), leaves(steps.expected()), kernel.plan.dtype.name
    assert len(carry) == len(expected)
    for one, other in zip(carry, expected, strict=True):
        if is_array(other):
            assert one.dtype == other.dtype
            assert_close(PLAIN, one, other, dtype=dtype, factor=FACTORS[dtype])
        else:
            assert one == other


@pytest.mark.parametrize("seed", range(DRAWN))
def test_kernel_takes_the_steps_of_the_twins(kernels, seed):
    steps, kernel = kernels[seed]
    assert_takes_the_steps(kernel, steps)


def test_kernel_of_other_sizes_takes_the_steps_of_the_twins(wide_kernels):
    for steps, kernel in wide_kernels:
        assert_takes_the_steps(kernel, steps)


@pytest.mark.parametrize("seed", range(8, DRAWN))
def test_bits_are_the_same_in_any_order_of_blocks_and_threads(kernels, seed):
    steps, kernel = kernels[seed]
    carry = kernel.scan(steps)
    for order in (FORWARDS, BACKWARDS, LOCKSTEP, RANDOM):
        assert are_same(kernel.scan(steps, order=order, seed=seed), carry)


@pytest.mark.parametrize("seed", range(8, DRAWN))
def test_bits_are_the_same_in_chunks(kernels, seed):
    steps, kernel = kernels[seed]
    carry = kernel.scan(steps)
    for lengths in ([5, 4], [1, 7, 1]):
        assert are_same(kernel.scan(steps, lengths=lengths), carry)


@pytest.mark.parametrize("barrier", [0, 1])
def test_results_differ_without_a_barrier_of_the_grid(kernels, barrier):
    for steps, kernel in kernels[8:]:
        assert kernel.plan.barriers == 2
        if steps.rows.shape[1] > 1:
            assert not are_same(kernel.scan(steps, barrier=barrier), kernel.scan(steps)), (
                steps.step.__self__._trunk
            )
