"""What pages and pictures say of a study, against figures computed by hand."""

import json
import pathlib

import jsonschema
import pytest

from xpnet import plots
from xpnet_bench.distributed import chart, listing, page, results
from xpnet_bench.distributed.compute import Compute, Measured, Work
from xpnet_bench.distributed.link import Link
from xpnet_bench.distributed.prediction import Prediction
from xpnet_bench.schema import document

ROOT = pathlib.Path(__file__).parents[2]
COMMITTED = ROOT / "benchmarks" / "results" / "distributed"

# 100 Gflop/s, 1 ns a parameter; 1 us a message and 1 ns a byte.
COMPUTE = Compute(1e-11, 1e-9, 1.0, 0.0)
LINK = Link(1e-6, 1e-9, 0.0)
NETWORK = results.Scaled("784-10", Work(10**7, 10**6))
WIDER = results.Scaled("784-99-10", Work(10**8, 10**7))
MEASURED = Measured("784-10", 10**6, COMPUTE)

FOUND = {
    "scaling_version": 1,
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {
        "system": "Linux",
        "processor": "abacus",
        "cores": 2,
        "threads": 1,
        "blas": "beads",
        "ranks": 2,
        "machines": 1,
    },
    "versions": {"xpnet": "0", "python": "3", "mpi4py": "4", "mpi": "MPICH 5"},
    "workload": {
        "title": "784-10",
        "data": "MNIST",
        "model": {},
        "optimizer": {},
        "loss": "softmax_cross_entropy",
        "batch_size": 1024,
        "parameters": 10**6,
        "dtype": "float32",
    },
    "exchange": {
        "bytes": [4, 8_000_000],
        "seconds": [[1e-6], [8e-3]],
        "sum_seconds": [],
        "fitted": {**LINK._asdict(), "relative_errors": [0.0, -0.25]},
        "given": None,
    },
    "backends": [
        {
            "name": "numpy",
            "device": "cpu",
            "versions": {"numpy": "2"},
            "steps": {
                "alone": [0.1, 0.1, 0.1],
                "beside": [0.11, 0.11, 0.11],
                "weak": [0.125, 0.125, 0.2],
                "beside share": [0.06, 0.06, 0.06],
                "strong": [0.0625, 0.0625, 0.0625],
            },
            "grid": [
                {"network": "784-10", "rows": 8, **NETWORK.work(8)._asdict(), "alone": [0.1], "beside": [0.1]}
            ],
            "compute": [
                {
                    "network": "784-10",
                    "parameters": 10**6,
                    **COMPUTE._asdict(),
                    "relative_errors": {"alone": [0.01], "beside": [-0.2, 0.1]},
                }
            ],
            "predicted": {"weak": 0.12, "beside share": 0.063, "strong": 0.05},
            **results.pays_and_fastest([MEASURED], LINK, [NETWORK, WIDER], 1024),
        }
    ],
}


def test_example_follows_the_schema():
    jsonschema.validate(FOUND, document(results.SCHEMA))


def point(name, work, alone, beside):
    """Return a point of a grid; the last of its three rounds was disturbed."""
    rounds = {"alone": [alone, alone, 9.0], "beside": [beside, beside, 9.0]}
    return {"network": name, "rows": 1, **work._asdict(), **rounds}


def test_each_network_is_fitted_by_itself():
    # Twice the work takes 1 s more of both: 10 ns a flop or 20. The rest is 1 s: 1 us a parameter, or 100 ns.
    narrow, wide = Work(10**8, 10**6), Work(5 * 10**7, 10**7)
    grid = [
        point("narrow", narrow, 2.0, 2.2),
        point("narrow", narrow._replace(flops=2 * 10**8), 3.0, 3.3),
        point("wide", wide, 2.0, 3.0),
        point("wide", wide._replace(flops=10**8), 3.0, 4.0),
    ]
    first, second = results.computes_of(grid)
    assert (first["network"], first["parameters"]) == ("narrow", 10**6)
    assert (second["network"], second["parameters"]) == ("wide", 10**7)
    rates = results.measured_of({"compute": [first, second]})
    assert rates[0].compute == pytest.approx(Compute(1e-8, 1e-6, 1.1, 0.0))
    assert rates[1].compute == pytest.approx(Compute(2e-8, 1e-7, 1.0, 1e-7))
    for found in (first, second):
        assert found["relative_errors"]["alone"] == pytest.approx([0, 0], abs=1e-9)
        assert found["relative_errors"]["beside"] == pytest.approx([0, 0], abs=1e-9)


def test_errors_of_a_fit_are_relative_to_the_medians():
    # 1, 2 and 4 s for 1, 2 and 3 million flops: the best line has -10/33 s at 0, so a parameter takes no
    # time, and a million flops take (1 + 1 + 3/4) / (1 + 1 + 9/16) = 44/41 s.
    grid = [
        point("one", Work(k * 10**6, 1000), seconds, seconds) for k, seconds in ((1, 1.0), (2, 2.0), (3, 4.0))
    ]
    (found,) = results.computes_of(grid)
    assert found["per_flop"] == pytest.approx(44 / 41 * 1e-6)
    assert found["per_parameter"] == 0
    assert found["relative_errors"]["alone"] == pytest.approx([3 / 41, 3 / 41, 33 / 41 - 1])


def test_model_of_a_file_is_the_one_that_was_fitted():
    backend = FOUND["backends"][0]
    assert results.prediction_of(FOUND, backend, NETWORK) == Prediction(COMPUTE, LINK)
    assert results.measured_of(backend) == [MEASURED]
    assert results.family_of(backend) == [NETWORK, WIDER]


