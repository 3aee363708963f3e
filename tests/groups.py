"""Groups of processes for tests of one process, which show what is summed."""

import contextlib

import numpy as np


class Pretended:
    """A group whose ranks all have what this one has, so that a sum is a product with its size.

    Attributes
    ----------
    sums : list of tuple
        The shapes of what was summed.
    """

    rank = 0
    is_split = True
    holds_shares = False
    waited = 0.0

    def __init__(self, size=2):
        self.size = size
        self.sums = []

    def sum(self, x):
        assert type(x) is np.ndarray
        assert x.flags.carray
        assert x.dtype.isnative
        self.sums.append(x.shape)
        x *= self.size

    def gather(self, value):
        return [value] * self.size

    def broadcast(self, value):
        return value

    def together(self):
        return contextlib.nullcontext()

    def guarded(self):
        return contextlib.nullcontext()
