"""The command line: its commands, exit statuses and one-line errors."""

from __future__ import annotations

import io
import pathlib
import sys
import traceback

import click

import xpnet
from xpnet.cli.backends import backends
from xpnet.cli.draw import draw
from xpnet.cli.export import export
from xpnet.cli.installed import installed_commands
from xpnet.cli.interruption import Interruption, listen
from xpnet.cli.lesson import lesson
from xpnet.cli.models import evaluate, predict
from xpnet.cli.outputs import ElsewhereError, RescuedError
from xpnet.cli.ranks import is_silent, joined, silenced
from xpnet.cli.train import train
from xpnet.errors import MOST_CHARACTERS, shortened


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


for name, command in installed_commands():
    app.add_command(command, name)
# Last, so that no package replaces one of them.
for command in (train, evaluate, predict, draw, export, backends, lesson):
    app.add_command(command)


# What the package, its backends and the system raise on purpose; anything else is a bug.
_ON_PURPOSE = RuntimeError, ValueError, TypeError, ArithmeticError, ImportError, OSError, MemoryError


_MOST_CHARACTERS = MOST_CHARACTERS - len("xpnet: ")


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 bad usage, 128 + the number of a signal.

    Of several processes that train together, the first one says what failed, and its status counts.
    """
    listen()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Paths and names may have characters that the terminal cannot show.
        sys.stdout.reconfigure(errors="backslashreplace")
    with silenced():
        status = _run()
    sys.exit(0 if is_silent() else status)


def _run() -> int | None:
    """Run the command line and return its status; an error is one line."""
    try:
        with joined() as ranks:
            status: int | None = app.main(prog_name="xpnet", standalone_mode=False, obj=ranks)
    except RescuedError as e:
        status = _fail(_without_capital(e.format_message()), e.exit_code, whole=True)
    except click.ClickException as e:
        status = _fail(_without_capital(e.format_message()), e.exit_code)
    except Interruption as e:
        status = _fail(str(e), e.status, whole=True)
    except ElsewhereError as e:
        status = _fail(str(e), 1, whole=True)
    except xpnet.UnknownBackendError as e:
        status = _fail(str(e), 2)
    except Exception as e:
        if sys.flags.dev_mode:
            traceback.print_exc()
        status = _fail(_what_failed(e), 1)
    return status


def _what_failed(error: Exception) -> str:
    """Return the text of `error`, with its type and place if it has no text or was not raised on purpose."""
    text = str(error)
    if isinstance(error, MemoryError) and not isinstance(error, xpnet.DeviceMemoryError):
        found = f" ({text})" if text else ""
        return f"out of memory{found}; take fewer images, smaller batches or a smaller model"
    if isinstance(error, _ON_PURPOSE) and text.strip():
        return text
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__}{': ' if text else ''}{text} "
        f"(line {place.lineno} of {str(pathlib.Path(place.filename))!r}): this is a bug; "
        "report it with the traceback, which `python -X dev -m xpnet` prints"
    )


def _without_capital(message: str) -> str:
    """Return a message from Click with its first word in lower case, unless that is a name such as NumPy."""
    word = message.split(maxsplit=1)[0] if message.strip() else ""
    return message[:1].lower() + message[1:] if word[1:].islower() or len(word) == 1 else message


def _fail(message: str, status: int, *, whole: bool = False) -> int:
    # On one line; spaces within a line are kept, because a path may have several.
    text = " ".join(line.strip() for line in message.splitlines() if line.strip())
    if not text.endswith("..."):
        text = text.removesuffix(".")
    click.echo(f"xpnet: {text if whole else shortened(text, _MOST_CHARACTERS)}", err=True)
    return status
