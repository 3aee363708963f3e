"""Files are written completely or not at all, and it is known beforehand whether they can be."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from xpnet.files import check_writable, from_json, json_text, to_read, write_whole


@pytest.mark.parametrize("act", [check_writable, lambda path: write_whole(path, b"new")])
def test_read_only_file_is_refused_and_stays(tmp_path, act):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o444)
    message = rf"^cannot write '{path}': it is read-only; choose another place$"
    with pytest.raises(PermissionError, match=message):
        act(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("old", [None, "old"])
def test_check_leaves_nothing_and_changes_nothing(tmp_path, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_text(old)
    check_writable(path)
    assert list(tmp_path.iterdir()) == ([] if old is None else [path])
    assert old is None or path.read_text() == old


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no/file", "No such file or directory; choose another place"),
        ("x" * 300, "File name too long; choose another place"),
        (".", "it is a folder; name a file in it"),
    ],
)
@pytest.mark.parametrize("act", [check_writable, lambda path: write_whole(path, b"new")])
def test_place_that_cannot_be_written_is_named(tmp_path, act, name, reason):
    with pytest.raises(OSError, match=f"^{re.escape(f'cannot write {str(tmp_path / name)!r}: {reason}')}$"):
        act(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("act", [check_writable, lambda path: write_whole(path, b"new")])
def test_device_stays_a_device(act):
    act(os.devnull)
    check_writable("/dev/full")


@pytest.mark.parametrize("act", [check_writable, lambda path: write_whole(path, b"new")])
def test_circular_links_are_an_os_error(tmp_path, act):
    one, two = tmp_path / "one", tmp_path / "two"
    one.symlink_to(two)
    two.symlink_to(one)
    with pytest.raises(OSError, match=f"^cannot write '{one}': "):
        act(one)


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has links to open pipes")
def test_link_to_an_open_pipe_is_written_to():
    reading, writing = os.pipe()
    path = f"/dev/fd/{writing}"
    check_writable(path)
    write_whole(path, b"new")
    os.close(writing)
    with open(reading, "rb") as file:
        assert file.read() == b"new"


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only a superuser can become another user")
@pytest.mark.parametrize("exists", [True, False])
def test_folder_that_others_own_is_refused_beforehand(tmp_path, exists):
    """Even if the file itself is writable: it is replaced, and that changes the folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for parent in [folder, tmp_path, *tmp_path.parents[:2]]:  # which pytest reserves for its user
        parent.chmod(0o755)
    if exists:
        (folder / "file").touch(0o666)
        (folder / "file").chmod(0o666)
    program = "import os, sys; from xpnet.files import check_writable; os.setuid(65534); "
    call = "check_writable(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program + call, folder / "file"], capture_output=True, text=True
    )
    assert "cannot write" in done.stderr
    assert "Permission denied" in done.stderr


def test_json_has_null_for_numbers_that_are_not_finite():
    value = {"loss": float("nan"), "rows": [(1.5, float("-inf")), np.float64("inf")], "n": 3, "none": None}
    strict = json.loads(json_text(value, indent=2), parse_constant=pytest.fail)
    assert strict == {"loss": None, "rows": [[1.5, None], None], "n": 3, "none": None}


def test_numbers_of_numpy_are_written_as_json():
    numbers = {
        "a": np.float32(0.5),
        "b": [np.int64(3), np.True_],
        "c": np.float32("inf"),
        "d": np.float64("nan"),
    }
    assert json.loads(json_text(numbers)) == {"a": 0.5, "b": [3, True], "c": None, "d": None}


@pytest.mark.parametrize(
    "name",
    ["", "a\0b", "loop", "loop/file", "x" * 5000, "\ud800", b"", b"a\0b", b"loop", b"no/file"],
)
@pytest.mark.parametrize("act", [check_writable, lambda path: write_whole(path, b"new")])
def test_odd_path_is_an_os_error(tmp_path, monkeypatch, act, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=r"^cannot write '.*[;] (choose another (place|one)|name a file)$"):
        act(name)
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]
    assert (tmp_path / "loop").is_symlink()


@pytest.mark.parametrize("path", [b"file", "./file", "folder/../file"])
def test_path_may_be_spelled_in_any_way(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    write_whole(path, b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert os.path.samefile(to_read(path), "file")


def test_only_a_regular_file_may_be_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "loop", "gone", "", "a\0b"):
        with pytest.raises(OSError, match=r"\[Errno \d+\] "):
            to_read(tmp_path / name if name else name)
    for path in ("/dev/zero", "/dev/null"):
        with pytest.raises(OSError, match="a pipe or a device"):
            to_read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 900 + "]" * 900, "nest too deep"),
        ('{"a":' * 100_000, "nest too deep"),
        ("1" + "0" * 400, "a whole number of 401 digits"),
        ("-1" + "0" * 5000, "a whole number of 5001 digits"),
        (str(2**64), "more than 64 bits"),
        ("[1e999]", "a number that is too large for a float"),
        ("[NaN]", "it contains NaN"),
        ("-Infinity", "it contains -Infinity"),
        ('{"a": 1, "a": 2}', "the same key twice"),
        ("", "Expecting value"),
    ],
)
def test_json_that_is_not_ours_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        from_json(text)


def test_json_that_is_ours_is_read_as_it_was():
    value = {"a": [1.5, -(2**63), 2**64 - 1, None, True, "\u2028"], "b": {}}
    assert from_json(json_text(value)) == value
