"""The order of the modules: each imports only those below it."""

import ast
import graphlib
import importlib.util
import pathlib

import xpnet

ROOT = pathlib.Path(xpnet.__file__).parent.parent


def module_name(path):
    parts = [*path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in (ROOT / "xpnet").rglob("*.py")}


def imported(path, name):
    """Yield the modules of `xpnet` that a module imports as it is imported itself."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            found = [f"{base}.{alias.name}" for alias in node.names]
            yield from (inner for inner in found if inner in MODULES)
            if base in MODULES and not all(inner in MODULES for inner in found):
                yield base


def test_no_module_imports_itself_through_others():
    graph = {name: {*imported(path, name)} - {name} for name, path in MODULES.items()}
    order = [*graphlib.TopologicalSorter(graph).static_order()]
    assert order.index("xpnet.nn") < order.index("xpnet.namespace") < order.index("xpnet.replay.tracing")
    assert order.index("xpnet.replay.tracing") < order.index("xpnet.train")
