"""Whether all competitors learned as much: nobody can win by doing less work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpnet_bench.errors import DishonestError

# All do the same work with different rounding; a larger difference means different work.
ACCURACY_POINTS = 1.0
# Of models that predict values, the difference of test losses, as a share.
LOSS_SHARE = 0.05


def check_accuracies(results: Sequence[dict[str, Any]], *, tests: int | None = None) -> None:
    """Raise unless all competitors that learn have learned as much as the first of them.

    Parameters
    ----------
    results : sequence of dict
    tests : int, optional
        The number of test examples. If they are few, one of them may be more than a point.

    Raises
    ------
    DishonestError
        If one is more than a point of test accuracy off or, where values are predicted, more than 5 % of the
        test loss.
    """
    learned = [r for r in results if r["accuracy"] is not None or r.get("loss") is not None]
    for result in learned[1:]:
        _check_learned(result, learned[0], tests)


def _check_learned(result: dict[str, Any], first: dict[str, Any], tests: int | None) -> None:
    if result["accuracy"] is None:
        gap = abs(result["loss"] - first["loss"])
        is_off, limit = gap > LOSS_SHARE * first["loss"], f"{LOSS_SHARE:.0%}"
        figures = f"a test loss of {result['loss']:.4g}", f"{first['loss']:.4g}"
    else:
        gap = abs(result["accuracy"] - first["accuracy"])
        is_off, limit = gap * 100 > ACCURACY_POINTS, f"{ACCURACY_POINTS:g} point"
        is_off = is_off and (tests is None or gap * tests > 1.5)
        figures = f"{result['accuracy']:.2%} of the test set", f"{first['accuracy']:.2%}"
    if is_off:
        raise DishonestError(
            f"{result['name']!r} reached {figures[0]} and {first['name']!r} {figures[1]}, more than {limit} "
            "apart: they did not do the same work; fix the one that is off"
        )
