"""The errors that a caller may want to catch; every other bad input is a `ValueError` or a `TypeError`."""

from collections.abc import Iterable


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
    """The training loss stopped being a finite number."""
