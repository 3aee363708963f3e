"""Files that others may have written, which the backend `numba` does not use."""

import contextlib
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import pytest

numba = pytest.importorskip("numba", reason="numba is not installed")

from llvmlite import binding as llvm  # noqa: E402
from numba.core import caching  # noqa: E402

from xpnet_numba import kept, machine_code, trusted  # noqa: E402
from xpnet_numba.kernels import activations, cache, compiled  # noqa: E402

if not hasattr(os, "geteuid"):
    pytest.skip("this system does not number its users", allow_module_level=True)

NOBODY = 65534
RAN = 77
"""The exit status of a process that ran what was planted."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")

IR = f"""
declare void @_exit(i32)
define void @xpnet_entry() {{
  call void @_exit(i32 {RAN})
  unreachable
}}
"""


class Exit:
    def __reduce__(self):
        return os._exit, (RAN,)


@contextlib.contextmanager
def as_nobody():
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public():
    """Give a folder that every user can enter, as those of pytest cannot be."""
    folder = Path(tempfile.mkdtemp()).resolve()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def planted():
    """Yield names of files that a process looks for, each with code that ends it and the right digest."""
    file = kept._file("compress", "uint8", ".o")
    yield file, machine_code._machine().emit_object(llvm.parse_assembly(IR))
    array = numba.typeof(numpy.ones(3))
    file = kept._file(cache.name_of(activations.relu.loop.py_func), cache._name_types((array,) * 2), ".nbc")
    yield file, pickle.dumps(Exit())


def plant(folder, file, code):
    folder.mkdir()
    (folder / file).write_bytes(kept._digest(file, code) + code)


def start(folder):
    """Return the exit status and the output of a process that uses both kinds of code."""
    code = """
import numpy, xpnet
xp = xpnet.backend("numba")
xp.nn.relu(numpy.ones(3))
print(*xp.advice(), sep="\\n")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("kind", [0, 1], ids=["object code", "kernel"])
def test_code_planted_in_a_folder_of_ours_would_be_run(kind, tmp_path):
    plant(tmp_path / "xpnet_numba", *list(planted())[kind])
    assert start(tmp_path)[0] == RAN


@needs_root
@pytest.mark.parametrize("kind", [0, 1], ids=["object code", "kernel"])
def test_code_planted_by_another_user_is_not_run(kind, public):
    public.chmod(0o1777)
    file, code = list(planted())[kind]
    with as_nobody():
        plant(public / "xpnet_numba", file, code)
    status, output = start(public)
    assert status == 0, output
    assert f"{public}/xpnet_numba is not used, because {public}/xpnet_numba belongs to another user" in output
    assert [path.name for path in (public / "xpnet_numba").iterdir()] == [file]


@needs_root
def test_command_backends_does_not_run_planted_code(public):
    public.chmod(0o777)
    plant(public / "xpnet_numba", *next(planted()))
    done = subprocess.run(
        [sys.executable, "-m", "xpnet", "backends"],
        env={**os.environ, "NUMBA_CACHE_DIR": str(public)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert f"others can write {public}" in " ".join(done.stdout.split())


@needs_root
def test_another_user_trusts_the_superuser_and_themselves_only(public):
    ours, theirs, third = public / "ours", public / "theirs", public / "third"
    for folder, user in ((ours, 0), (theirs, NOBODY), (third, NOBODY - 1)):
        folder.mkdir(mode=0o755)
        (folder / "file").write_bytes(b"code")
        for path in (folder, folder / "file"):
            os.chown(path, user, user)
    with as_nobody():
        assert not trusted.why_not(ours)
        assert not trusted.why_not(theirs)
        assert trusted.read(ours / "file") == trusted.read(theirs / "file") == b"code"
        assert trusted.why_not(third) == f"{third} belongs to another user"
        with pytest.raises(PermissionError, match="belongs to another user"):
            trusted.read(third / "file")
    with pytest.raises(PermissionError, match="belongs to another user"):
        trusted.read(theirs / "file")


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o1777])
def test_folder_that_others_can_write_is_not_used(mode, tmp_path):
    (tmp_path / "file").write_bytes(b"code")
    tmp_path.chmod(mode)
    assert trusted.why_not(tmp_path) == f"others can write {tmp_path}"
    with pytest.raises(PermissionError, match="others can write"):
        trusted.read(tmp_path / "file")
    with pytest.raises(PermissionError, match="others can write"):
        trusted.write(tmp_path / "other", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("mode", "safe"), [(0o775, False), (0o777, False), (0o1777, True), (0o755, True)])
def test_no_folder_on_the_way_can_be_replaced_by_others(mode, safe, tmp_path):
    outer = tmp_path / "outer"
    (outer / "inner/last").mkdir(parents=True)
    (tmp_path / "link").symlink_to("outer/inner")
    outer.chmod(mode)
    for folder in (
        outer / "inner/last",
        tmp_path / "link/last",
        outer / "inner/../inner/last",
        outer / "new",
    ):
        assert trusted.why_not(folder) == ("" if safe else f"others can write {outer}")


@needs_root
def test_link_of_another_user_is_not_followed(public):
    (public / "real/last").mkdir(parents=True)
    (public / "link").symlink_to("real")
    assert not trusted.why_not(public / "link/last")
    os.chown(public / "link", NOBODY, NOBODY, follow_symlinks=False)
    assert trusted.why_not(public / "link/last") == f"{public}/link belongs to another user"


