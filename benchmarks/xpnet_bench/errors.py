"""The errors of the benchmark that a caller may want to catch."""


class UnusableError(RuntimeError):
    """A competitor cannot run here; the message says why and what to do."""


class DishonestError(RuntimeError):
    """A competitor's time does not cover the work: it trained less, or its device was still busy."""
