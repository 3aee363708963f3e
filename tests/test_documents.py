"""The documents' programs are run unchanged, and their commands are parsed unchanged."""

import importlib.metadata
import itertools
import pathlib
import re
import shlex
import subprocess
import sys
import tokenize
import tomllib

import blocks
import click
import pytest

from xpnet.cli.app import app
from xpnet.cli.lesson import _command as lesson_command
from xpnet.lessons import find_lesson

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "backends/README.md",
    "benchmarks/README.md",
    "xpnet/lessons/README.md",
]
# Those of the site assume that the environment is activated.
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md"))


def programs(path):
    page = (ROOT / path).read_text(encoding="utf-8")
    return [code for _, language, code in blocks.blocks(page) if language == "python"]


def run(code, folder, *args):
    done = subprocess.run(
        [sys.executable, *args, "-c", code], capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_opening_program_prints_the_accuracy_it_names(tmp_path, monkeypatch):
    monkeypatch.setenv("XPNET_BACKEND", "numpy")
    (program,) = programs("README.md")
    promised = float(re.search(r"test_accuracy\) +# ([\d.]+)", program).group(1))
    *lines, accuracy = run(program, tmp_path).splitlines()
    assert [line.split("   ")[0] for line in lines] == [f"epoch {i}/9" for i in range(1, 10)]
    assert float(accuracy) == pytest.approx(promised, abs=5e-4)
    assert (tmp_path / "mnist.safetensors").exists()


def test_written_out_training_step_learns(tmp_path, monkeypatch):
    monkeypatch.setenv("XPNET_BACKEND", "numpy")
    assert float(run(programs("docs/how-to/training-step.md")[0], tmp_path)) < 0.35


def test_program_of_ones_own_data_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setenv("XPNET_BACKEND", "numba")
    program = programs("docs/how-to/own-data.md")[0]
    first, second = run(program, tmp_path), run(program, tmp_path)
    assert "epoch 40/40" in first
    assert "epoch 40/40" not in second
    assert second.splitlines()[-1] == first.splitlines()[-1]
    assert first.splitlines()[-1].startswith("['")


def test_readme_has_at_most_150_lines():
    assert len(README.splitlines()) <= 150


def fenced(page, language):
    return re.search(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE).group(1)


def test_backend_of_the_page_on_backends_trains(tmp_path):
    page = (ROOT / "backends" / "README.md").read_text(encoding="utf-8")
    code, project = fenced(page, "python"), tomllib.loads(fenced(page, "toml"))
    name, version = project["project"]["name"], project["project"]["version"]
    # `hatchling` looks for a package of the project's name.
    package = tmp_path / name.replace("-", "_")
    assert code.startswith(f"# {package.name}/__init__.py\n")
    package.mkdir()
    (package / "__init__.py").write_text(code)
    info = tmp_path / f"{package.name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = project["project"]["entry-points"]["xpnet.backends"]
    entries = "".join(f"{key} = {value}\n" for key, value in points.items())
    (info / "entry_points.txt").write_text(f"[xpnet.backends]\n{entries}")
    (backend,) = points
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        f"sys.argv = ['xpnet', 'train', '--backend', {backend!r}, '--limit', '500', '--epochs', '1']\n"
        "import runpy; runpy.run_module('xpnet', run_name='__main__')"
    )
    assert run(program, tmp_path).startswith("strict on ")


def test_project_of_the_page_on_backends_can_be_built_and_brings_what_it_imports():
    project = tomllib.loads(fenced((ROOT / "backends" / "README.md").read_text(encoding="utf-8"), "toml"))
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["build-system"]["build-backend"] == ours["build-system"]["build-backend"]
    assert [re.match(r"[\w-]+", name).group() for name in project["project"]["dependencies"]] == [
        "xpnet",
        "array-api-strict",
    ]


def commands(path):
    """Yield each command in a document, as a list of words after any `NAME=value` and ``mpiexec -n N``."""
    for _, language, code in blocks.blocks((ROOT / path).read_text(encoding="utf-8")):
        for line in blocks.commands(code) if language == "bash" else ():
            words = shlex.split(re.sub(r"[$>]\(\w.*?\)", "folder", line), comments=True)
            for is_end, group in itertools.groupby(words, lambda word: word in ("&&", "|")):
                if not is_end:
                    found = list(itertools.dropwhile(lambda word: re.match(r"[A-Z_]+=", word), group))
                    yield found[3:] if found[:2] == ["mpiexec", "-n"] else found


