"""Groups of processes that MPI started."""

import json
import pathlib

import pytest
from ranks import run_ranks

FACTS = pathlib.Path(__file__).with_name("group_facts.py")


def _facts(ranks, folder):
    done = run_ranks(ranks, FACTS, folder)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)]


@pytest.fixture(scope="module", params=[1, 2, 3, 4])
def facts(request, tmp_path_factory):
    return _facts(request.param, tmp_path_factory.mktemp("facts"))


def test_ranks_know_their_numbers(facts):
    assert [fact["rank"] for fact in facts] == [[rank, len(facts), True] for rank in range(len(facts))]
    assert {tuple(fact["shards"]) for fact in facts} == {(False, True)}


def test_sum_is_over_all_ranks(facts):
    total = len(facts) * (len(facts) + 1) / 2
    assert all(fact["sum"] == [total] * 3 and fact["waited"] for fact in facts)


def test_all_ranks_have_the_same_bits_of_a_sum(facts):
    assert len({fact["sums"] for fact in facts}) == 1


def test_sums_have_the_same_bits_in_the_next_run(facts, tmp_path):
    assert _facts(len(facts), tmp_path)[0]["sums"] == facts[0]["sums"]


def test_large_objects_are_gathered_and_broadcast(facts):
    assert {fact["gathered"] for fact in facts} == {len(facts) - 1}
    assert {fact["broadcast"] for fact in facts} == {0}


@pytest.mark.parametrize("call", ["gather unpicklable", "broadcast unpicklable"])
def test_what_cannot_be_pickled_is_an_error_on_all_ranks(facts, call):
    first, *others = [fact[call] for fact in facts]
    assert first[0] in ("AttributeError", "PicklingError")
    assert "lambda" in first[1]
    for kind, text in others:
        assert kind == "DistributedError"
        assert text.startswith(f"rank 0 of {len(facts)} failed: ")
        assert first[1] in text


@pytest.mark.parametrize(
    ("name", "kind", "text", "told"),
    [
        ("together", "ValueError", "of\nthe last", "ValueError: of the last"),
        ("interrupted", "KeyboardInterrupt", "", "KeyboardInterrupt"),
        ("exit", "SystemExit", "3", "SystemExit: 3"),
        ("unreadable", "Unreadable", "?", "Unreadable: its text raises ZeroDivisionError"),
    ],
)
def test_an_error_of_one_rank_is_raised_on_all(facts, name, kind, text, told):
    *others, last = [fact[name] for fact in facts]
    assert last == [kind, text]
    size = len(facts)
    assert others == [["DistributedError", f"rank {size - 1} of {size} failed: {told}"]] * (size - 1)


def test_nothing_is_raised_where_no_rank_failed(facts):
    assert {fact["nothing"] for fact in facts} == {None}


def test_errors_of_all_ranks_pass_the_guard(facts):
    assert facts[0]["guarded together"] == ["ValueError", "of rank 0"]
    assert all(fact["guarded together"][0] == "DistributedError" for fact in facts[1:])


def test_sum_refuses_arrays_that_it_cannot_replace(facts):
    for fact in facts:
        assert fact["whole numbers"] == ["TypeError", "`x` must be float32 or float64, got int64"]
        assert fact["columns"][0] == fact["read-only"][0] == "ValueError"


def test_what_is_no_communicator_is_refused(facts):
    expected = ["TypeError", "`comm` must be an mpi4py.MPI.Intracomm, got 'world'"]
    assert all(fact["no communicator"] == expected for fact in facts)


def test_ranks_of_a_communicator_are_a_group(facts):
    for rank, fact in enumerate(facts):
        members = list(range(rank % 2, len(facts), 2))[::-1]
        assert fact["half"] == [members.index(rank), len(members), members]
