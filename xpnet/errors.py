"""Errors that a caller may want to catch; any other bad input is a `ValueError` or a `TypeError`."""

from collections.abc import Iterable

MOST_CHARACTERS = 300
"""Most characters of an error that quotes a file; three dots replace what is left out."""
_FLOORS = 40, 8  # characters that a quote keeps in the first and second round of shortening


def shortened(text: object, most: int = MOST_CHARACTERS) -> str:
    """Return `text` on one line of at most `most` characters, shortened in the middle if necessary."""
    found = str(text)
    if len(found) > most:
        end = (most - 3) // 2
        found = f"{found[: most - 3 - end]}...{found[len(found) - end :]}"
    return "".join(c if c.isprintable() else " " for c in found)


def fitted(template: str, **quotes: object) -> str:
    """Return `template` with its fields filled in, on one line of at most `MOST_CHARACTERS`.

    Parameters
    ----------
    **quotes : object
        Values of the fields. The first is shortened first.
    """
    texts = {name: str(quote) for name, quote in quotes.items()}
    for floor in _FLOORS:
        for name, text in texts.items():
            surplus = len(template.format(**texts)) - MOST_CHARACTERS
            if surplus > 0:
                texts[name] = shortened(text, max(floor, len(text) - surplus))
    return shortened(template.format(**texts))


class UnknownBackendError(ValueError):
    """No installed package provides a backend of this name."""

    def __init__(self, name: str, choices: Iterable[str]) -> None:
        super().__init__(name, tuple(choices))
        self.name = name
        self.choices = tuple(choices)

    def __str__(self) -> str:
        if not self.choices:
            return (
                f"unknown backend {self.name!r}: none is registered; "
                "install xpnet first, for example with `pip install -e .`"
            )
        return f"unknown backend {self.name!r}: choose one of {', '.join(self.choices)}"


class BackendUnavailableError(RuntimeError):
    """A backend is installed, but cannot be used here.

    Attributes
    ----------
    name : str
        The backend that was asked for.
    cause : str
        What was found, as a clause that follows the backend's name.
    remedy : str
        What to do about it.
    """

    def __init__(self, name: str, cause: str, remedy: str) -> None:
        super().__init__(name, cause, remedy)
        self.name = name
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"backend {self.name!r} {self.cause}; {self.remedy}"


class TrainingDivergedError(ArithmeticError):
    """A loss or a parameter is no longer finite.

    Like any exception that stops `fit`, it has an attribute `run`: the run after the last complete epoch.

    Attributes
    ----------
    epoch, step : int or None
        Where the first number was made that is not finite; the steps of an epoch count from 1.
    layer : str or None
        The number of the layer that made it, ``"2"`` or ``"2.0"`` in a model within the model.
    """

    epoch: int | None = None
    step: int | None = None
    layer: str | None = None


class DeviceMemoryError(MemoryError):
    """The arrays of a training or a measurement do not fit into the device's memory.

    Attributes
    ----------
    asked, free : int
        Bytes.
    batch_size : int
        The estimated largest that would fit; 0 if none would.
    """

    def __init__(self, device: str, asked: int, free: int, batch_size: int) -> None:
        super().__init__(device, asked, free, batch_size)
        self.device = device
        self.asked = asked
        self.free = free
        self.batch_size = batch_size

    def __str__(self) -> str:
        remedy = (
            f"a batch size of at most {self.batch_size} would fit"
            if self.batch_size
            else "not even one more image would fit: use a smaller model, fewer images or another device"
        )
        return (
            f"{self.device} is out of memory: {self.asked / 2**20:,.1f} MiB were asked for and "
            f"{self.free / 2**20:,.1f} MiB are free; {remedy}"
        )
