"""Files that replace others keep their mode and owner, and killed writers leave nothing."""

import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

from xpnet.files import check_writable, open_file, write_whole
from xpnet.partial import link, remove_stale

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes, owners and locks are POSIX's")
IS_ROOT = hasattr(os, "getuid") and os.getuid() == 0
FOREVER = """
import sys, time
from xpnet.partial import partial_file
with partial_file(sys.argv[1]) as partial:
    partial.write(b"half")
    print("written", flush=True)
    time.sleep(60)
"""


def parts(folder):
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]


@pytest.fixture
def writer(tmp_path):
    """Yield a process that is writing a file, and stop it at the end."""
    command = [sys.executable, "-c", FOREVER, str(tmp_path / "file")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"written\n"
        yield process
        process.kill()


@pytest.mark.parametrize("act", [check_writable, lambda path: write_whole(path, b"new")])
def test_leftovers_of_a_killed_writer_are_removed_by_the_next_one(tmp_path, writer, act):
    assert len(parts(tmp_path)) == 1
    act(tmp_path / "file")
    assert len(parts(tmp_path)) == 1, "it belonged to a process that writes"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    act(tmp_path / "other")
    assert len(parts(tmp_path)) == 1, "it belonged to another file"
    act(tmp_path / "file")
    assert parts(tmp_path) == []


def test_file_with_the_longest_name_is_written(tmp_path):
    write_whole(tmp_path / ("x" * 255), b"new")
    write_whole(tmp_path / ("x" * 255), b"newer")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"newer"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755, 0o2664])
def test_mode_of_a_replaced_file_is_kept(tmp_path, mode):
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    write_whole(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_mode_of_a_new_file_is_what_the_umask_leaves(tmp_path, umask):
    old = os.umask(umask)
    try:
        write_whole(tmp_path / "file", b"new")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


@pytest.mark.skipif(not IS_ROOT, reason="only a superuser gives files away")
def test_owner_and_group_of_a_replaced_file_are_kept(tmp_path):
    path = tmp_path / "file"
    path.touch(0o640)
    os.chown(path, 12345, 23456)
    write_whole(path, b"new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 23456, 0o640)


@pytest.mark.skipif(not IS_ROOT, reason="only a superuser can become another user")
def test_owner_that_cannot_be_kept_gives_no_one_access(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir(0o777)
    for parent in [folder, tmp_path, *tmp_path.parents[:2]]:
        parent.chmod(0o755 if parent != folder else 0o777)
    path = folder / "file"
    path.touch()
    path.chmod(0o6666)
    program = "import os, sys; from xpnet.files import write_whole; os.setgid(65534); os.setuid(65534); "
    call = "write_whole(sys.argv[1], b'new')"
    subprocess.run([sys.executable, "-c", program + call, path], check=True)
    assert path.stat().st_uid == 65534
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_symbolic_link_stays_one_and_a_hard_link_keeps_the_old_content(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "soft").symlink_to("file")
    os.link(tmp_path / "file", tmp_path / "hard")
    write_whole(tmp_path / "soft", b"new")
    assert (tmp_path / "soft").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "hard").read_bytes() == b"old"


def test_many_writers_of_one_file_leave_one_whole_file(tmp_path):
    path = tmp_path / "file"

    def write(digit):
        for _ in range(20):
            write_whole(path, digit * 100_000)

    threads = [threading.Thread(target=write, args=(bytes([48 + i]),)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = path.read_bytes()
    assert (len(found), len(set(found))) == (100_000, 1)
    assert list(tmp_path.iterdir()) == [path]


def test_open_file_is_written_to_where_it_stands(tmp_path):
    """As a shell opens `> file` and `>(command)`."""
    with (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(b"before, ")
        name = f"/dev/fd/{file.fileno()}"
        (tmp_path / "link").symlink_to(name)
        for path in (name, tmp_path / "link"):
            assert open_file(path) == file.fileno()
            check_writable(path)
            write_whole(path, b"new, ")
        file.write(b"after")
    assert (tmp_path / "file").read_bytes() == b"before, new, new, after"
    assert open_file(tmp_path / "file") is None


def test_open_file_that_cannot_be_written_is_known_beforehand(tmp_path):
    (tmp_path / "file").touch()
    with (tmp_path / "file").open("rb") as file, pytest.raises(OSError, match="Bad file descriptor; choose"):
        check_writable(f"/dev/fd/{file.fileno()}")
    with pytest.raises(OSError, match="Bad file descriptor; choose another place"):
        check_writable("/dev/fd/987")


def test_named_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        check_writable(tmp_path / "pipe")
        write_whole(tmp_path / "pipe", b"new")
        assert reader.stdout.read() == b"new"
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


# A separate process forks the ones that are killed, because starting Python each time is far slower.
KILLING = """
import os, random, signal, sys, time
import xpnet
path, kills = sys.argv[1], 100
xp = xpnet.backend("numpy")
model = xpnet.mlp(784, 256, 10)
scaling = xpnet.batches.Scaling()
loss = "softmax_cross_entropy"
runs = [xpnet.Run(xp, model, model.init(xp, seed), loss, scaling, str(seed)) for seed in (0, 1)]
runs[0].save(path)
rng = random.Random(138)
seen, left = set(), False
for _ in range(kills):
    child = os.fork()
    if child == 0:
        try:
            while True:
                for run in runs:
                    run.save(path)
        finally:
            os._exit(1)
    time.sleep(rng.uniform(0.0, 0.02))
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    seen.add(xpnet.load(path, xp).initial_sha256)
    left = left or len(os.listdir(os.path.dirname(path))) > 1
runs[0].save(path)
print(kills, sorted(seen), left, os.listdir(os.path.dirname(path)))
"""


def test_hundred_kills_while_saving_lose_nothing(tmp_path):
    command = [sys.executable, "-c", KILLING, str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "100 ['0', '1'] True ['model']\n", done.stderr


def test_synced_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace

    def synced(number):
        done.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
        fsync(number)

    def moved(*paths):
        done.append("name")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved)
    write_whole(tmp_path / "file", b"new", sync=True)
    assert done == ["file", "name", "folder"]
    assert (tmp_path / "file").read_bytes() == b"new"


def test_link_replaces_a_file_and_leaves_nothing(tmp_path):
    source, target = str(tmp_path / "source"), str(tmp_path / "target")
    write_whole(source, b"new")
    write_whole(target, b"old")
    for _ in range(2):  # The second time, both are the same file.
        link(source, target)
        assert (tmp_path / "target").read_bytes() == b"new"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_stale_files_of_all_targets_are_removed_but_not_those_in_use(tmp_path, writer):
    (tmp_path / f".{'0' * 16}-{'1' * 16}.part").write_bytes(b"half")
    (tmp_path / ".mine.part").write_bytes(b"kept")
    in_use = [name for name in parts(tmp_path) if name not in (".mine.part", f".{'0' * 16}-{'1' * 16}.part")]
    remove_stale(str(tmp_path))
    assert sorted(parts(tmp_path)) == sorted([".mine.part", *in_use])
