"""What `import xpnet` makes available, and what it costs."""

import ast
import inspect
import pathlib
import subprocess
import sys

import pytest

import xpnet
from xpnet.lessons import LESSONS

MODULES = {path.stem for path in pathlib.Path(xpnet.__file__).parent.glob("*.py")} - {"__init__", "__main__"}
PACKAGES = {"datasets", "lessons", "nn", "onnx", "plots", "sklearn"}


def python(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_is_an_attribute_after_import_xpnet():
    names = sorted(MODULES | PACKAGES)
    # The package has functions with the names of these modules.
    python(f"import xpnet\nfor name in {names}: assert hasattr(xpnet, name), name")


def test_every_lesson_is_an_attribute_after_import_xpnet():
    modules = [name.replace("-", "_") for name in LESSONS]
    python(f"import xpnet\nfor name in {modules}: assert callable(getattr(xpnet.lessons, name).run), name")


def test_a_lesson_runs_after_import_xpnet():
    program = "import xpnet; print(xpnet.lessons.neuron.run(xpnet.backend('numpy'))['output'])"
    assert python(program).splitlines()[-1] == "0.9990889488055994"


def test_import_xpnet_loads_neither_lessons_nor_plots_nor_the_commands():
    late = "lessons", "plots", "replay.replayed", "cli"
    heavy = "difflib", "email", "importlib.metadata", "matplotlib", "click", "onnx", "onnxruntime", "sklearn"
    late = *(f"xpnet.{name}" for name in late), *heavy
    assert python(f"import sys, xpnet; print([name for name in {late} if name in sys.modules])") == "[]\n"


def test_start_of_the_command_does_not_load_what_few_commands_need():
    late = *(f"xpnet.{name}" for name in ("draw", "handwriting", "onnx")), "matplotlib", "PIL", "onnx"
    program = f"import sys, xpnet.cli.app; print([name for name in {late} if name in sys.modules])"
    assert python(program) == "[]\n"


def test_dir_lists_lazily_loaded_names():
    assert {"lessons", "plots", "replay", "fit", "metrics"} <= set(dir(xpnet))
    assert {name.replace("-", "_") for name in LESSONS} | {"LESSONS", "find_lesson"} <= set(
        dir(xpnet.lessons)
    )


def test_everything_that_is_public_exists():
    for package in (xpnet, xpnet.lessons, xpnet.datasets, xpnet.nn):
        assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize("package", [xpnet, xpnet.lessons])
def test_unknown_attribute_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"^module '{package.__name__}' has no attribute 'nuron'$"):
        _ = package.nuron


@pytest.mark.parametrize(
    ("package", "late"), [(xpnet, set(xpnet._LATE)), (xpnet.lessons, {n.replace("-", "_") for n in LESSONS})]
)
def test_type_checkers_see_lazily_loaded_names(package, late):
    blocks = [node for node in ast.parse(inspect.getsource(package)).body if isinstance(node, ast.If)]
    shown = {
        alias.name
        for block in blocks
        if ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        for alias in node.names
    }
    assert shown == late
