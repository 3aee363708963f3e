"""Which arrays share memory, by where they begin and end."""

import pytest

from xpnet.replay.overlap import are_apart


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
