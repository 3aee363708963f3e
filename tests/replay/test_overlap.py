"""Which arrays share memory, by where they begin and end."""

import numpy
import pytest

from xpnet.replay.overlap import are_apart, extent


@pytest.mark.parametrize(
    ("spans", "changed", "apart"),
    [
        ({0: (0, 4), 1: (4, 8)}, {0}, True),
        ({0: (0, 5), 1: (4, 8)}, {0}, False),
        ({0: (0, 5), 1: (4, 8)}, {1}, False),
        ({0: (0, 5), 1: (4, 8)}, set(), True),
        ({0: (0, 9), 1: (1, 2), 2: (5, 6)}, {2}, False),
        ({0: (0, 9), 1: (1, 2), 2: (9, 12)}, {2}, True),
        ({0: (4, 8), 1: (4, 4), 2: (6, 6)}, {0, 1}, True),
        ({0: (4, 8), 1: (4, 8)}, {1}, False),
    ],
)
def test_arrays_are_apart_by_where_they_begin_and_end(spans, changed, apart):
    assert are_apart(spans, changed) is apart


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (..., (0, 96)),
        (numpy.s_[::2], (0, 72)),
        (numpy.s_[::-1], (0, 96)),
        (numpy.s_[3:0:-2, 1:3], (28, 84)),
        (numpy.s_[:, 5], (20, 96)),
    ],
)
def test_extent_is_from_the_first_byte_to_the_last(index, expected):
    x = numpy.zeros((4, 6), numpy.float32)
    begin = x.ctypes.data
    assert extent(x[index]) == tuple(begin + i for i in expected)
    assert len({*extent(x[1:1])}) == len({*extent(x[::2, :0])}) == 1
    assert extent(numpy.broadcast_to(x[:1], (9, 6))) == (begin, begin + 24)
