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


def test_confusion_matrix_equals_scikit_learns(xp_int64):
    found = metrics.confusion_matrix(xp_int64, put(xp_int64, LABELS), put(xp_int64, PREDICTED), 5)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, sklearn_metrics.confusion_matrix(LABELS, PREDICTED))


def test_confusion_matrix_counts_classes_that_do_not_occur(xp_int64):
    one = put(xp_int64, np.array([1], dtype=np.int32))
    np.testing.assert_array_equal(metrics.confusion_matrix(xp_int64, one, one, 3), np.diag([0, 1, 0]))


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
