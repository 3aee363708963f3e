"""The commands that other packages add to `xpnet`."""

import importlib.metadata

import pytest
from test_cli import run

HELLO = "import click\n@click.command()\ndef hello():\n    '''Say hello.'''\n    click.echo('hello')\n"


@pytest.fixture
def install(tmp_path):
    """Give a function that installs a package with a command, and returns where."""

    def install(source, name="hello"):
        (tmp_path / "hello_package.py").write_text(source)
        info = tmp_path / "hello_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hello-package\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[xpnet.commands]\n{name} = hello_package:hello\n")
        return {"PYTHONPATH": str(tmp_path)}

    return install


def test_bench_is_registered():
    registered = {entry.name for entry in importlib.metadata.entry_points(group="xpnet.commands")}
    assert "bench" in registered, "install the checkout: pip install -e '.[test]'"


def test_installed_command_is_listed_and_runs(install):
    where = install(HELLO)
    assert "hello     Say hello." in run("--help", **where)
    assert run("hello", **where) == "hello\n"


def test_command_that_cannot_be_loaded_says_why_and_leaves_the_others_alone(install):
    where = install("raise OSError('no libhello')")
    for args in ((), ("--help",), ("-x", "y")):
        assert run("hello", *args, status=1, **where) == (
            "xpnet: command 'hello' cannot be loaded: OSError: no libhello; reinstall hello_package\n"
        )
    assert "Train a multilayer perceptron or a convolutional network." in run("train", "--help", **where)


def test_installed_command_does_not_replace_one_of_xpnets(install):
    where = install(HELLO, name="backends")
    assert "Say hello." not in run("backends", "--help", **where)
