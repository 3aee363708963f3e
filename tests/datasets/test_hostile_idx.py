"""Invalid files and folders of images, or far larger unpacked, are refused in one short line."""

import gzip
import os
import tracemalloc

import numpy
import pytest

from xpnet import datasets
from xpnet.datasets.idx import read_idx
from xpnet.errors import MOST_CHARACTERS

MEBIBYTE = 1 << 20
NAMES = [f"{stem}-{kind}-ubyte" for stem in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def header(*shape):
    return bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)


def message_of(kind, call, *args, **options):
    """Return the message of the error of this kind, which must be one short line."""
    with pytest.raises(kind) as caught:
        call(*args, **options)
    message = str(caught.value)
    assert len(message) <= MOST_CHARACTERS
    assert message.isprintable()
    return message


@pytest.fixture(scope="session")
def bomb(tmp_path_factory):
    """Return a gzip file of half a megabyte that unpacks to a valid IDX file of 500 MB."""
    path = tmp_path_factory.mktemp("bomb") / "train-images-idx3-ubyte.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(header(500, 1000, 1000))
        for _ in range(500):
            file.write(bytes(1_000_000))
    assert path.stat().st_size < MEBIBYTE
    return path


def test_small_file_that_unpacks_to_much_is_refused_without_memory(bomb):
    tracemalloc.start()
    try:
        message = message_of(ValueError, read_idx, bomb, ndim=3)
        assert tracemalloc.get_traced_memory()[1] < 8 * MEBIBYTE
    finally:
        tracemalloc.stop()
    assert f"500000016 bytes in all, but the limit is {256 * MEBIBYTE} bytes" in message
    assert message.endswith("pass `max_bytes=500000016`, or `--max-bytes 500000016` to the command")


def test_limit_on_unpacked_bytes_can_be_raised(tmp_path, monkeypatch):
    monkeypatch.setattr("xpnet.datasets.idx._MOST_UNPACKED", MEBIBYTE)
    (tmp_path / "file").write_bytes(gzip.compress(header(2, 1000, 1000) + bytes(2_000_000)))
    assert "the limit is 1048576 bytes" in message_of(ValueError, read_idx, tmp_path / "file", ndim=3)
    assert len(read_idx(tmp_path / "file", ndim=3, max_bytes=2_000_016)) == 2


def test_large_file_that_takes_its_space_on_disk_is_read(tmp_path, monkeypatch):
    """Like sets of real images, which gzip shrinks to no less than about a tenth."""
    monkeypatch.setattr("xpnet.datasets.idx._MOST_UNPACKED", MEBIBYTE)
    data = bytearray(30 * MEBIBYTE)
    data[:MEBIBYTE] = numpy.random.default_rng(0).bytes(MEBIBYTE)
    (tmp_path / "file").write_bytes(gzip.compress(header(len(data)) + data, 1))
    assert len(read_idx(tmp_path / "file", ndim=1)) == len(data)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_limit_applies_to_plain_files_and_folders_too(tmp_path, pack):
    for name in NAMES:
        shape = (2, 3, 4) if "images" in name else (2,)
        (tmp_path / name).write_bytes(pack(header(*shape) + bytes(range(int(numpy.prod(shape))))))
    assert len(datasets.idx_folder(tmp_path, max_bytes=40)[0]) == 2
    assert "40 bytes in all, but the limit is 39 bytes" in message_of(
        ValueError, datasets.idx_folder, tmp_path, max_bytes=39
    )
    for wrong in (0, -1, 1.5, "40", 10**400, True):
        message_of(ValueError, datasets.idx_folder, tmp_path, max_bytes=wrong)


@pytest.mark.parametrize(
    "content",
    [
        header(*[2**32 - 1] * 255),
        header(*[2**32 - 1] * 3),
        header(*range(1, 200)),
        b"\x1f\x8b" * 50_000,
        gzip.compress(header(*[2**32 - 1] * 255)),
        b"\xff" * 74_000,
        header(0, 1, 1),
        b"",
    ],
)
@pytest.mark.parametrize("ndim", [1, 3])
def test_content_that_lies_is_refused_in_a_short_line(tmp_path, content, ndim):
    (tmp_path / "file").write_bytes(content)
    assert "IDX file " in message_of(ValueError, read_idx, tmp_path / "file", ndim=ndim)


def test_only_regular_files_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    names = ["pipe", "loop", "/dev/zero", ".", "", "a\0b", "gone", "x" * 5000, b"pipe", b"gone", "loop/x"]
    for path in names:
        assert "there is no file " in message_of(FileNotFoundError, read_idx, path, ndim=1)
    for path in (5, None):
        with pytest.raises(TypeError):
            read_idx(path, ndim=1)


def test_only_folders_are_read_as_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    for path in ("", "a\0b", "gone", "x" * 5000, "loop", "loop/x", b"gone"):
        assert "does not exist" in message_of(FileNotFoundError, datasets.idx_folder, path)
    for path in ("pipe", "/dev/zero", b"pipe"):
        assert "is a file" in message_of(NotADirectoryError, datasets.idx_folder, path)


def test_pipe_of_a_files_name_is_not_waited_for(tmp_path):
    for name in NAMES:
        os.mkfifo(tmp_path / name)
    assert "has no file 'train-images-idx3-ubyte'" in message_of(
        FileNotFoundError, datasets.idx_folder, tmp_path
    )


def test_folder_of_long_names_is_refused_in_a_short_line(tmp_path):
    for i in range(20):
        (tmp_path / (f"{i:02}\n" + "x" * 240)).touch()
    message_of(FileNotFoundError, datasets.idx_folder, tmp_path)
    inner = tmp_path / ("y" * 250)
    inner.mkdir()
    (inner / NAMES[0]).touch()
    assert "move the four files" in message_of(FileNotFoundError, datasets.idx_folder, tmp_path)


def test_path_may_be_bytes(tmp_path):
    (tmp_path / "file").write_bytes(header(2) + b"ab")
    assert read_idx(os.fsencode(tmp_path / "file"), ndim=1).tolist() == [97, 98]
