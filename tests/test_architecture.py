"""What files may import and write, checked on their syntax trees."""

import ast
import pathlib
import subprocess
import sys

import pytest

import xpnet

PACKAGE = pathlib.Path(xpnet.__file__).parent
PORTABLE = sorted(
    [*PACKAGE.glob("nn/*.py"), *(PACKAGE / f"{name}.py" for name in ("layers", "losses", "models", "optim"))]
)
LIBRARIES = {"cupy", "jax", "llvmlite", "numba", "tensorflow", "torch", "array_api_strict"}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_import_loads_no_heavy_library():
    heavy = "{'numba', 'cupy', 'rich', 'matplotlib', 'click'}"
    code = f"import sys, xpnet; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_xpnet_imports_no_backend_and_no_array_library(path):
    found = set(imported(ast.parse(path.read_text())))
    assert not found & LIBRARIES
    assert not [name for name in found if name.startswith("xpnet_")]


@pytest.mark.parametrize("path", PORTABLE, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_portable_code_imports_no_numpy_and_names_no_library(path):
    source = path.read_text()
    tree = ast.parse(source)
    assert "numpy" not in set(imported(tree))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names & (LIBRARIES | {"np", "numpy"})
    assert not {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} & LIBRARIES


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_matrix_products_do_not_use_the_operator(path):
    tree = ast.parse(path.read_text())
    products = [node.lineno for node in ast.walk(tree) if isinstance(getattr(node, "op", None), ast.MatMult)]
    # The few averages of a report are computed on the host by NumPy.
    assert not products or path.name == "metrics.py"
