"""The backend `numba` as a process meets it: its cache, its threads, its advice, its errors."""

import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

import xpnet

numba = pytest.importorskip("numba", reason="numba is not installed")

from xpnet_numba import advice, kept, team, xp  # noqa: E402
from xpnet_numba.kernels.compiled import KERNELS  # noqa: E402
from xpnet_numba.kernels.objects import ENTRIES  # noqa: E402

SOURCES = [Path(__file__).parents[2] / folder for folder in ("", "backends")]


def run(code, **environment):
    """Return what Python code prints in a process of its own."""
    path = os.pathsep.join(map(str, SOURCES))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


TRAINING = """
import hashlib, numpy
from xpnet_numba import xp
random = numpy.random.default_rng(0)
images = random.integers(0, 256, (512, 100)).astype(numpy.uint8)
labels = random.integers(0, 10, 512)
weight = random.normal(size=(100, 10)).astype(numpy.float32)
velocity = numpy.zeros_like(weight)
for step in range(4):
    indices = random.permutation(512)[:96]
    x = xp.nn.gather_batch(images, indices, scale=1 / 255, offset=0.0, dtype=xp.float32)
    z = numpy.einsum("bi,io->bo", x, weight)
    y = xp.nn.sigmoid(z)
    loss, dy = xp.nn.softmax_cross_entropy(y, labels[indices])
    dz = xp.nn.sigmoid_backward(y, dy)
    grad = numpy.einsum("bi,bo->io", x, dz)
    weight, velocity = xp.nn.momentum_step(weight, grad, velocity, 0.5, 0.9)
print(hashlib.sha256(weight.tobytes() + loss.tobytes()).hexdigest())
"""


def test_results_do_not_depend_on_the_number_of_threads():
    one, two = (run(TRAINING, NUMBA_NUM_THREADS=threads) for threads in "12")
    assert one == two


CACHE = """
import numpy
from xpnet_numba import xp
xp.nn.relu(numpy.ones(3))
from xpnet_numba.kernels import activations
stats = activations.relu.loop.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def test_compiled_kernels_are_kept_for_the_next_process(tmp_path):
    first, second = (run(CACHE, NUMBA_CACHE_DIR=str(tmp_path)).split() for _ in range(2))
    assert first == ["0", "1"]
    assert second == ["1", "0"]


ADVICE = """
from xpnet_numba import xp
xp.probe()
print(*xp.advice(), sep="\\n")
"""


@pytest.mark.parametrize("damage", [b"", b"cut", b"flipped", "loop", "folder"])
def test_damaged_kernel_is_compiled_anew(damage, tmp_path):
    assert run(CACHE, NUMBA_CACHE_DIR=str(tmp_path)).split() == ["0", "1"]
    (path,) = tmp_path.glob("xpnet_numba/activations.relu_loop-*.nbc")
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "loop":
        path.symlink_to(path)
    else:
        flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
        path.write_bytes({b"cut": whole[:-1], b"flipped": flipped}.get(damage, damage))
    assert run(CACHE, NUMBA_CACHE_DIR=str(tmp_path)).split() == ["0", "1"]
    again = ["0", "1"] if damage == "folder" else ["1", "0"]
    assert run(CACHE, NUMBA_CACHE_DIR=str(tmp_path)).split() == again


def test_advice_tells_of_threads_cache_and_svml(tmp_path):
    cold = run(ADVICE, NUMBA_CACHE_DIR=str(tmp_path)).splitlines()
    assert cold[0].startswith("BLAS: ")
    threads, entries, kernels, svml = cold[-4:]
    assert threads.startswith(f"threads: {team.THREADS} share a compiled step")
    assert entries.startswith(f"cache: cold, 1 of {len(ENTRIES)} operations of compiled steps in {tmp_path}")
    assert kernels.startswith(f"cache: cold, 0 of {len(KERNELS)} kernels of xp.nn in {tmp_path}")
    assert svml.startswith(f"SVML: {'in use' if numba.config.USING_SVML else 'not found'}, ")


def test_advice_counts_the_kernels_that_are_kept(tmp_path):
    run(TRAINING, NUMBA_CACHE_DIR=str(tmp_path))
    found = run(ADVICE, NUMBA_CACHE_DIR=str(tmp_path))
    assert f"cache: partly warm, 5 of {len(KERNELS)} kernels of xp.nn" in found


OPERATIONS = """
import numpy
from xpnet_numba import advice, machine_code
for name, dtype in (("mean", "float32"), ("mean", "float64"), ("add_rows", "float32")):
    machine_code.address(name, numpy.dtype(dtype))
print(advice.advice()[1])
"""


def test_advice_counts_the_operations_that_are_kept(tmp_path):
    found = run(OPERATIONS, NUMBA_CACHE_DIR=str(tmp_path))
    assert found.startswith(f"cache: partly warm, 2 of {len(ENTRIES)} operations")


def test_cache_of_every_operation_is_warm(monkeypatch):
    monkeypatch.setattr(kept, "read", lambda name, dtype: b"code")
    _, line, *_ = advice.advice()
    all_ = f"{len(ENTRIES)} of {len(ENTRIES)} operations of compiled steps"
    assert line == f"cache: warm, {all_} in {kept.folder()}"


def test_advice_names_the_remedy_where_nothing_can_be_kept(monkeypatch):
    monkeypatch.setattr(kept, "folder", lambda: None)
    for line in advice.advice()[1:3]:
        assert line.startswith("cache: none of ")
        assert "no folder can be written; name one in NUMBA_CACHE_DIR that is yours" in line
        assert "mode 0700" in line


def test_import_compiles_nothing_and_imports_no_numba():
    code = "import sys; from xpnet_numba import xp, program; print('numba' in sys.modules)"
    assert run(code).strip() == "False"
    code = "from xpnet_numba.kernels import activations; print(activations.relu.loop.signatures)"
    assert run(code).strip() == "[]"


FIRST_CALL = """
import sys, numpy
from xpnet_numba import xp
relu = xp.nn.relu
print(*relu(numpy.asarray([-1.0, 2.0])), "numba" in sys.modules)
from xpnet_numba.kernels import activations
print(xp.nn.relu is activations.relu, *relu(numpy.asarray([-1.0, 2.0])))
"""


def test_function_becomes_its_kernel_at_the_first_call():
    assert run(FIRST_CALL).splitlines() == ["0.0 2.0 True", "True 0.0 2.0"]


@pytest.mark.parametrize("asked", ["1", "3", "99", "-1", "many", None])
def test_number_of_threads_is_numbas(asked, monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    environment = {} if asked is None else {"NUMBA_NUM_THREADS": asked}
    code = "from xpnet_numba import team; print(team.THREADS)"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    expected = {"1": 1, "3": 3, "99": team.PARTS, "-1": 1}.get(asked, min(usable, team.PARTS))
    assert int(run(code, **environment)) == expected


def test_missing_numba_is_named_with_its_remedy():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import xpnet\n"
        "try: import xpnet_numba\n"
        "except xpnet.BackendUnavailableError as e: print(e)"
    )
    message = run(code)
    assert "backend 'numba' cannot be loaded: " in message
    assert "numba" in message.partition("loaded: ")[2]
    assert "install it with `pip install 'xpnet[numba]'`" in message


def test_probe_accepts_this_machine():
    assert xpnet.backend("numba") is xp
    assert xp.versions == {"numba": numba.__version__, "numpy": numpy.__version__}
