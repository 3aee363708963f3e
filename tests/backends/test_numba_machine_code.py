"""Machine code that the backend `numba` keeps on disk, and loads without Numba."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

numba = pytest.importorskip("numba", reason="numba is not installed")

from xpnet_numba import images, kept, machine_code  # noqa: E402
from xpnet_numba.kernels import compiled, objects  # noqa: E402

SOURCES = [Path(__file__).parents[2] / folder for folder in ("", "backends")]
FLOAT = numpy.dtype("float32")
IMAGES = numpy.asarray([[0, 7, 0, 9], [0, 0, 0, 0], [1, 2, 3, 4]], numpy.uint8)

# Two passes over the data, the last batch of which is ragged, and a measurement by a compiled step.
FIT = """
import hashlib, sys, numpy, xpnet
xp = xpnet.backend("numba")
random = numpy.random.default_rng(0)
images = random.integers(0, 256, (100, 60)).astype(numpy.uint8)
images[random.random(images.shape) < 0.8] = 0
data = xpnet.Dataset(images, numpy.arange(100) % 3)
model = xpnet.mlp(60, 12, 3, activation="sigmoid")
options = {"optimizer": xpnet.Momentum(0.3), "epochs": 2, "batch_size": 32, "progress": False}
run = xpnet.fit(xp, model, data, test=data, **options)
digest = hashlib.sha256(b"".join(xp.to_host(p).tobytes() for p in run.params.values()))
digest.update(repr([(e.train_loss, e.test_loss) for e in run.history]).encode())
print(digest.hexdigest(), "numba" in sys.modules)
"""


def train(folder, more=""):
    """Return the digest of a training in a process of its own, and whether that imported Numba."""
    path = os.pathsep.join(map(str, SOURCES))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FIT + more],
        env={**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    digest, imported, *more = done.stdout.split()
    return digest, imported == "True", more


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Return a folder that a first process has filled, and the digest of what it trained."""
    folder = tmp_path_factory.mktemp("cache")
    digest, imported, _ = train(folder)
    assert imported
    return folder, digest


@pytest.fixture
def copied(first, tmp_path):
    """Return the same of a folder that may be changed."""
    folder, digest = first
    return shutil.copytree(folder, tmp_path / "cache"), digest


@pytest.fixture
def new_process(monkeypatch):
    """Forget what this process has loaded."""
    monkeypatch.setattr(machine_code, "_addresses", {})


def path_of(folder, name):
    (path,) = (folder / "xpnet_numba").glob(f"{name}-*.o")
    return path


def test_second_process_trains_without_numba_to_the_same_bits(first):
    folder, digest = first
    assert train(folder) == (digest, False, [])


def test_numba_works_beside_machine_code_that_was_loaded_without_it(first):
    folder, digest = first
    more = "print(*xp.nn.relu(numpy.asarray([-1.0, 2.0])), 'numba' in sys.modules)"
    assert train(folder, more) == (digest, False, ["0.0", "2.0", "True"])


def flipped(code):
    return code[:-9] + bytes([code[-9] ^ 1]) + code[-8:]


@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty", "flipped", "loop"])
def test_file_that_is_not_what_would_be_compiled_is_compiled_anew(damage, copied):
    folder, digest = copied
    path = path_of(folder, "accumulate")
    whole = path.read_bytes()
    path.unlink()
    if damage == "loop":
        path.symlink_to(path)
    else:
        foreign = path_of(folder, "mean").read_bytes()
        path.write_bytes(
            {"truncated": whole[:-1], "foreign": foreign, "empty": b"", "flipped": flipped(whole)}[damage]
        )
    assert train(folder) == (digest, True, [])
    assert train(folder) == (digest, False, [])


def test_file_is_of_its_function_sources_and_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "folder", lambda: tmp_path)
    kept.write("mean", "float32", b"code")
    assert kept.read("mean", "float32") == b"code"
    assert kept.read("mean", "float64") is None
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / path.name.replace("mean", "relu"))
    assert kept.read("relu", "float32") is None
    kept.write("mean", "float32", b"code")
    monkeypatch.setattr(kept, "_origin", lambda: b"of other sources")
    assert kept.read("mean", "float32") is None


@pytest.mark.parametrize("changed", ["kernels/exp.py", "layout.py", "operations.py"])
def test_origin_changes_with_every_source(changed, tmp_path, monkeypatch):
    package = Path(machine_code.__file__).parent
    shutil.copytree(package, tmp_path / "package", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(kept, "_SOURCES", tmp_path / "package/kernels")
    origin = kept._origin.__wrapped__
    before = origin()
    assert origin() == before
    with open(tmp_path / "package" / changed, "a") as file:
        file.write("\n")
    assert origin() != before


def test_numbas_settings_have_files_of_their_own(monkeypatch):
    name = kept._processor.__wrapped__
    before = name()
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "elsewhere")
    assert name() == before
    monkeypatch.setenv("NUMBA_OPT", "1")
    assert name() != before


def test_first_place_that_can_be_written_is_taken(tmp_path, monkeypatch):
    folder = kept.folder.__wrapped__
    # A working tree may be one that a group can write.
    monkeypatch.setattr(kept, "_SOURCES", tmp_path / "kernels")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert folder() == tmp_path / "xpnet_numba"
    (tmp_path / "file").touch()
    for unusable in (tmp_path / "file", "relative"):
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(unusable))
        assert folder() == tmp_path / "kernels/__pycache__"
    monkeypatch.setattr(kept, "_SOURCES", tmp_path / "file")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users"))
    assert folder() == tmp_path / "users/xpnet_numba"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert folder() == tmp_path / "home/.cache/xpnet_numba"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert folder() is None


@pytest.mark.usefixtures("new_process")
@pytest.mark.parametrize("place", ["none", "one that vanishes"])
def test_where_nothing_can_be_written_everything_works(place, tmp_path, monkeypatch):
    expected = images.compress(IMAGES)
    folder = None if place == "none" else tmp_path / "gone"
    monkeypatch.setattr(machine_code, "_addresses", {})
    monkeypatch.setattr(kept, "folder", lambda: folder)
    for found, wanted in zip(images.compress(IMAGES), expected, strict=True):
        numpy.testing.assert_array_equal(found[:-1], wanted[:-1])
    assert not kept.read("compress", "uint8")
    assert not any(tmp_path.iterdir())


@pytest.mark.usefixtures("new_process")
def test_where_object_code_cannot_be_loaded_numba_takes_its_place(monkeypatch):
    def refuse(code):
        raise RuntimeError("no such format")

    monkeypatch.setattr(machine_code, "_load", refuse)
    starts, entries = images.compress(IMAGES, 1)
    assert starts.tolist() == [0, 2, 2, 6]
    assert entries[:2].tolist() == [1 << 8 | 7, 3 << 8 | 9]


def allocating(size, zero):
    x = numpy.empty(size)
    x[0] = zero


def test_code_that_needs_numba_is_not_emitted(monkeypatch):
    monkeypatch.setitem(compiled.ENTRIES, "allocating", allocating)
    made = objects.compile_entry("allocating", FLOAT)
    with pytest.raises(ValueError, match=r"allocating needs .*NRT_"):
        objects.emit(made, "symbol", machine_code._machine())


@pytest.mark.parametrize("name", compiled.ENTRIES)
def test_every_entry_can_be_kept(name):
    machine_code.address(name, FLOAT)
    assert kept.read(name, "float32")
