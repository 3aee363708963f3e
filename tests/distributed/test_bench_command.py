"""`xpnet bench --distributed` on one rank and on two."""

import copy
import json
import statistics
import subprocess
import sys

import jsonschema
import pytest
from ranks import run_ranks

from xpnet import plots
from xpnet_bench.distributed import chart, listing, results
from xpnet_bench.distributed.compute import Work
from xpnet_bench.distributed.exchange import link_of
from xpnet_bench.distributed.link import allreduce
from xpnet_bench.schema import document

BENCH = "-m", "xpnet", "bench", "--distributed", "--quick", "--rounds", 2, "--hidden", 32, "--batch-size", 64


def studied(ranks, folder, *options):
    """Return the completed process, and the results that it wrote."""
    done = run_ranks(ranks, *BENCH, "--json", folder / "r.json", "--plot", folder / "r.png", *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done, json.loads((folder / "r.json").read_text())


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return folder, *studied(2, folder, "--backend", "numpy", "--backend", "numba")


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    return folder, *studied(1, folder, "--backend", "numpy", "--link", "100 Gbit/s, 2 us")


def test_results_follow_the_schema(two, one):
    schema = document(results.SCHEMA)
    jsonschema.Draft202012Validator.check_schema(schema)
    for folder, _, found in (two, one):
        jsonschema.validate(found, schema)
        assert results.read(folder / "r.json") == found


def test_results_say_where_they_are_from(two):
    found = two[2]
    assert (found["machine"]["ranks"], found["machine"]["machines"]) == (2, 1)
    assert found["workload"]["title"] == "784-32-10"
    assert {"xpnet", "python", "mpi4py", "mpi"} == set(found["versions"])


def test_all_cases_are_timed_on_each_backend(two):
    backends = {backend["name"]: backend for backend in two[2]["backends"]}
    assert list(backends) == ["numpy", "numba"]
    for backend in backends.values():
        assert list(backend["steps"]) == ["alone", "beside", "weak", "beside share", "strong"]
        assert all(len(seconds) == 2 for seconds in backend["steps"].values())


def test_exchange_is_timed_beyond_the_gradient(two):
    exchange = two[2]["exchange"]
    assert exchange["bytes"][-1] > 4 * two[2]["workload"]["parameters"]
    assert len(exchange["seconds"]) == len(exchange["sum_seconds"]) == len(exchange["bytes"])


def test_steps_together_are_predicted_without_them(two):
    found = two[2]
    message = allreduce(link_of(found["exchange"]["fitted"]), 2, 4 * found["workload"]["parameters"])
    for backend in found["backends"]:
        steps = backend["steps"]
        assert backend["predicted"] == {
            "weak": pytest.approx(statistics.median(steps["beside"]) + message),
            "beside share": pytest.approx(share_of(backend, found)),
            "strong": pytest.approx(statistics.median(steps["beside share"]) + message),
        }


def share_of(backend, found):
    """Return the seconds of half of the batch by the rates of the network that has the whole batch."""
    (whole,) = (p for p in backend["grid"] if p["network"] == found["workload"]["title"] and p["rows"] == 64)
    (own,) = (m for m in results.measured_of(backend) if m.network == whole["network"])
    return own.compute.beside(Work(whole["flops"] // 2, whole["parameters"]))


def test_compute_is_fitted_to_narrower_networks_and_smaller_batches(two):
    for backend in two[2]["backends"]:
        grid = [(point["network"], point["rows"]) for point in backend["grid"]]
        assert grid == [("784-8-10", 8), ("784-8-10", 64), ("784-32-10", 8), ("784-32-10", 64)]
        assert backend["grid"][-1]["alone"] == backend["steps"]["alone"]
        assert backend["compute"] == results.computes_of(backend["grid"])
        assert [each["network"] for each in backend["compute"]] == ["784-8-10", "784-32-10"]


def test_tables_ask_of_three_widths_and_three_numbers_of_ranks(two):
    for backend in two[2]["backends"]:
        assert [row["network"] for row in backend["pays"]] == ["784-8-10", "784-32-10", "784-128-10"]
        assert all(set(row["rows"]) == {"8", "64", "512"} for row in backend["pays"])
        assert sorted({row["batch"] for row in backend["fastest"]}) == [64, 512, 4096]


def test_only_rank_0_speaks(two):
    folder, done, _ = two
    assert done.stdout.count("timing allreduces of 2 ranks") == 1
    assert done.stdout.count(f"wrote {folder / 'r.json'}") == 1
    assert done.stdout.count(f"drew {folder / 'r.png'}") == 1


def test_listing_fits_a_terminal_and_says_what_is_modelled(two):
    text = two[1].stdout
    listed = text[text.index("MNIST") : text.index("wrote")]
    assert max(map(len, listed.splitlines())) <= 80
    assert "Modelled: ranks that are all connected like these, within one machine." in listed
    assert "784-128-10 was not measured: the model takes the rates of 784-32-10," in " ".join(listed.split())


def test_picture_is_drawn(two, one):
    for folder, _, _ in (two, one):
        assert (folder / "r.png").read_bytes().startswith(b"\x89PNG")


def test_one_rank_is_measured_and_modelled_on_the_network_that_is_given(one):
    _, done, found = one
    assert list(found["backends"][0]["steps"]) == ["alone", "beside"]
    assert found["exchange"]["fitted"] is None
    given = found["exchange"]["given"]
    assert (given["text"], given["alpha"], given["beta"]) == ("100 Gbit/s, 2 us", 2e-6, 8e-11)
    assert "No allreduce was timed: there is one rank." in done.stdout
    assert "Modelled: ranks that are connected by 100 Gbit/s, 2 us." in done.stdout
    assert found["backends"][0]["pays"]


def test_one_rank_without_a_network_has_no_model(one):
    found = copy.deepcopy(one[2])
    found["exchange"]["given"] = None
    found["backends"][0] |= {"pays": [], "fastest": []}
    assert "Start two with `mpiexec -n 2`" in " ".join(listing.listing(found).split())
    plots.drawn(chart.curves, found)


def with_texts(found):
    found["backends"][0]["steps"]["alone"] = ["fast"]


def without_backends(found):
    del found["backends"]


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (without_backends, "has no 'backends'"),
        (with_texts, "an item of 'alone' is not of type number"),
    ],
)
def test_damaged_results_are_refused(two, tmp_path, damage, fault):
    found = copy.deepcopy(two[2])
    damage(found)
    (tmp_path / "r.json").write_text(json.dumps(found))
    with pytest.raises(ValueError, match=f"holds no study .*{fault}.*; pass a file that"):
        results.read(tmp_path / "r.json")


def test_study_is_no_race_to_compare(two):
    path = two[0] / "r.json"
    done = subprocess.run(
        [sys.executable, "-m", "xpnet", "bench", "--compare", path, path], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "is no race" in done.stderr


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--peers"], "`--distributed` times ranks, so it takes no `--peers`; leave it out"),
        (["--link", "fast"], "'fast' is no link; pass its rate and its latency as in '100 Gbit/s, 2 us'"),
        (["--threads", "999"], "`--threads` is 999, but each of the 2 ranks of a machine has"),
    ],
)
def test_error_of_all_ranks_is_said_once(options, error):
    done = run_ranks(2, *BENCH, *options)
    assert done.returncode in (1, 2)
    assert done.stderr.count("xpnet: ") == 1
    assert error in done.stderr


def test_without_launcher_the_command_says_how_to_start_it():
    done = subprocess.run([sys.executable, *map(str, BENCH)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "start it with `mpiexec -n 2 xpnet bench --distributed" in done.stderr


def test_link_needs_ranks():
    command = [sys.executable, "-m", "xpnet", "bench", "--link", "100 Gbit/s, 2 us"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "xpnet: `--link` needs `--distributed`\n"
