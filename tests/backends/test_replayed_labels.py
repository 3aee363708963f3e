"""Labels that are no class, met by a compiled step: it does what the step does."""

import numpy
import pytest
from steps import assert_same


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint64"])
@pytest.mark.parametrize("bad", [-1, -5, 3, 100, 2**31 - 1, -(2**31), 2**63])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "squared_error"])
def test_label_that_is_no_class_counts_in_a_program_as_in_the_step(replaying, loss, bad, dtype):
    if not numpy.iinfo(dtype).min <= bad <= numpy.iinfo(dtype).max:
        pytest.skip(f"{dtype} has no {bad}")

    def step(xp, logits, labels):
        if loss == "squared_error":
            labels = xp.nn.one_hot(labels, 3, dtype=xp.float32)
        return getattr(xp.nn, loss)(logits, labels)

    def carried(xp, logits, labels):
        loss, d = step(xp, logits, labels)
        return loss, xp.nn.relu(d)

    logits = numpy.linspace(-1, 1, 12, dtype=numpy.float32).reshape(4, 3)
    compiled = replaying.compile(carried)
    for labels in ([0, 1, 2, 0], [1, 1, 0, 2], [2, 2, 0, 1], [0, bad, 2, bad], [bad, 1, 2, 0], [0, 1, 2, 0]):
        labels = numpy.array(labels, dtype)
        assert_same(compiled(replaying, logits, labels), carried(replaying, logits, labels))
    assert compiled.report == ""
