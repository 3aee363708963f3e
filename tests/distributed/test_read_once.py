"""Data that rank 0 reads are in the memory of a machine once, whoever looks at them."""

import json
import sys

import pytest
from ranks import run_ranks

from xpnet.distributed import ALONE, read_once

# Each rank writes what it found as JSON. `machines` says on which machine each seems to be.
PROGRAM = """
import gc, json, os, pathlib, sys
import numpy as np
import xpnet
from xpnet.distributed import mpi, read_once, shared

folder, machines = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
group = mpi()
if machines:
    shared._CHUNK = 1 << 20
    shared._place = lambda: machines[group.rank]
calls = 0

def load():
    global calls
    calls += 1
    rng = np.random.default_rng(3)
    names = np.array(["cat", "dog"])[rng.integers(0, 2, 1500)]
    train = xpnet.Dataset(
        rng.random((3000, 2000), "float32")[::2],
        names,
        name="animals",
        sample_weight=rng.random(1500),
    )
    test = xpnet.Dataset(rng.integers(0, 255, (10, 4, 4, 3), "uint8"), np.zeros((10, 2)))
    return {"train": train, "test": test, "rest": (None, "text", np.array([["a"], [None]], dtype=object))}

def maps():
    text = pathlib.Path("/proc/self/smaps").read_text().split("memfd:xpnet")[1:]
    pss = [int(part.split("Pss:")[1].split()[0]) for part in text]
    return {"number": len(pss), "pss": sum(pss)}

found = read_once(group, load)
expected = load()
calls -= 1
train = found["train"]
same = all(
    np.array_equal(getattr(found[name], part), getattr(expected[name], part))
    for name in ("train", "test")
    for part in ("inputs", "targets")
)
same = same and np.array_equal(train.sample_weight, expected["train"].sample_weight)
about = {"calls": calls, "same": same}
about["others"] = [train.name, train.classes, train.had_names, found["test"].classes, found["rest"][1]]
arrays = train.inputs, train.targets, train.sample_weight, found["test"].inputs, found["test"].targets
about["writeable"] = any(x.flags.writeable for x in arrays)
try:
    train.inputs.flags.writeable = True
    about["refused"] = False
except ValueError:
    about["refused"] = True

xp = xpnet.backend("numpy")
batches = xpnet.batches.Batches(
    xp, train.inputs, dtype="float32", scaling=xpnet.batches.Scaling(), keep=True
)
about["copied"] = not np.shares_memory(np.asarray(batches.images), train.inputs)
group.gather(None)
about["maps"] = maps()
group.gather(None)
part = found["test"]
del batches, arrays, train, found
gc.collect()
about["part"] = [maps()["number"], int(part.inputs.sum()) == int(expected["test"].inputs.sum())]
del part
gc.collect()
about["freed"] = maps()["number"] == 0
try:
    read_once(group, lambda: 1 / 0)
except Exception as e:
    about["error"] = [type(e).__name__, str(e)]
(folder / f"{group.rank}.json").write_text(json.dumps(about))
"""


def results(folder, ranks, machines=()):
    done = run_ranks(ranks, "-c", PROGRAM, folder, json.dumps(machines))
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return results(tmp_path_factory.mktemp("three"), 3)


def test_only_rank_0_reads(three):
    assert [rank["calls"] for rank in three] == [1, 0, 0]


def test_all_ranks_get_the_same_data_sets(three):
    for rank in three:
        assert rank["same"]
        assert rank["others"] == ["animals", ["cat", "dog"], True, None, "text"]


def test_nothing_can_write_to_shared_data(three):
    for rank in three:
        assert not rank["writeable"]
        assert rank["refused"]


def test_training_does_not_copy_shared_data(three):
    assert not any(rank["copied"] for rank in three)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is shared on Linux only")
def test_data_are_in_memory_once(three):
    size = 1500 * 2000 * 4 / 1024
    assert [rank["maps"]["number"] for rank in three] == [1, 1, 1]
    assert size * 0.99 < sum(rank["maps"]["pss"] for rank in three) < size * 1.05


@pytest.mark.skipif(sys.platform != "linux", reason="memory is shared on Linux only")
def test_memory_is_kept_while_a_part_is_used_and_then_freed(three):
    for rank in three:
        assert rank["part"] == [1, True]
        assert rank["freed"]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is shared on Linux only")
def test_each_machine_has_the_data_once(tmp_path):
    found = results(tmp_path, 4, machines=["a", "b", "b", "a"])
    assert all(rank["same"] and not rank["writeable"] and rank["freed"] for rank in found)
    size = 1500 * 2000 * 4 / 1024
    for machine in (found[0], found[3]), (found[1], found[2]):
        assert size * 0.99 < sum(rank["maps"]["pss"] for rank in machine) < size * 1.05


def test_error_of_reading_is_raised_on_all_ranks(three):
    first, *others = (rank["error"] for rank in three)
    assert first == ["ZeroDivisionError", "division by zero"]
    for kind, text in others:
        assert kind == "DistributedError"
        assert "rank 0 of 3" in text
        assert "division by zero" in text


def test_one_process_shares_nothing():
    value = object()
    assert read_once(ALONE, lambda: value) is value


def test_memory_that_cannot_be_opened_is_copied(tmp_path):
    program = """
import numpy as np
from xpnet.distributed import mpi, read_once, shared

group = mpi()
shared._opened = lambda *_: None
found = read_once(group, lambda: np.arange(5000.0))
assert np.array_equal(found, np.arange(5000.0))
assert group.gather(shared._place())[0] is not None
"""
    done = run_ranks(3, "-c", program)
    assert done.returncode == 0, done.stdout + done.stderr
