"""The backend `cupy` in groups, on this processor: ranks capture alike, and train as one process does."""

import json

import cuda_on_host
import cupy_on_host
import numpy
import pytest
from ranks import run_ranks

import xpnet

WAYS = ["nccl", "mpi", "host", "broken"]
# Of these kernels, those of float64; all take longer to compile than the test.
USED = """
accumulate activate activate_backward add_bias add_parts advance batch_mean batch_norm
batch_norm_shared_backward batch_norm_slopes batch_sums batch_variances column_parts count dropout fetch
fetch_labels gather_batch gather_labels linear linear_backward linear_of_stored linear_step
linear_step_of_stored moving_average pack scaled softmax_cross_entropy step step_by_gradient
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return what each of two ranks found, with its parameters."""
    folder = tmp_path_factory.mktemp("ranks")
    package = cuda_on_host.load()
    symbols = [
        s for s in cuda_on_host.symbols(package.source) if s.split("<")[0] in USED and "float" not in s
    ]
    library = cuda_on_host.compiled(package, folder, only=symbols)
    done = run_ranks(2, cupy_on_host.__file__, library._name, folder)
    assert done.returncode == 0, done.stderr
    return [
        json.loads((folder / f"{rank}.json").read_text())
        | {f"{way} params": dict(numpy.load(folder / f"{way}-{rank}.npz")) for way in WAYS}
        for rank in range(2)
    ]


def test_all_ranks_capture_the_same_sums(found):
    calls = [rank["nccl"]["calls"] for rank in found]
    # One to try NCCL; for each size of a batch, one as it is and one that is captured, which graphs repeat.
    assert calls == [[False] + ([False] * 4 + [True] * 4) * 2] * 2
    assert [rank["nccl"]["report"] for rank in found] == ["", ""]


@pytest.mark.parametrize("way", WAYS)
def test_ranks_train_as_one_process_does(way, found):
    options = cupy_on_host.OPTIONS
    run = xpnet.fit(xpnet.backend("numpy"), cupy_on_host.MODEL, cupy_on_host.data(), **options)
    for rank in found:
        for name, p in run.params.items():
            numpy.testing.assert_allclose(rank[f"{way} params"][name], p, rtol=1e-10, atol=1e-12)
            assert rank[f"{way} params"][name].tobytes() == found[0][f"{way} params"][name].tobytes()
        numpy.testing.assert_allclose(rank[way]["losses"], [epoch.train_loss for epoch in run.history])


def test_if_one_rank_cannot_capture_none_does(found):
    for rank in found:
        assert rank["broken"]["report"] == (
            "rank 1 of 2 cannot replay the step, so none does: "
            "RuntimeError: cudaErrorStreamCaptureUnsupported: no"
        )
        assert not any(rank["broken"]["calls"])


@pytest.mark.parametrize("way", ["mpi", "host"])
def test_a_way_that_is_not_captured_is_reported(way, found):
    for rank in found:
        assert rank[way]["report"].startswith(f"gradients are summed {'by a GPU' if way == 'mpi' else 'on'}")
        assert "rank 0 of 2 has no NCCL; install it" in rank[way]["report"]


@pytest.mark.parametrize(("way", "known"), [("nccl", False), ("mpi", True), ("host", True)])
def test_time_in_sums_is_known_unless_nccl_makes_them(way, known, found):
    assert all(
        [(seconds is not None) == known for seconds in rank[way]["waited"]] == [True] * 4 for rank in found
    )


def test_two_ranks_on_one_gpu_are_refused_by_all(found):
    assert all(rank["one GPU"].startswith("ranks 0 and 1 of 2 have the same GPU, ") for rank in found)


def test_an_mpi_library_for_processors_does_not_read_the_memory_of_gpus(found):
    assert [rank["mpi_reads_gpus"] for rank in found] == [False, False]
