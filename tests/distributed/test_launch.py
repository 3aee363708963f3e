"""What processes know of their launcher before MPI begins."""

import pytest

from xpnet.distributed import launch

RANKS = ["PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK"]
LOCAL_RANKS = ["MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK"]
SIZES = ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"]
SLURM = ["SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS"]


@pytest.fixture(autouse=True)
def _without_launcher(monkeypatch):
    for name in RANKS + LOCAL_RANKS + SIZES + SLURM:
        monkeypatch.delenv(name, raising=False)


def test_a_process_without_launcher_has_no_rank():
    assert launch.launched_rank() is None
    assert launch.launched_local_rank() is None
    assert launch.launched_size() is None


@pytest.mark.parametrize("name", RANKS)
def test_every_launcher_names_the_rank(monkeypatch, name):
    monkeypatch.setenv(name, "3")
    assert launch.launched_rank() == 3


@pytest.mark.parametrize("name", LOCAL_RANKS)
def test_every_launcher_names_the_rank_within_the_node(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert launch.launched_local_rank() == 1


@pytest.mark.parametrize("name", SIZES)
def test_launchers_name_the_size(monkeypatch, name):
    monkeypatch.setenv(name, "4")
    assert launch.launched_size() == 4


@pytest.mark.parametrize("name", ["PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK"])
def test_mpiexec_inside_a_slurm_job_names_the_rank(monkeypatch, name):
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv(name, "2")
    assert launch.launched_rank() == 2


def test_a_slurm_step_names_rank_and_size(monkeypatch):
    variables = {"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "4"}
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    assert (launch.launched_rank(), launch.launched_local_rank(), launch.launched_size()) == (3, 1, 4)
    assert launch.slurm_tasks() is None


def test_the_script_of_a_slurm_job_is_no_launcher(monkeypatch):
    for name, text in {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "8"}.items():
        monkeypatch.setenv(name, text)
    assert launch.launched_rank() is launch.launched_local_rank() is launch.launched_size() is None
    assert launch.slurm_tasks() == 8


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5"])
def test_a_variable_that_is_no_number_counts_as_not_set(monkeypatch, text):
    monkeypatch.setenv("PMI_RANK", text)
    assert launch.launched_rank() is None