COMMANDS = [(path, command) for path in (*DOCUMENTS, *PAGES) for command in commands(path)]
NAMES_OF_PROGRAMS = {"mpiexec", "python", "python3", "pip", "pytest", "ruff", "mypy", "mkdocs", "xpnet"}


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=lambda value: str(value))
def test_command_of_a_document_begins_with_an_existing_program(path, command):
    folder, _, name = command[0].rpartition("/")
    if path in PAGES:
        assert not folder
        assert name in {*NAMES_OF_PROGRAMS, "."}
    elif command[0] != "python3":
        assert folder == ".venv/bin" or (ROOT / command[0]).exists()
        assert folder != ".venv/bin" or name in NAMES_OF_PROGRAMS


@pytest.mark.parametrize(
    ("path", "command"), [c for c in COMMANDS if c[1][0].endswith("xpnet")], ids=lambda value: str(value)
)
def test_command_xpnet_of_a_document_is_understood(path, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    name, *arguments = command[1:]
    parser = app.commands[name]
    if name == "lesson" and arguments:
        name, *arguments = arguments
        parser = lesson_command(name, find_lesson(name))
    assert status_of(parser, name, arguments) == 0


def status_of(parser, name, arguments):
    """Return 0 if arguments are understood; some, as `--source` of a lesson, print and exit."""
    try:
        # Click keeps the help option that it makes first, whose names `app` says.
        parser.make_context(name, arguments, parent=click.Context(app, **app.context_settings))
    except click.exceptions.Exit as e:
        return e.exit_code
    return 0


@pytest.mark.parametrize("path", [*DOCUMENTS, *PAGES])
def test_extras_that_a_document_installs_exist(path):
    extras = importlib.metadata.metadata("xpnet").get_all("Provides-Extra")
    for found in re.findall(r"pip install[^`\n]*'(?:\.|xpnet)\[([\w,]+)\]'", (ROOT / path).read_text()):
        assert set(found.split(",")) <= set(extras)


@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_document_installs_with_the_environments_own_pip(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.findall(r"(?<!\.venv/bin/)pip install", text) == []


@pytest.mark.parametrize("path", [*DOCUMENTS, *PAGES])
def test_link_of_a_document_leads_to_a_file_of_the_repository(path):
    text = re.sub(
        r"^```.*?^```", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    links = re.findall(r"\]\((?!\w+:|#)([^()\s#]+)[)#]", text)
    assert [link for link in links if not (ROOT / path).parent.joinpath(link).exists()] == []


def test_readme_has_one_test_command_which_the_whole_check_runs():
    pattern = re.search(r"sed -n 's/(.*?)/\\1/p' README.md", (ROOT / ".ci" / "run").read_text()).group(1)
    pattern = pattern.replace("\\(", "(").replace("\\)", ")")
    assert len(re.findall(pattern, README, re.MULTILINE)) == 1


@pytest.mark.parametrize(
    "path", ["README.md", "docs/start/learn.md", "xpnet/lessons/README.md", "benchmarks/README.md"]
)
def test_a_document_that_speaks_of_the_course_names_it_and_its_author(path):
    text = " ".join((ROOT / path).read_text(encoding="utf-8").split())
    assert '"Neural Network from Scratch" by Subash Gandyer' in text


PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
FUNCTIONS_OF = {"SiLU": "silu", "AdamW": "adamw_step"}
NAMES = sorted(set(re.findall(r"`([^`\n]+)`", PAGE)))
SOURCES = [path for folder in ("xpnet", "backends") for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("path", [name for name in NAMES if re.fullmatch(r"[\w/]+/(\w+\.\w+)?", name)])
def test_file_that_the_page_on_architecture_names_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", [name for name in NAMES if re.fullmatch(r"[A-Z]\w+", name)])
def test_class_that_the_page_on_architecture_names_exists(name):
    assert any(re.search(rf"^class {name}\b", path.read_text("utf-8"), re.MULTILINE) for path in SOURCES)


def test_page_on_architecture_is_one_screen():
    assert len(PAGE.splitlines()) <= 60


def files_that_use(names):
    """Return the files of `xpnet` whose code has one of these names, as a name or a string."""
    spelled = {form for name in names for form in (name, f'"{name}"')}
    for path in (ROOT / "xpnet").rglob("*.py"):
        if path.relative_to(ROOT).parts[1] not in {"cli", "lessons"}:
            with path.open("rb") as file:
                if spelled & {token.string for token in tokenize.tokenize(file.readline)}:
                    yield path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    ("example", "count", "files"),
    re.findall(r"^\| an? \w+, such as `(\w+)` \| (\d) \| (.*) \|$", PAGE, re.MULTILINE),
)
def test_page_on_architecture_lists_every_file_that_an_addition_touches(example, count, files):
    listed = re.findall(r"`([\w/.]+)`", files)
    assert len(listed) == int(count)
    assert sorted(listed) == sorted(files_that_use([example, FUNCTIONS_OF.get(example, example)]))
