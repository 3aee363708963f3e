"""Shared by the fuzzers: counters, limits, and damage to bytes and JSON."""

import collections
import contextlib
import copy
import dataclasses
import pathlib
import random
import resource
import time

from xpnet.errors import MOST_CHARACTERS

STATM = pathlib.Path("/proc/self/statm")
MOST_MEMORY = 1 << 30  # bytes of address space beyond what the process had
MOST_SECONDS = 20.0  # of processor time per input


@dataclasses.dataclass
class Tally:
    """Counts the inputs of one fuzzer.

    Attributes
    ----------
    refused : Counter
        Number of refused inputs, by class of error.
    """

    accepted: int = 0
    refused: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    @property
    def tried(self):
        return self.accepted + self.refused.total()

    def cells(self):
        """Return the numbers as cells of a table."""
        classes = ", ".join(f"{name} {n:,}" for name, n in sorted(self.refused.items()))
        return f"{self.tried:,}", f"{self.accepted:,}", f"{self.refused.total():,}", classes or "none"


class Fuzzer:
    """Makes random inputs until its time is over, and counts the outcomes.

    Parameters
    ----------
    seconds : float
    seed : int
    tally : Tally
    """

    def __init__(self, seconds, seed, tally):
        self.rng = random.Random(seed)
        self.tally = tally
        self._end = time.monotonic() + seconds

    def turns(self, *, least=20):
        """Yield numbers from 0 until the time is over, but at least this many."""
        turn = 0
        while turn < least or time.monotonic() < self._end:
            yield turn
            turn += 1

    @contextlib.contextmanager
    def trying(self, *kinds, note=None):
        """Return a context for one input: it may raise exactly one of these errors, in one short line."""
        began = time.process_time()
        try:
            yield
        except kinds as e:
            check_refusal(e, kinds, note)
            self.tally.refused[type(e).__name__] += 1
        else:
            self.tally.accepted += 1
        assert time.process_time() - began < MOST_SECONDS, note


def check_refusal(error, kinds, note):
    """Raise unless an error is exactly of one of these classes, with a message of one short line."""
    assert type(error) in kinds, (type(error), note)
    assert len(str(error)) <= MOST_CHARACTERS, (str(error), note)
    assert str(error).isprintable(), (str(error), note)


@contextlib.contextmanager
def bounded_memory():
    """Return a context in which the process may allocate at most `MOST_MEMORY` more."""
    if not STATM.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(STATM.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MOST_MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


TEXTS = ["x", "\x1b[31m", "\n", "\u2028", "\ud800", "0.weight", "Linear"]
NUMBERS = [0, 1, 2, 127, 128, 255, 256, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]


def damaged(rng, data):
    """Return the bytes with one to four faults."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        other = rng.randrange(len(data) + 1)
        match rng.randrange(8):
            case 0:
                data[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[min(place, other) : max(place, other)]
            case 2:
                data[place:place] = rng.randbytes(rng.randint(1, 9))
            case 3:
                data[place:place] = data[min(place, other) : max(place, other)][:1000]
            case 4:
                size = rng.choice([1, 2, 4, 8])
                order = rng.choice(["big", "little"])
                data[place : place + size] = (rng.choice(NUMBERS) % 256**size).to_bytes(size, order)
            case 5:
                del data[place:]
            case 6 if place < len(data):
                data[place] ^= 1 << rng.randrange(8)
            case _:
                data += rng.randbytes(rng.randint(1, 20))
    return bytes(data)


def odd_value(rng):
    """Return a random JSON value."""
    return rng.choice(
        [
            None,
            True,
            False,
            rng.choice(NUMBERS),
            -rng.choice(NUMBERS),
            10 ** rng.choice([20, 400, 4000]),
            rng.choice([0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf")]),
            "",
            rng.choice(["x", "\x1b[31m", "\n", "\u2028", "\ud800", "0.weight", "Linear"])
            * rng.choice([1, 50_000]),
            [],
            {},
            [rng.choice(NUMBERS)] * rng.choice([1, 3, 1000]),
            {"layer": "Sequential", "layers": [{"layer": rng.choice(["ReLU", "Dropout", "Sequential"])}]},
            nested(rng.choice([3, 99, 101, 300])),
        ]
    )


def nested(levels):
    value = {"layer": "ReLU"}
    for _ in range(levels):
        value = {"layer": "Sequential", "layers": [value]}
    return value


def altered(rng, value):
    """Return a copy of a JSON value with one to three parts changed or removed."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        holder, key = place_in(rng, value)
        if holder is None:
            return odd_value(rng)
        match rng.randrange(4):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(["x", "", "layer", "n" * 50_000])] = odd_value(rng)
            case _:
                holder[key] = odd_value(rng)
    return value


def place_in(rng, value):
    """Return a random container within a value, and a key or index; None twice for the value itself."""
    holder, key = None, None
    while isinstance(value, dict | list) and value and rng.random() < 0.8:
        holder, key = value, rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        value = holder[key]
    return holder, key
