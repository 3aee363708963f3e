"""Exceptions of one rank: of which a line says all."""

import pytest

import xpnet
from xpnet.distributed.errors import is_on_purpose


def _caught(function):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        function()
    return caught.value


def test_a_line_says_all_about_a_type_that_was_checked():
    error = _caught(lambda: xpnet.distributed.mpi("world"))
    assert str(error).startswith("`comm` must be")
    assert is_on_purpose(error)


def _called_with_backticks():
    raise TypeError("`x` must be a number")


@pytest.mark.parametrize("bug", [lambda: len(3), lambda: xpnet.mlp(3, 2, nothing=1), _called_with_backticks])
def test_the_type_error_of_a_bug_needs_its_traceback(bug):
    assert not is_on_purpose(_caught(bug))
