"""Everything that errors, docstrings and help tell users to use exists."""

import ast
import importlib.metadata
import pathlib
import pkgutil
import re

import pytest

from xpnet.cli.app import app
from xpnet.cli.lesson import _command
from xpnet.lessons import LESSONS, find_lesson

ROOT = pathlib.Path(__file__).parents[1]
OURS = sorted((ROOT / "xpnet").rglob("*.py"))
SOURCES = OURS + [p for folder in ("backends", "benchmarks") for p in sorted((ROOT / folder).rglob("*.py"))]
WITH_OPTIONS = [*OURS, ROOT / "benchmarks" / "xpnet_bench" / "cli.py"]
# The commands that a module's texts are about; other modules' texts are about all of them.
COMMANDS = {
    "app": ["train", "evaluate", "predict", "lesson", "bench"],
    "backends": ["backends"],
    "cli": ["bench"],
    "doubts": ["train"],
    "draw": ["draw"],
    "export": ["export"],
    "fitting": ["train"],
    "idx": ["train", "evaluate", "predict"],
    "lesson": ["lesson"],
    "networks": ["train"],
    "optimizers": ["train"],
    "options": ["train", "evaluate", "predict"],
    "own_pictures": ["predict"],
    "ranks": ["train"],
    "resuming": ["train"],
    "serving": ["draw"],
    "table": ["train"],
    "tables": ["train"],
    "train": ["train"],
    "training_data": ["train"],
}


def texts(path):
    """Return the strings in a module; an f-string has `{}` in place of its values."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def options(name):
    commands = [app.commands[name]]
    if name == "lesson":
        commands = [_command(lesson, find_lesson(lesson)) for lesson in LESSONS]
    return {"--help"}.union(
        *({o for p in command.params for o in (*p.opts, *p.secondary_opts)} for command in commands)
    )


def commands(path):
    """Return the options of each command to which a text of this module may refer."""
    if path.stem == "models":  # one of two commands that share a few functions
        return [options("evaluate") | options("predict")]
    return [options(name) for name in COMMANDS.get(path.stem, app.commands)]


@pytest.mark.parametrize("path", WITH_OPTIONS, ids=lambda p: str(p.relative_to(ROOT)))
def test_texts_name_options_that_the_command_at_hand_has(path):
    for text in texts(path):
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]+", text):
            named = re.search(rf"xpnet (\w+) {option}", text)
            for known in [options(named.group(1))] if named else commands(path):
                assert option in known, text


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_texts_name_commands_extras_and_attributes_that_exist(path):
    extras = importlib.metadata.metadata("xpnet").get_all("Provides-Extra")
    for text in texts(path):
        for command in re.findall(r"`xpnet ([a-z]\w*)", text):
            assert command in app.commands, text
        for extra in re.findall(r"pip install [^`]*xpnet\[(\w+)\]", text):
            assert extra in extras, text
        for name in re.findall(r"`(xpnet\.[a-z][\w.]*\w)", text, re.IGNORECASE):
            assert pkgutil.resolve_name(name) is not None, text
        for name in re.findall(r"\bxp\.([a-z][\w.]*\w)", text):
            assert pkgutil.resolve_name(f"xpnet_numpy:xp.{name}") is not None, text


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_text_says_to_install_xpnet_from_an_index(path):
    for text in texts(path):
        assert not re.search(r"pip install [^`]*--force-reinstall[^`]*xpnet", text), text