def test_network_that_was_not_measured_takes_the_rates_of_the_nearest():
    backend = FOUND["backends"][0]
    quick = {**backend["compute"][0], "network": "784-1-10", "parameters": 10**3, "per_flop": 1e-12}
    backend = {**backend, "compute": [quick, backend["compute"][0]]}
    assert results.prediction_of(FOUND, backend, WIDER) == Prediction(COMPUTE, LINK)
    assert results.stand_in(backend, WIDER) == "784-10"
    assert results.stand_in(backend, NETWORK) is None


def test_texts_name_the_network_whose_rates_another_takes(tmp_path):
    (text,) = listing.unmeasured(FOUND)
    assert text == (
        "784-99-10 was not measured: the model takes the rates of 784-10, "
        "the nearest in the number of parameters."
    )
    assert text in " ".join(listing.listing(FOUND).split())
    (tmp_path / "abacus.json").write_text(json.dumps(FOUND))
    assert text in page.section(tmp_path)
    assert text in plots.drawn(chart.curves, FOUND).get_suptitle().splitlines()


def test_network_that_is_given_replaces_the_one_that_was_measured():
    given = {"text": "1 Gbit/s, 1 ms", "alpha": 1e-3, "beta": 8e-9, "gamma": 0.0}
    found = {**FOUND, "exchange": {**FOUND["exchange"], "given": given}}
    assert results.prediction_of(found, found["backends"][0], NETWORK).link == Link(1e-3, 8e-9, 0.0)
    assert listing.modelled(found) == "Modelled: ranks that are connected by 1 Gbit/s, 1 ms."


def test_model_says_that_it_is_of_ranks_within_one_machine():
    assert listing.modelled(FOUND) == (
        "Modelled: ranks that are all connected like these, within one machine."
    )


def test_efficiency_is_the_ratio_of_medians_and_predicted():
    weak, strong = listing.efficiencies(FOUND)
    # 100 ms of one over 125 ms of two, and over the predicted 120; in halves 100 over 2 * 62.5 and 2 * 50.
    assert weak.startswith("numpy, weak scaling on 2 ranks: efficiency 80.0%")
    assert weak.endswith("predicted 83.3%.")
    assert "efficiency 80.0%" in strong
    assert strong.endswith("1.60 times as fast as one; predicted 100.0%.")


def test_steps_show_how_far_the_prediction_is_off():
    rows = {row[0]: row[2:] for row in listing.steps(FOUND)}
    assert rows["weak: 1024 rows a rank"] == ["125", "125 to 200", "120", "-4.0%"]
    assert rows["strong: 1024 rows in all"] == ["62.5", "62.5 to 62.5", "50.0", "-20.0%"]
    assert rows["side by side, 512 rows"] == ["60.0", "60.0 to 60.0", "63.0", "+5.0%"]


def test_tables_are_those_of_the_hand_calculation():
    # 4 MB over 8 ranks: 6 us + 7/8 * 8 ms = 7.006 ms, a fifth of the step from 28.024 ms on, which 271 rows
    # take; over 512: 18 us + 511/512 * 8 ms, 32 ms and 310 rows.
    assert listing.pays(FOUND)[1] == ["784-10", "numpy", "512", "512", "512"]
    # A batch of 1024 takes 103.4 ms alone; divided by 512 ranks 1.2 ms and 8.002 ms.
    assert listing.fastest(FOUND)[1][:3] == ["784-10", "numpy", "512 (11.2)"]


def test_exchange_is_said_with_its_errors():
    text = listing.exchange(FOUND)
    assert "fitted to 4 bytes to 8 MB: a message takes alpha = 1.00 us, a byte beta = 1.000 ns" in text
    assert "off by 12% at the median, 25% at most" in text
    # 2 ranks by recursive doubling: 1 us + 4 MB.
    assert "For the gradient of 4 MB it says 4.00 ms." in text


def test_fit_of_compute_is_said_with_its_errors():
    (line,) = listing.computing(FOUND)
    assert "fitted to each network by itself, is off by 10% at the median of 3 cases, 20% at most" in line


def test_page_has_the_picture_and_all_tables(tmp_path):
    assert page.section(tmp_path) == "No results have been published yet.\n"
    (tmp_path / "abacus.json").write_text(json.dumps(FOUND))
    text = page.section(tmp_path)
    assert "](../images/scaling-abacus.svg)" in text
    for rows in (listing.steps(FOUND), listing.pays(FOUND), listing.fastest(FOUND)):
        assert listing.markdown(rows) in text
    assert "Medians of 3 rounds, in turns. abacus; BLAS: beads; MPICH 5; mpi4py 4, numpy 2" in text


def test_picture_has_lines_of_the_model_and_points_that_were_measured():
    weak, strong = plots.drawn(chart.curves, FOUND).axes
    for axes in (weak, strong):
        assert [line.get_label().startswith("measured") for line in axes.lines].count(True) == 1
    (point,) = (line for line in weak.lines if line.get_label().startswith("measured"))
    assert point.get_xydata().tolist() == [[2, pytest.approx(80)]]
    (point,) = (line for line in strong.lines if line.get_label().startswith("measured"))
    assert point.get_xydata().tolist() == [[2, pytest.approx(1.6)]]


def test_committed_studies_follow_the_schema_and_have_their_pictures():
    for path in sorted(COMMITTED.glob("*.json")):
        found = results.read(path)
        jsonschema.validate(found, document(results.SCHEMA))
        picture = (ROOT / "docs" / "images" / page.picture(path)).read_text(encoding="utf-8")
        assert f"<dc:date>{found['date']}</dc:date>" in picture, "run `python benchmarks/tables.py`"
