"""What changed between two races of the same work."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xpnet.errors import fitted
from xpnet_bench.noise import ratio_interval
from xpnet_bench.results import aligned_rows, milliseconds, ratio, two_digits, work

FASTER, SLOWER, SAME = "faster", "slower", "within the noise"


def compared(before: Mapping[str, Any], after: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return how the times of two results files differ, as JSON.

    Parameters
    ----------
    before, after : mapping
        As `xpnet_bench.results.read` returns them.
    names : sequence of str
        What to call the two.

    Raises
    ------
    ValueError
        If they timed different work.
    """
    _check_same_work(before, after, names)
    old, new = ({r["name"]: r for r in found["results"]} for found in (before, after))
    return {
        "before": names[0],
        "after": names[1],
        "competitors": [_change(old[name], new[name]) for name in old if name in new],
        "only_before": [name for name in old if name not in new],
        "only_after": [name for name in new if name not in old],
        "conditions": [*_conditions(before, after, old, new)],
    }


def _check_same_work(before: Mapping[str, Any], after: Mapping[str, Any], names: Sequence[str]) -> None:
    one, other = work(dict(before)), work(dict(after))
    for what, value in one.items():
        if other[what] != value:
            shown = (v if isinstance(v, str | int | None) else json.dumps(v) for v in (value, other[what]))
            first, second = shown
            template = (
                "{a} and {b} timed different work: {what} {first} and {second}; compare races of the same "
                "network, data and settings"
            )
            raise ValueError(
                fitted(template, first=first, second=second, a=repr(names[0]), b=repr(names[1]), what=what)
            )


def _change(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    interval = ratio_interval(new["seconds"], old["seconds"])
    verdict = SAME
    if interval.confidence and interval.excludes_one:
        verdict = SLOWER if interval.low > 1 else FASTER
    return {
        "name": new["name"],
        "kind": new["kind"],
        "before": old["median"],
        "after": new["median"],
        "ratio": ratio(new["seconds"], old["seconds"]),
        "interval": [interval.low, interval.high],
        "confidence": interval.confidence,
        "verdict": verdict,
        "same_versions": old["versions"] == new["versions"],
    }


def _conditions(
    before: Mapping[str, Any], after: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield what else differs: the machine and the versions of those who took part in both."""
    pairs = [(before["machine"], after["machine"]), (before["versions"], after["versions"])]
    pairs += [(old[name]["versions"], new[name]["versions"]) for name in old if name in new]
    seen = set()
    for one, other in pairs:
        for what in dict.fromkeys((*one, *other)):
            values = one.get(what), other.get(what)
            if values[0] != values[1] and (what, values) not in seen:
                seen.add((what, values))
                yield {"what": what, "before": values[0], "after": values[1]}


def listing(found: Mapping[str, Any]) -> str:
    """Return a comparison as a table for a terminal, with what else differs."""
    rows = [["competitor", "before", "after", "ratio", "interval", "verdict"]]
    for c in found["competitors"]:
        low, high = map(two_digits, c["interval"])
        times = milliseconds(c["before"]), milliseconds(c["after"])
        rows.append([c["name"], *times, two_digits(c["ratio"]), f"{low} to {high}", c["verdict"]])
    lines = aligned_rows(rows) if found["competitors"] else ["no competitor took part in both races"]
    return "\n".join([*lines, "", *_notes(found)])


def _notes(found: Mapping[str, Any]) -> Iterator[str]:
    if found["competitors"]:
        least = min(c["confidence"] for c in found["competitors"])
        yield (
            f"before, after: median ms of {found['before']} and {found['after']}; interval of the ratio,\n"
            f"  {100 * least:.0f} % confidence, by ranks of all rounds; within the noise: it includes 1"
        )
    for key in ("before", "after"):
        if found[f"only_{key}"]:
            yield f"only in {found[key]}: {', '.join(found[f'only_{key}'])}"
    for c in found["conditions"]:
        yield f"differs: {c['what']}, {_shown(c['before'])} before and {_shown(c['after'])} after"
    fixed = [c["ratio"] for c in found["competitors"] if c["kind"] != "xpnet" and c["same_versions"]]
    if fixed:
        least, most = two_digits(min(fixed)), two_digits(max(fixed))
        span = least if least == most else f"{least} to {most}"
        yield (
            f"peers and limits of the same versions took {span} times as long;\n"
            "  the machine itself may have changed by that much"
        )


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
