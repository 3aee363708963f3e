"""The errors of the benchmark that a caller may want to catch."""


class UnusableError(RuntimeError):
    """A competitor cannot run here; the message says why and what to do."""


class DivergedError(RuntimeError):
    """A competitor's outputs are not finite, so its times say little.

    Parameters
    ----------
    name : str
        The competitor, for the message.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the outputs of {name!r} are not finite after the last epoch, so its times say little; choose a "
            "smaller `--lr`"
        )


class DishonestError(RuntimeError):
    """A competitor's time does not cover the work: it trained less, or its device was still busy."""
