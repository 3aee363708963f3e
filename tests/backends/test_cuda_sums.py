"""Sums of the backend `cupy` over a group of processes, without a GPU: which way they take, and graphs."""

import types

import cuda_on_host
import numpy
import pytest

import xpnet
from xpnet.distributed import ALONE, DistributedError


@pytest.fixture(scope="module")
def ways(package):
    return package.ways


def rank(ways, number=0, **changes):
    found = {"host": "a", "process": number, "gpu": f"0000:0{number}:00.0", "nccl": 22707}
    remedy = "install it for all ranks with `pip install 'xpnet[nccl13]'`"
    return ways.Rank(**found | {"remedy": remedy, "mpi_reads_gpus": False} | changes)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_ranks_that_all_have_nccl_use_it(size, ways):
    assert ways.choose([rank(ways, i) for i in range(size)]) == ("nccl", "")


@pytest.mark.parametrize(
    ("reads", "name", "by"),
    [
        (True, "mpi", "by a GPU-aware MPI library"),
        (False, "host", "on the host, since the MPI library does not read the memory of GPUs"),
    ],
)
def test_ranks_without_nccl_say_what_they_use_and_what_to_install(reads, name, by, ways):
    ranks = [rank(ways, i, nccl=22707 * (i != 2), mpi_reads_gpus=reads) for i in range(3)]
    assert ways.choose(ranks) == (
        name,
        f"gradients are summed {by}, which a CUDA graph cannot hold: rank 2 of 3 has no NCCL; install it for "
        "all ranks with `pip install 'xpnet[nccl13]'`",
    )


def test_one_rank_whose_mpi_does_not_read_gpus_decides_for_all(ways):
    ranks = [rank(ways, i, nccl=0, mpi_reads_gpus=i == 0) for i in range(2)]
    assert ways.choose(ranks).name == "host"


def test_other_versions_of_nccl_are_not_mixed(ways):
    way = ways.choose([rank(ways), rank(ways, 1, nccl=22902)])
    assert way.name == "host"
    assert way.reason.endswith(
        "rank 1 has NCCL 2.29.2 and rank 0 has 2.27.7; install the same version for all ranks"
    )


def test_a_fault_of_nccl_is_the_reason(ways):
    way = ways.choose([rank(ways), rank(ways, 1)], "NCCL fails on rank 1: it is tired")
    assert way.name == "host"
    assert way.reason.endswith(": NCCL fails on rank 1: it is tired")


@pytest.mark.parametrize("nccl", [22707, 0])
def test_two_ranks_on_one_gpu_are_refused(nccl, ways):
    ranks = [rank(ways, i % 2, process=i, nccl=nccl) for i in range(3)]
    with pytest.raises(DistributedError) as caught:
        ways.choose(ranks)
    assert str(caught.value) == (
        "ranks 0 and 2 of 3 have the same GPU, 0000:00:00.0 of 'a'; start at most one rank for each GPU, and "
        "ask for 'cupy' without a number, so that each rank takes its own"
    )


def test_gpus_of_two_machines_may_have_one_number(ways):
    assert ways.choose([rank(ways), rank(ways, host="b")]).name == "nccl"


class Pair:
    """A group of two processes, of which the other one does the same as this."""

    rank, size, is_split, holds_shares, waited = 0, 2, True, False, 0.0

    def __init__(self, *, gpu):
        self._gpu, self.is_quiet, self.sums = gpu, False, 0

    def sum(self, x):
        x += x
        self.sums += 1

    def gather(self, value):
        if isinstance(value, tuple):  # what a rank has
            host, process, _, *others = value
            return [value, (host, process, self._gpu, *others)]
        return [value, value]

    def broadcast(self, value):
        return value

    together = guarded = ALONE.together