@pytest.mark.parametrize("kind", ["file", "link", "loop", "loop on the way", "FIFO", "relative"])
def test_what_is_no_folder_of_its_own_is_not_used(kind, tmp_path):
    path = tmp_path / "folder"
    make = {"file": Path.touch, "link": lambda p: p.symlink_to(tmp_path), "FIFO": os.mkfifo}
    make.get(kind, lambda p: p.symlink_to(p))(path)
    if kind == "loop on the way":
        path /= "last"
    assert trusted.why_not(Path("folder") if kind == "relative" else path)
    with pytest.raises(OSError, match="Errno"):
        trusted.read(path / "file")


@pytest.mark.parametrize("kind", ["link", "loop", "FIFO", "folder", "others can write", "missing"])
def test_what_is_no_file_of_its_own_is_not_read(kind, tmp_path):
    path, target = tmp_path / "file", tmp_path / "target"
    target.write_bytes(b"code")
    make = {
        "link": lambda p: p.symlink_to(target),
        "loop": lambda p: p.symlink_to(p),
        "FIFO": os.mkfifo,
        "folder": Path.mkdir,
        "others can write": lambda p: (p.write_bytes(b"code"), p.chmod(0o602)),
    }
    make.get(kind, lambda p: None)(path)
    with pytest.raises(OSError, match="Errno"):
        trusted.read(path)


@pytest.mark.parametrize("kind", ["link", "loop", "FIFO", "file of others"])
def test_writing_replaces_what_was_planted(kind, tmp_path):
    path, target = tmp_path / "file", tmp_path / "target"
    target.write_bytes(b"mine")
    make = {
        "link": lambda p: p.symlink_to(target),
        "loop": lambda p: p.symlink_to(p),
        "FIFO": os.mkfifo,
        "file of others": lambda p: (p.touch(), p.chmod(0o666)),
    }
    make[kind](path)
    trusted.write(path, b"code")
    assert trusted.read(path) == b"code"
    assert target.read_bytes() == b"mine"


def test_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="Errno"):
        trusted.write(tmp_path / "file", b"code")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_folders_and_files_are_for_this_user_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        trusted.make(tmp_path / "a/b/c")
        trusted.write(tmp_path / "a/b/c/file", b"code")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("a", "a/b", "a/b/c", "a/b/c/file")]
    assert modes == [0o700, 0o700, 0o700, 0o600]
    assert not trusted.why_not(tmp_path / "a/b/c")


@pytest.fixture
def looked_anew(monkeypatch):
    """Look for the places again at every use."""
    for name in ("folder", "_read_only"):
        monkeypatch.setattr(kept, name, getattr(kept, name).__wrapped__)
    monkeypatch.setattr(kept, "_failures", {})


@needs_root
@pytest.mark.usefixtures("looked_anew")
def test_cache_that_can_only_be_read_is_used(public, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(public))
    kept.write("mean", "float32", b"code")
    place = public / "xpnet_numba"
    place.chmod(0o555)
    for path in place.iterdir():
        path.chmod(0o444)
    monkeypatch.setattr(kept, "_SOURCES", public / "none")
    (public / "users").mkdir()
    os.chown(public / "users", NOBODY, NOBODY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(public / "users"))
    kept._origin()
    with as_nobody():
        assert kept.readable() == [place, public / "users/xpnet_numba"]
        assert kept.read("mean", "float32") == b"code"
        kept.write("mean", "float64", b"other")
        assert kept.read("mean", "float64") == b"other"
        assert not kept.troubles()[1:]
    assert len(list((public / "users/xpnet_numba").iterdir())) == 1


@pytest.fixture
def full(tmp_path):
    """Give a folder on a disk on which nothing more fits."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a disk, where that is allowed at all")
    try:
        (folder / "xpnet_numba").mkdir(mode=0o700)
        with contextlib.suppress(OSError), open(folder / "filler", "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_is_named_by_the_advice_and_is_no_failure(full):
    status, output = start(full)
    assert status == 0, output
    assert f"{full}/xpnet_numba cannot be written: No space left on device" in output
    assert not any((full / "xpnet_numba").iterdir())


def test_numbas_own_cache_is_neither_read_nor_written(tmp_path):
    function = activations.relu.loop.py_func
    locator = caching.UserProvidedCacheLocator(function, function.__code__.co_filename)
    folder = tmp_path / Path(locator.get_cache_path()).name
    folder.mkdir()
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    index = folder / f"activations.relu_into-{locator.get_disambiguator()}.{python}.nbi"
    index.write_bytes(pickle.dumps(Exit()))
    status, output = start(tmp_path)
    assert status == 0, output
    assert [path.name for path in folder.iterdir()] == [index.name]
    assert all(isinstance(kernel._cache, cache.Cache) for kernel in compiled.KERNELS)


def test_where_users_have_no_numbers_files_are_kept(tmp_path, monkeypatch):
    for name in ("_HAS_OWNERS", "_BY_DESCRIPTOR"):
        monkeypatch.setattr(trusted, name, False)
    assert not trusted.why_not(tmp_path)
    trusted.write(tmp_path / "file", b"code")
    assert trusted.read(tmp_path / "file") == b"code"
    with pytest.raises(OSError, match="Errno"):
        trusted.read(tmp_path)
    assert trusted.why_not(tmp_path / "file") == "it is no folder"
