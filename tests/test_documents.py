"""The programs in the documents are run as they stand."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def run(code, folder, *args):
    done = subprocess.run(
        [sys.executable, *args, "-c", code], capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_opening_program_prints_the_accuracy_it_names(tmp_path, monkeypatch):
    monkeypatch.setenv("XPNET_BACKEND", "numpy")
    promised = float(re.search(r"test_accuracy\) +# ([\d.]+)", PROGRAMS[0]).group(1))
    assert float(run(PROGRAMS[0], tmp_path)) == pytest.approx(promised, abs=5e-4)
    assert (tmp_path / "mnist.safetensors").exists()


def test_written_out_training_step_learns(tmp_path, monkeypatch):
    monkeypatch.setenv("XPNET_BACKEND", "numpy")
    assert float(run(PROGRAMS[1], tmp_path)) < 0.35


def test_readme_has_these_two_programs():
    assert len(PROGRAMS) == 2


def test_backend_of_the_page_on_backends_trains(tmp_path):
    page = (ROOT / "backends" / "README.md").read_text(encoding="utf-8")
    code = re.search(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE).group(1)
    entry = re.search(
        r'^\[project\.entry-points\."xpnet\.backends"\]\n(.*?)^```', page, re.DOTALL | re.MULTILINE
    )
    (tmp_path / "xpnet_strict.py").write_text(code)
    info = tmp_path / "xpnet_strict-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: xpnet-strict\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[xpnet.backends]\n" + entry.group(1).replace('"', ""))
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "sys.argv = ['xpnet', 'train', '--backend', 'strict', '--limit', '500', '--epochs', '1']\n"
        "import runpy; runpy.run_module('xpnet', run_name='__main__')"
    )
    assert run(program, tmp_path).startswith("strict on ")