@pytest.fixture
def make(package, kernels_on_host, monkeypatch):
    """Return a function that returns the namespace of a group, and NCCL's stand-in."""

    def make(group, **options):
        nccl = cuda_on_host.NCCL(group=group, **options)
        monkeypatch.setattr(package.sums, "_communicators", {})
        monkeypatch.setattr(package.sums, "_nccl", lambda: nccl)
        return cuda_on_host.namespace(package).with_group(group), nccl

    return make


OTHER = {"gpu": "0000:ff:00.0"}


@pytest.fixture(params=["nccl", "mpi", "host"])
def by(request, package, monkeypatch):
    """Return each way, with what makes ranks take it."""
    monkeypatch.setattr(package.sums, "_mpi_reads_gpus", lambda: request.param == "mpi")
    return request.param, {"available": request.param == "nccl"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_sum_over_a_group_is_made_in_place(by, order, dtype, make):
    way, options = by
    xp, nccl = make(Pair(**OTHER), **options)
    x = xp.asarray(numpy.arange(6.0).reshape(2, 3), dtype=dtype, order=order)
    calls = len(nccl.calls)
    assert xp.nn.all_reduce(x) is x
    assert x.tolist() == [[0, 2, 4], [6, 8, 10]]
    assert len(nccl.calls) - calls == (way == "nccl")


def test_a_group_that_is_quiet_leaves_sums_out(by, make):
    _, options = by
    group = Pair(**OTHER)
    xp, _ = make(group, **options)
    before, group.is_quiet = group.sums, True
    x = xp.asarray([1.0])
    assert xp.nn.all_reduce(x) is x
    assert x.tolist() == [1]
    assert group.sums == before


def test_without_a_group_there_is_no_sum_and_no_nccl(make):
    xp, nccl = make(ALONE)
    x = xp.asarray([1.0])
    assert xp.nn.all_reduce(x) is x
    assert nccl.calls == []


def test_a_communicator_serves_all_groups_of_the_same_ranks(package, make):
    _, nccl = make(Pair(**OTHER))
    assert len(nccl.calls) == 1  # It is tried at once, so that an error is found before training.
    cuda_on_host.namespace(package).with_group(Pair(**OTHER))
    assert len(nccl.calls) == 1
    cuda_on_host.namespace(package).with_group(Pair(gpu="0000:fe:00.0"))
    assert len(nccl.calls) == 2


def test_an_error_of_nccl_is_reported_and_sums_are_made_otherwise(make):
    xp, _ = make(Pair(**OTHER), fault=RuntimeError("NCCL_ERROR_INVALID_USAGE: no"))
    compiled = xp.compile(lambda xp, x: xp.nn.all_reduce(x))
    x = xp.asarray([1.0])
    for _ in range(3):
        x = compiled(xp, x)
    assert x.tolist() == [8]
    assert compiled.report == (
        "gradients are summed on the host, since the MPI library does not read the memory of GPUs, which a "
        "CUDA graph cannot hold: NCCL fails on rank 0: RuntimeError: NCCL_ERROR_INVALID_USAGE: no; "
        "NCCL_DEBUG=WARN makes it say why"
    )


def test_a_communicator_is_aborted_if_another_rank_has_none(make):
    def gather(self, value):
        return [value, "RuntimeError: no"] if value == "" else Pair.gather(self, value)

    group = type("Half", (Pair,), {"gather": gather})(**OTHER)
    _, nccl = make(group)
    assert nccl.aborted == 1


def step(xp, param, flat, x):
    flat = xp.nn.all_reduce(xp.nn.pack(flat, x, before=0, after=0))
    return xp.nn.sgd_step(param, xp.nn.unpack(flat, x, before=0, after=0), 0.5), flat


def arguments(xp):
    return [xp.asarray(numpy.full(shape, value)) for shape, value in (((2, 3), 9.0), ((6,), 7.0))]


def test_a_step_with_a_sum_is_one_graph(make):
    xp, nccl = make(Pair(**OTHER))
    compiled, x = xp.compile(step), xp.asarray(numpy.ones((2, 3)))
    param, flat = arguments(xp)
    for _ in range(5):
        param, flat = compiled(xp, param, flat, x)
    assert compiled.report == ""
    assert param.tolist() == [[4, 4, 4]] * 2
    (program,) = compiled.programs
    assert [task.name for task in program.tasks] == ["pack", "all_reduce", "unpack", "sgd_step"]
    assert len(program._graph.launches) == 3  # A view launches nothing.
    assert nccl.calls[-1]


def test_a_factor_that_each_call_has_elsewhere_stays_in_one_graph(make):
    """As the share of a rank in each batch, which is a number of an array."""
    xp, _ = make(ALONE)
    compiled = xp.compile(lambda xp, x, factor: xp.nn.scaled(x, factor))
    x, factors = xp.asarray(numpy.ones((2, 3))), xp.asarray(numpy.arange(8.0))
    for factor in (0, 1, 2, 3, 4, 7, 1):
        assert compiled(xp, x, factors[factor, ...]).tolist() == [[factor] * 3] * 2
    assert compiled.report == ""
    assert [program.captures for program in compiled.programs] == [2]


@pytest.mark.parametrize("way", ["mpi", "host"])
def test_a_sum_that_no_graph_holds_leaves_the_step_as_written(way, package, make, monkeypatch):
    monkeypatch.setattr(package.sums, "_mpi_reads_gpus", lambda: way == "mpi")
    xp, _ = make(Pair(**OTHER), available=False)
    compiled, x = xp.compile(step), xp.asarray(numpy.ones((2, 3)))
    param, flat = arguments(xp)
    for _ in range(5):
        param, flat = compiled(xp, param, flat, x)
    assert param.tolist() == [[4, 4, 4]] * 2
    assert "which a CUDA graph cannot hold: rank 0 of 2 has no NCCL; install it" in compiled.report
    assert compiled.programs == []


def test_a_graph_of_a_rehearsal_is_not_launched_in_earnest(make):
    group = Pair(**OTHER)
    xp, nccl = make(group)
    compiled, x = xp.compile(step), xp.asarray(numpy.ones((2, 3)))
    param, flat = arguments(xp)
    group.is_quiet, before = True, len(nccl.calls)
    for _ in range(4):
        param, flat = compiled(xp, param, flat, x)
    assert param.tolist() == [[7, 7, 7]] * 2
    assert len(nccl.calls) == before
    group.is_quiet = False
    for expected in (6, 5, 4):
        param, flat = compiled(xp, param, flat, x)
        assert param.tolist() == [[expected] * 3] * 2
    assert nccl.calls[before:] == [False, True]  # as it is, then captured; the graph calls nothing


def test_ranks_capture_alike_whatever_the_addresses_are(make):
    """Whether a new array has the address of an old one is chance, and other ranks do not know of it."""
    xp, nccl = make(Pair(**OTHER))
    compiled, x = xp.compile(step), xp.asarray(numpy.ones((2, 3)))
    for _ in range(4):
        param, flat = compiled(xp, *arguments(xp), x)
    param, flat = compiled(xp, param, flat, x)
    before = len(nccl.calls)
    compiled(xp, param[:], flat, x)  # another object at the same address
    assert nccl.calls[before:] == [False]


@pytest.mark.parametrize(
    ("local", "found", "number"), [(None, 4, 0), (0, 4, 0), (1, 4, 1), (3, 1, 0), (5, 4, 1), (1, None, 0)]
)
def test_a_rank_takes_the_device_of_its_number_on_the_node(local, found, number, cupy, monkeypatch):
    from xpnet_cupy import devices

    def count():
        if found is None:
            raise xpnet.BackendUnavailableError("cupy", "needs a device", "add one")
        return found

    monkeypatch.setattr(devices, "launched_local_rank", lambda: local)
    monkeypatch.setattr(devices, "probing", types.SimpleNamespace(count_devices=count))
    assert devices._own_number() == number
