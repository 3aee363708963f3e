"""Which number of an epoch decides whether a training became better."""

from __future__ import annotations

import dataclasses

from xpnet.run import Epoch

_USUAL = "validation_loss", "test_loss", "train_loss"
# The direction follows from the name.
_LOWER, _HIGHER = ("loss",), ("accuracy",)


@dataclasses.dataclass(frozen=True)
class Monitor:
    """A number of the history by its name; None for the loss on the validation, test or training set.

    The first of them that the history has is meant. Of a loss, less is better; of an accuracy, more.
    """

    name: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None and self.name not in _names():
            raise ValueError(f"unknown `monitor` {self.name!r}: choose one of {', '.join(_names())}")

    def of(self, epoch: Epoch) -> float:
        """Return the number of an epoch.

        Raises
        ------
        ValueError
            If the epoch has no such number.
        """
        value = getattr(epoch, self._found(epoch), None)
        if value is None:
            known = [name for name in _names() if getattr(epoch, name, None) is not None]
            raise ValueError(
                f"`monitor` is {self.name!r}, but the history has only {', '.join(known)}; monitor one of "
                "these, or pass `fit` the data that it needs"
            )
        return float(value)

    def is_better(self, epoch: Epoch, best: float | None, *, min_delta: float = 0.0) -> bool:
        """Return whether an epoch is better than the best one so far by more than `min_delta`."""
        if best is None:
            return True
        gain = self.of(epoch) - best
        return (gain if self._found(epoch).endswith(_HIGHER) else -gain) > min_delta

    def _found(self, epoch: Epoch) -> str:
        return self.name or next(name for name in _USUAL if getattr(epoch, name, None) is not None)


def _names() -> list[str]:
    return [field.name for field in dataclasses.fields(Epoch) if field.name.endswith((*_LOWER, *_HIGHER))]
