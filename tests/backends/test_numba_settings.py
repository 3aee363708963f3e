"""The backend `numba` with environment variables that change what Numba compiles, each in its own process."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba")

# Batches of 8 of 90 pixels: in the third step the compiled one would be used.
TRAINING = """
import numpy, xpnet
xp = xpnet.backend("numba")
rng = numpy.random.Generator(numpy.random.Philox(7))
data = xpnet.Dataset(rng.integers(0, 256, (64, 90)).astype("uint8"), numpy.arange(64) % 3)
model = xpnet.mlp(90, 5, 3)
run = xpnet.fit(xp, model, data, optimizer=xpnet.Momentum(0.5), epochs=2, batch_size=8, progress=False)
print(round(run.history[-1].train_loss, 4))
"""
REPORT = """
import numpy, xpnet
xp = xpnet.backend("numba")
step = xp.compile(lambda xp, z: (xp.nn.relu(z),))
print(step.report)
for _ in range(4):
    assert step(xp, numpy.asarray([-1.0, 2.0], "float32"))[0].tolist() == [0.0, 2.0]
assert not step.programs
print(*xp.fused)
print(*xp.advice(), sep="\\n")
"""
OUT_OF_RANGE = """
import numpy, xpnet
xp = xpnet.backend("numba")
images, indices = numpy.zeros((4, 3), "uint8"), numpy.asarray([0, 4], "int32")
try:
    xp.nn.gather_batch(images, indices, scale=1.0, offset=0.0, dtype=numpy.float32)
except IndexError:
    print("IndexError")
else:
    print("unchecked")
"""


def run(code, **environment):
    """Return what Python code prints in a process with no other settings of Numba's."""
    others = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env={**others, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "name", ["NUMBA_BOUNDSCHECK", "NUMBA_DISABLE_JIT", "NUMBA_DEBUGINFO", "NUMBA_ENABLE_PROFILING"]
)
def test_setting_under_which_no_step_compiles_is_the_reason_and_training_works(name):
    report, fused, *advice = run(REPORT, **{name: "1"}).splitlines()
    assert report.startswith(f"{name} is set")
    assert report == advice[-1]
    assert ("gather_batch" in fused) is (name != "NUMBA_DISABLE_JIT")
    assert run(TRAINING, **{name: "1"}) == run(TRAINING.replace('"numba"', '"numpy"'))


def test_setting_of_zero_leaves_steps_compiled():
    report, *_ = run(
        "import xpnet\nprint(repr(xpnet.backend('numba').compile(abs).report))", NUMBA_BOUNDSCHECK="0"
    )
    assert report == "'"


def test_code_with_and_without_checks_is_not_mixed_on_disk(tmp_path):
    folder = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert run(OUT_OF_RANGE, NUMBA_BOUNDSCHECK="1", **folder) == "IndexError"
    assert run(OUT_OF_RANGE, **folder) == "unchecked"
    assert run(OUT_OF_RANGE, NUMBA_BOUNDSCHECK="1", **folder) == "IndexError"


def test_advice_names_the_settings_for_which_kernels_are_not_kept(tmp_path):
    code = "import xpnet\nxp = xpnet.backend('numba')\nprint(len(xp.fused), *xp.advice(), sep='\\n')"
    found = run(code, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_OPT="2", NUMBA_THREADING_LAYER="workqueue")
    count = found.split()[0]
    assert f"cache: none of {count} kernels of xp.nn, because NUMBA_OPT may change their code" in found


@pytest.mark.parametrize("number", ["0", "-2"])
def test_number_of_threads_that_numba_refuses_is_the_cause_in_one_row(number):
    code = """
import xpnet
try:
    xpnet.backend("numba")
except xpnet.BackendUnavailableError as e:
    print(e)
found = {info.name: info for info in xpnet.backends()}
print(found["numba"].reason)
print(found["numpy"].usable)
"""
    error, reason, usable = run(code, NUMBA_NUM_THREADS=number).splitlines()
    assert f"NUMBA_NUM_THREADS is '{number}'" in error
    assert "unset it" in error
    assert (reason, usable) == (error, "True")


def test_only_settings_that_change_code_are_told_apart(monkeypatch):
    from xpnet_numba import settings

    for key in [key for key in os.environ if key.startswith("NUMBA_")]:
        monkeypatch.delenv(key)
    for key in (
        "CACHE_DIR",
        "NUM_THREADS",
        "THREADING_LAYER",
        "CUDA_DRIVER",
        "FULL_TRACEBACKS",
        "OPT",
        "BOUNDSCHECK",
    ):
        monkeypatch.setenv(f"NUMBA_{key}", "1")
    assert settings.of_code() == {"NUMBA_OPT": "1", "NUMBA_BOUNDSCHECK": "1"}
