import numpy as np
import pytest
from checking import put
from sklearn import metrics as sklearn_metrics

from xpnet import metrics

RNG = np.random.Generator(np.random.Philox(2))
LABELS = RNG.integers(0, 5, 200).astype(np.int32)
PREDICTED = np.where(RNG.random(200) < 0.7, LABELS, RNG.integers(0, 5, 200)).astype(np.int32)


def test_accuracy_is_the_share_of_right_predictions(xp):
    found = metrics.accuracy(xp, put(xp, LABELS), put(xp, PREDICTED))
    assert found == sklearn_metrics.accuracy_score(LABELS, PREDICTED)


def test_confusion_matrix_equals_scikit_learns(xp):
    found = metrics.confusion_matrix(xp, put(xp, LABELS), put(xp, PREDICTED), 5)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, sklearn_metrics.confusion_matrix(LABELS, PREDICTED))


def test_confusion_matrix_counts_classes_that_do_not_occur(xp):
    one = put(xp, np.array([1], dtype=np.int32))
    np.testing.assert_array_equal(metrics.confusion_matrix(xp, one, one, 3), np.diag([0, 1, 0]))


def test_report_equals_scikit_learns():
    confusion = sklearn_metrics.confusion_matrix(LABELS, PREDICTED)
    assert metrics.classification_report(confusion) == sklearn_metrics.classification_report(
        LABELS, PREDICTED
    )


def test_report_takes_names():
    names = ["a class with a long name", "b", "c", "d", "e"]
    confusion = sklearn_metrics.confusion_matrix(LABELS, PREDICTED)
    expected = sklearn_metrics.classification_report(LABELS, PREDICTED, target_names=names)
    assert metrics.classification_report(confusion, names) == expected


def test_report_gives_zero_for_a_class_never_predicted():
    expected = sklearn_metrics.classification_report([0, 0, 1], [0, 0, 0], zero_division=0)
    assert metrics.classification_report([[2, 0], [1, 0]]) == expected


def test_unequal_or_empty_predictions_are_refused(numpy_xp):
    with pytest.raises(ValueError, match=r"one equal shape \(n,\) with n above 0, got \(3,\) and \(2,\)"):
        metrics.accuracy(numpy_xp, LABELS[:3], PREDICTED[:2])
    with pytest.raises(ValueError, match=r"got \(0,\) and \(0,\)"):
        metrics.confusion_matrix(numpy_xp, LABELS[:0], LABELS[:0], 5)


def test_confusion_matrix_counts_labels_of_any_dtype(xp):
    expected = 20 * np.eye(26, dtype=np.int64)
    offered = xp.__array_namespace_info__().dtypes(device=xp.device, kind="integral")
    labels = np.repeat(np.arange(26), 20)
    for true in offered:
        for predicted in offered:
            pair = put(xp, labels.astype(true)), put(xp, labels.astype(predicted))
            np.testing.assert_array_equal(metrics.confusion_matrix(xp, *pair, 26), expected)
            assert metrics.accuracy(xp, *pair) == 1.0


def test_confusion_matrix_takes_a_small_number_of_classes(numpy_xp):
    labels = np.arange(26, dtype=np.uint8)
    found = metrics.confusion_matrix(numpy_xp, labels, labels, np.uint8(26))
    np.testing.assert_array_equal(found, np.eye(26))


@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [
        ([3], [0], r"`labels` must be in \[0, 3\), got 3; raise `classes`, or number"),
        ([0], [-1], r"`predicted` must be in \[0, 3\), got -1"),
    ],
)
def test_confusion_matrix_refuses_labels_that_are_not_classes(numpy_xp, labels, predicted, message):
    with pytest.raises(ValueError, match=message):
        metrics.confusion_matrix(numpy_xp, np.array(labels), np.array(predicted), 3)


def test_metrics_refuse_labels_that_are_not_integers(numpy_xp):
    with pytest.raises(TypeError, match="`predicted` must have an integer dtype, got float64; pass class"):
        metrics.accuracy(numpy_xp, LABELS, LABELS.astype(float))


def test_report_leaves_out_classes_that_do_not_occur():
    labels, predicted = [1, 1, 7, 7], [1, 7, 7, 7]
    confusion = sklearn_metrics.confusion_matrix(labels, predicted, labels=range(10))
    expected = sklearn_metrics.classification_report(labels, predicted)
    assert metrics.classification_report(confusion) == expected
    perfect = metrics.classification_report(np.diag([2, 0, 0, 3, 0]))
    assert "macro avg       1.00      1.00      1.00         5" in perfect


def test_report_counts_classes_that_are_only_predicted():
    expected = sklearn_metrics.classification_report([0, 0], [0, 2], zero_division=0)
    assert metrics.classification_report([[1, 0, 1], [0, 0, 0], [0, 0, 0]]) == expected


def test_report_of_random_predictions_equals_scikit_learns():
    rng = np.random.Generator(np.random.Philox(3))
    for _ in range(30):
        classes, n = rng.integers(2, 13), rng.integers(1, 30)
        labels, predicted = rng.integers(0, classes, (2, n))
        predicted[0] = labels[0]  # if nothing is right, scikit-learn prints supports as floats
        confusion = sklearn_metrics.confusion_matrix(labels, predicted, labels=range(classes))
        expected = sklearn_metrics.classification_report(labels, predicted, zero_division=0)
        assert metrics.classification_report(confusion) == expected


def test_report_counts_beyond_the_dtype_of_its_matrix():
    expected = metrics.classification_report([[200, 0], [10, 200]])
    assert metrics.classification_report(np.array([[200, 0], [10, 200]], dtype=np.uint8)) == expected


@pytest.mark.parametrize("kind", [tuple, np.array, iter, dict.fromkeys])
def test_report_takes_names_in_any_kind_of_row(kind):
    confusion = [[2, 1, 0], [0, 0, 0], [0, 1, 3]]
    expected = metrics.classification_report(confusion, ["cat", "dog", "cow"])
    assert "cat" in expected
    assert metrics.classification_report(confusion, kind(["cat", "dog", "cow"])) == expected


@pytest.mark.parametrize(
    ("names", "shape"),
    [(["a"], r"\(1,\)"), ([], r"\(0,\)"), (list("abcd"), r"\(4,\)"), (np.array([["a"], ["b"]]), r"\(2, 1\)")],
)
def test_report_needs_one_name_per_class(names, shape):
    with pytest.raises(
        ValueError, match=rf"`names` must have shape \(2,\), one name for .*, got {shape}; name"
    ):
        metrics.classification_report([[2, 0], [1, 0]], names)


@pytest.mark.parametrize(
    ("confusion", "error", "message"),
    [
        ([1, 2], ValueError, r"`confusion` must have shape \(classes, classes\), got \(2,\); pass what"),
        ([[1, 2]], ValueError, r"got \(1, 2\)"),
        ([], ValueError, r"got \(0,\)"),
        ([[0.5, 0.5], [0, 1]], TypeError, "must have an integer dtype, got float64; pass counts"),
        ([[1, -2], [0, 1]], ValueError, "must not be negative, got -2"),
    ],
)
def test_report_refuses_other_things_than_a_confusion_matrix(confusion, error, message):
    with pytest.raises(error, match=message):
        metrics.classification_report(confusion)
