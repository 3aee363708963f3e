"""The command line as a whole: its commands, its exit status and its errors of one line."""

from __future__ import annotations

import signal
import sys

import click

import xpnet
from xpnet.cli.backends import backends
from xpnet.cli.bench import bench
from xpnet.cli.lesson import lesson
from xpnet.cli.models import evaluate, predict
from xpnet.cli.train import train


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(xpnet.__version__, package_name="xpnet", message="xpnet %(version)s")
@click.pass_context
def app(context: click.Context) -> None:
    """Train neural networks written once against the array API, on NumPy, Numba or CuPy.

    The backend is --backend, else the environment variable XPNET_BACKEND, else numpy.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (train, evaluate, predict, backends, lesson, bench):
    app.add_command(command)


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 bad usage, 130 interrupted."""
    # Click would print an empty line before it reports the interruption.
    signal.signal(signal.SIGINT, lambda *_: sys.exit(_fail("interrupted", 130)))
    try:
        status = app.main(prog_name="xpnet", standalone_mode=False)
    except click.ClickException as e:
        status = _fail(e.format_message(), e.exit_code)
    except xpnet.UnknownBackendError as e:
        status = _fail(str(e), 2)
    except (RuntimeError, ValueError, TypeError, ArithmeticError, ImportError, OSError, MemoryError) as e:
        status = _fail(str(e) or "out of memory; choose a smaller `--batch-size` or `--limit`", 1)
    sys.exit(status)


def _fail(message: str, status: int) -> int:
    text = " ".join(message.split()).removesuffix(".")
    click.echo(f"xpnet: {text[:1].lower()}{text[1:]}", err=True)
    return status
