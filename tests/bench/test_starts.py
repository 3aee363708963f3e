"""The script that finds where the time of a short training goes."""

import pytest

import starts


def test_phases_of_a_training_add_up_to_its_process():
    found = starts.phases("numpy", 256)
    whole = found.pop("the process")
    assert sum(found.values()) == pytest.approx(whole)
    assert {"import of the backend", "first array", "probe", "epoch and compilation"} < found.keys()


def test_a_backend_that_fails_is_named_with_its_error():
    with pytest.raises(SystemExit, match=r"a training on 'nuron' failed: .*xpnet_nuron"):
        starts.phases("nuron", 256)


def test_table_has_the_median_of_each_phase_for_each_backend():
    found = {"numpy": [{"probe": x} for x in (1, 5, 2)], "cupy": [{"probe": x} for x in (4, 4, 9)]}
    assert starts.table(found).splitlines() == [
        "| seconds | numpy | cupy |",
        "| --- | ---: | ---: |",
        "| probe | 2.000 | 4.000 |",
    ]
