"""A dozen kills at random moments; `benchmarks/kills.py` does more of them."""

import os

import pytest

import kills

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills and mounts are POSIX's")


@pytest.fixture
def folder(tmp_path):
    kills.write_data(tmp_path / "data")
    return tmp_path


def test_killed_training_loses_no_checkpoint_and_ends_with_the_same_bytes(folder):
    outcome = kills.kill_again_and_again(folder, "numpy", 12, seed=0)
    assert outcome.kills == 12
    assert outcome.while_writing > 0
    assert outcome.unreadable == 0
    assert outcome.most_again <= 1
    assert outcome.same


def test_full_disk_and_read_only_folder_leave_the_checkpoints(folder):
    full, refused = kills.faults(folder, epochs=6)
    for row, reason in ((full, "No space left|File too large"), (refused, "read-only|Read-only|denied")):
        _, _, _, status, message, kept, same, _ = map(str.strip, row.split("|"))
        assert status == "1"
        assert message.startswith("`xpnet: cannot write 'DIR/c/epoch-")
        assert any(text in message for text in reason.split("|"))
        assert kept.endswith(", all whole")
        assert same == "yes"
