"""Labels of every integer dtype: what a function makes of them does not depend on how many bits they have."""

import numpy as np
import pytest
from checking import assert_close, has, put

DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
# More classes than 8 bits can count, and more than 16 bits can.
CLASSES = [3, 300, 70_000]


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


def labels_of(dtype, classes):
    """Return labels, the largest that both the dtype and the classes have among them."""
    return np.array([0, 2, min(classes - 1, np.iinfo(dtype).max), 1], dtype)


@pytest.mark.parametrize("classes", CLASSES)
def test_one_hot_marks_one_class_of_labels_of_any_dtype(xp, dtype, classes):
    if not has(xp, dtype):
        pytest.skip(f"{xp.device} has no {dtype}")
    labels = labels_of(dtype, classes)
    targets = xp.to_host(xp.nn.one_hot(put(xp, labels), classes, dtype=xp.float32))
    rows, columns = np.nonzero(targets)
    np.testing.assert_array_equal(rows, np.arange(len(labels)))
    np.testing.assert_array_equal(columns, labels)


def test_one_class_is_a_column_of_labels_of_any_dtype(xp, dtype):
    if not has(xp, dtype):
        pytest.skip(f"{xp.device} has no {dtype}")
    targets = xp.nn.one_hot(put(xp, np.array([1, 0], dtype)), 1, dtype=xp.float32)
    assert_close(xp, targets, [[1.0], [0.0]])


@pytest.mark.parametrize("classes", CLASSES)
def test_cross_entropy_takes_labels_of_any_dtype(xp, dtype, classes):
    if not has(xp, dtype):
        pytest.skip(f"{xp.device} has no {dtype}")
    labels = labels_of(dtype, classes)
    logits = np.random.default_rng(0).normal(size=(len(labels), classes)).astype(np.float32)
    loss, d = xp.nn.softmax_cross_entropy(put(xp, logits), put(xp, labels))
    z = logits.astype(np.float64)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    assert_close(xp, loss, -np.log(p[rows, labels]).mean(), dtype="float32")
    p[rows, labels] -= 1
    assert_close(xp, d, p / len(labels), dtype="float32")


def test_gathered_labels_keep_their_dtype(xp, dtype):
    if not has(xp, dtype):
        pytest.skip(f"{xp.device} has no {dtype}")
    labels = labels_of(dtype, 300)
    found = xp.to_host(xp.nn.gather_labels(put(xp, labels), put(xp, np.array([2, 0], dtype=np.int32))))
    np.testing.assert_array_equal(found, labels[[2, 0]])
    assert found.dtype == labels.dtype


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "squared_error"])
@pytest.mark.parametrize("classes", [3, 300])
def test_compiled_step_takes_labels_of_any_dtype(backend, dtype, classes, loss):
    def step(xp, logits, labels, indices):
        wanted = xp.nn.gather_labels(labels, indices)
        if loss == "squared_error":
            wanted = xp.nn.one_hot(wanted, classes, dtype=xp.float32)
        return getattr(xp.nn, loss)(logits, wanted)

    labels = labels_of(dtype, classes)
    logits = np.random.default_rng(0).normal(size=(len(labels), classes)).astype(np.float32)
    arrays = logits, labels, np.arange(len(labels), dtype=np.int32)[::-1].copy()
    compiled = backend.compile(step)
    arrays = [backend.asarray(x) for x in arrays]
    expected = step(backend, arrays[0], backend.asarray(labels.astype(np.int32)), arrays[2])
    for _ in range(4):
        for found, e in zip(compiled(backend, *arrays), expected, strict=True):
            assert_close(backend, found, backend.to_host(e), dtype="float32")
    assert getattr(compiled, "report", "") == ""
