"""Persistent kernels beside the loop of the twins, on this processor: see `cuda_grid_host.h`."""

import persistent_on_host
import pytest
from checking import assert_close
from nvrtc_reports import registers_and_spills, report, warnings
from persistent_networks import course, drawn, large, own, shaped
from persistent_on_host import BACKWARDS, FORWARDS, LOCKSTEP, RANDOM
from steps import FACTOR, PLAIN

from xpnet import nn
from xpnet.replay.tree import is_array, leaves

DRAWN = 24

# By dtype, times `checking.TOLERANCE`: sums of a hundred steps in another order.
FACTORS = {"float32": FACTOR, "float64": 10 * FACTOR}

ORDERS = FORWARDS, BACKWARDS, LOCKSTEP, RANDOM


def compiled(package, folders, steps, **size):
    """Return steps and their kernels."""
    traces = [each.trace() for each in steps]
    made = persistent_on_host.compiled(package, traces, folders.mktemp("persistent"), **size)
    return [*zip(steps, made, strict=True)]


@pytest.fixture(scope="module")
def kernels(package, tmp_path_factory):
    """Return steps and kernels of 3 blocks, fewer than most batches have rows."""
    steps = [drawn(seed, steps=100 if seed < 8 else 9) for seed in range(DRAWN)]
    return compiled(package, tmp_path_factory, steps, blocks=3, threads=64)


@pytest.fixture(scope="module")
def large_kernels(package, tmp_path_factory):
    return compiled(package, tmp_path_factory, large(), blocks=3, threads=64)


@pytest.fixture(scope="module")
def other_kernels(package, tmp_path_factory):
    """Return steps and kernels of more blocks than rows, and of warps that are no power of two."""
    steps = [
        *(drawn(seed, steps=9) for seed in (2, 5, 7, 10)),
        *own("float64", "int64"),
        *own("float32", "int32"),
        shaped(),
    ]
    return compiled(package, tmp_path_factory, steps, blocks=7, threads=160)


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


def test_networks_have_every_activation_loss_and_rule():
    called = {call.name for seed in range(DRAWN) for call in drawn(seed, steps=1).trace().calls}
    kinds = "is_activation", "is_loss", "is_step"
    wanted = {name for name, f in nn.FUNCTIONS.items() if any(getattr(f, kind) for kind in kinds)}
    assert wanted - called == set()


@pytest.mark.parametrize("seed", range(DRAWN))
def test_kernel_takes_the_steps_of_the_twins(kernels, seed):
    steps, kernel = kernels[seed]
    assert_takes_the_steps(kernel, steps)


def test_kernel_of_other_sizes_takes_the_steps_of_the_twins(large_kernels, other_kernels):
    for steps, kernel in (*large_kernels, *other_kernels):
        assert_takes_the_steps(kernel, steps)


def test_kernel_on_the_blocks_and_threads_of_a_device_takes_the_steps_of_the_twins(package, tmp_path_factory):
    ((steps, kernel),) = compiled(package, tmp_path_factory, [course()], blocks=132, threads=512)
    assert_takes_the_steps(kernel, steps)


def test_bits_are_the_same_in_any_order_of_blocks_and_threads(kernels, large_kernels, other_kernels):
    for steps, kernel in (*kernels[8:], *large_kernels, *other_kernels):
        carry = kernel.scan(steps)
        assert all(are_same(kernel.scan(steps, order=order, seed=5), carry) for order in ORDERS)


def test_bits_are_the_same_in_chunks(kernels, other_kernels):
    for steps, kernel in (*kernels[8::2], *other_kernels[:-1]):
        carry = kernel.scan(steps)
        assert all(are_same(kernel.scan(steps, lengths=lengths), carry) for lengths in ([5, 4], [1, 7, 1]))


@pytest.mark.parametrize("barrier", [0, 1])
def test_results_differ_without_a_barrier_of_the_grid(kernels, large_kernels, barrier):
    for steps, kernel in (*kernels[9::2], *large_kernels):
        assert kernel.plan.barriers == 2
        assert not are_same(kernel.scan(steps, barrier=barrier), kernel.scan(steps))


def test_results_differ_without_each_barrier_of_a_block(package, large_kernels):
    """Those in the CUDA files are needed in one of the networks, those between layers in each."""
    functions, needed = package.code.FUNCTIONS, {}
    length, of_devices = functions.count("\n"), functions[: functions.index("#endif")].count("\n")
    for number, (steps, kernel) in enumerate(large_kernels):
        carry = kernel.scan(steps)
        begin = kernel.source[: kernel.source.index(functions)].count("\n")
        for line, text in enumerate(kernel.source.splitlines(), 1):
            if line > begin + of_devices and text.endswith(("__syncthreads();", "await_copies();")):
                place = line - begin if line <= begin + length else (number, line)
                differs = not all(are_same(kernel.scan(steps, order=o, line=line), carry) for o in ORDERS)
                needed[place] = needed.get(place, False) or differs
    assert len(needed) > 10
    assert [place for place, is_needed in needed.items() if not is_needed] == []


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvrtc_compiles_kernels_without_a_warning_or_spilled_registers(package, architecture):
    threads = 512
    for steps in (drawn(10, steps=1), course(), large()[0], own("float64", "int64")[0]):
        source = package.code.source_of(package.plan.plan_of(steps.trace()), blocks=132, threads=threads)
        log = report(source, architecture, package.launch.OPTIONS)
        assert warnings(log) == []
        registers, spilled = registers_and_spills(log)
        assert registers <= 65536 // threads
        assert spilled == 0
