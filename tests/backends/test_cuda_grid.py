"""The grid of stacks on which persistent kernels run without a GPU, with small kernels."""

import ctypes

import numpy
import persistent_on_host
import pytest
from persistent_on_host import (
    BACKWARDS,
    COUNTED,
    FORWARDS,
    LOCKSTEP,
    NO_BARRIER,
    NOWHERE,
    RANDOM,
    Memory,
    Order,
    launch,
    pointer,
)

KERNELS = """
template <bool is_stale>
__global__ void turn(float* x, float* y, unsigned* barrier, unsigned base, int steps)
{
    float* shared = reinterpret_cast<float*>(shared_memory());
    unsigned n = gridDim.x * blockDim.x, i = blockIdx.x * blockDim.x + threadIdx.x;
    for (int step = 0; step < steps; ++step) {
        float mine = x[i];
        for (int other = 16; other > 0; other /= 2) mine += __shfl_xor_sync(~0u, mine, other);
        shared[threadIdx.x] = mine + (__ballot_sync(~0u, x[i] > 0) & 0xff);
        __syncthreads();  // 1
        y[i] = shared[(threadIdx.x + 33) % blockDim.x] / 64;
        for (int half = 0; half < 2; ++half) {
            grid_arrive(barrier);
            grid_wait(barrier, base += gridDim.x);
            if (half == 0) x[i] = (is_stale ? y[n - 1 - i] : __ldcg(y + n - 1 - i)) - x[i] / 2;
        }
    }
}

__global__ void part(int* x)
{
    if (threadIdx.x < 40) __syncthreads();
    x[threadIdx.x] = 1;
}

__global__ void disagree(int* x)
{
    if (threadIdx.x < 40) __syncthreads();
    else __syncthreads();
    x[threadIdx.x] = 1;
}

__global__ void overrun(int*) { shared_memory()[7 + threadIdx.x] = 1; }
"""
NAMES = {
    "turn": "turn<false>",
    "stale": "turn<true>",
    "part": "part",
    "disagree": "disagree",
    "overrun": "overrun",
}


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    code = KERNELS + "".join(persistent_on_host.entry(*names) for names in NAMES.items())
    return persistent_on_host.library(code, tmp_path_factory.mktemp("grid"))


def run(grid, kernel, order=FORWARDS, *, seed=0, line=NOWHERE, barrier=NO_BARRIER):
    """Return what a kernel makes of some numbers in 20 steps."""
    x = numpy.linspace(-1, 1, 192, dtype="float32")
    memory = Memory([x, numpy.zeros(192, "float32"), numpy.array([COUNTED], numpy.uint32)])
    cells = *map(pointer, memory.arrays), ctypes.c_uint(COUNTED), ctypes.c_int(20)
    assert launch(grid[kernel], cells, memory.grid(3, 64, 256), Order(order, seed, line, barrier, 2)) is None
    memory.check()
    assert memory.arrays[2] == (COUNTED + 2 * 3 * 20) % 2**32
    return memory.arrays[0]


def fault(grid, kernel, shared=0):
    memory = Memory([numpy.zeros(64, "int32")])
    order = Order(FORWARDS, 0, NOWHERE, NO_BARRIER, 1)
    return launch(grid[kernel], [pointer(memory.arrays[0])], memory.grid(3, 64, shared), order)


def expected():
    """Return the same by NumPy; sums of a warp have the order of the kernel."""
    x = numpy.linspace(-1, 1, 192, dtype="float32")
    for _ in range(20):
        sums, signs = x.reshape(-1, 32), x.reshape(-1, 32) > 0
        for other in (16, 8, 4, 2, 1):
            sums = sums + sums[:, numpy.arange(32) ^ other]
        bits = (signs[:, :8] << numpy.arange(8)).sum(axis=1, keepdims=True).astype("float32")
        y = numpy.roll((sums + bits).reshape(3, 64), -33, axis=1).reshape(-1) / numpy.float32(64)
        x = y[::-1] - x / 2
    return x


@pytest.mark.parametrize("order", [FORWARDS, BACKWARDS, LOCKSTEP, RANDOM])
def test_grid_of_stacks_does_what_a_device_does(grid, order):
    for seed in range(3):
        numpy.testing.assert_array_equal(run(grid, "turn", order, seed=seed), expected())


@pytest.mark.parametrize("order", [FORWARDS, BACKWARDS, RANDOM])
def test_results_differ_without_a_barrier(grid, order):
    for barrier in range(2):
        assert (run(grid, "turn", order, barrier=barrier) != expected()).any()
    (line,) = [i for i, text in enumerate(KERNELS.splitlines(), 2) if text.endswith("// 1")]
    assert (run(grid, "turn", order, line=line) != expected()).any()


def test_results_differ_if_a_block_reads_what_others_wrote_from_its_own_cache(grid):
    assert (run(grid, "stale") != expected()).any()


def test_threads_that_wait_for_others_for_ever_are_a_fault(grid):
    assert fault(grid, "part") == "threads wait for others for ever"
    assert fault(grid, "disagree") == "threads wait for each other in different lines"


def test_write_behind_the_shared_memory_is_a_fault(grid):
    assert fault(grid, "overrun", 70) == "a block wrote behind its shared memory"
    assert fault(grid, "overrun", 71) is None
