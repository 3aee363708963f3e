"""Data sets in random order, and in two parts."""

import numpy
import pytest

from xpnet import Dataset
from xpnet.datasets import shuffled, split


def numbered(*sizes):
    """Return a data set sorted by class, whose images are their numbers."""
    labels = numpy.repeat(numpy.arange(len(sizes)), sizes)
    images = numpy.arange(sum(sizes), dtype=numpy.float32)[:, None]
    return Dataset(images, labels, name="numbers", classes=[f"class {i}" for i in range(len(sizes))])


def test_parts_have_each_sample_once_and_the_same_share_of_each_class():
    data = numbered(10, 40, 5)
    train, test = split(data)
    assert numpy.bincount(test.labels).tolist() == [2, 8, 1]
    both = numpy.concatenate([train.images, test.images]).ravel()
    assert sorted(both) == data.images.ravel().tolist()
    for part in (train, test):
        assert (data.labels[part.images.ravel().astype(int)] == part.labels).all()
        assert (part.name, part.classes) == (data.name, data.classes)


def test_training_part_is_shuffled_and_test_part_is_in_order():
    train, test = split(numbered(50, 50))
    assert 5 < train.labels[:20].sum() < 15
    assert (numpy.diff(test.images.ravel()) > 0).all()


def test_equal_seeds_split_alike_and_others_differently():
    first, again, other = (split(numbered(50, 50), seed=seed)[1].images.ravel() for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_each_part_has_one_of_each_class_that_has_two(share):
    train, test = split(numbered(2, 3, 1), share=share)
    assert set(train.labels) == {0, 1, 2}
    assert set(test.labels) == {0, 1}


def test_classes_of_one_sample_are_not_split():
    with pytest.raises(ValueError, match="each class has only one sample, so there is none to test on"):
        split(numbered(1, 1))


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
def test_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match=r"`share` must be in \(0, 1\), got "):
        split(numbered(5, 5), share=share)


def test_shuffled_has_the_same_samples_in_another_order():
    data = numbered(50, 50)
    found = shuffled(data)
    assert sorted(found.images.ravel()) == data.images.ravel().tolist()
    assert (data.labels[found.images.ravel().astype(int)] == found.labels).all()
    assert 5 < found.labels[:20].sum() < 15
    assert (found.images == shuffled(data).images).all()


def weighted(targets):
    n = len(targets)
    inputs = numpy.arange(n, dtype=numpy.float32)[:, None]
    return Dataset(inputs, targets, sample_weight=numpy.arange(n) + 1.0, name="numbers")


def test_method_splits_as_the_function_does():
    data = numbered(10, 40, 5)
    for ours, theirs in zip(data.split(0.3, seed=4), split(data, share=0.3, seed=4), strict=True):
        assert (ours.inputs == theirs.inputs).all()
        assert (ours.labels == theirs.labels).all()


@pytest.mark.parametrize("stratify", [None, True, False])
def test_rows_keep_their_targets_and_weights(stratify):
    data = weighted(numpy.arange(40) % 4)
    parts = data.split(0.2, stratify=stratify)
    assert [len(part) for part in parts] == [32, 8]
    for part in parts:
        rows = part.inputs[:, 0].astype(int)
        assert (part.targets == rows % 4).all()
        assert (part.sample_weight == rows + 1).all()
    assert sorted(numpy.concatenate([part.inputs[:, 0] for part in parts])) == [*range(40)]


def test_split_without_classes_keeps_the_share_of_all_rows():
    targets = numpy.arange(40).reshape(20, 2) / 7
    first, second = weighted(targets).split(0.25)
    assert (len(first), len(second)) == (15, 5)
    for part in (first, second):
        assert (part.targets == targets[part.inputs[:, 0].astype(int)]).all()
    assert (numpy.diff(first.inputs[:, 0]) < 0).any()


def test_split_that_is_not_stratified_does_not_look_at_classes():
    data = numbered(1, 1, 1, 1)
    assert [len(part) for part in data.split(0.5, stratify=False)] == [2, 2]
    counts = {
        tuple(numpy.bincount(numbered(20, 20).split(0.5, seed=i, stratify=False)[1].labels)) for i in range(9)
    }
    assert len(counts) > 1


@pytest.mark.parametrize(("share", "sizes"), [(1e-9, [5, 1]), (0.999999, [1, 5])])
def test_each_part_has_a_sample(share, sizes):
    assert [len(part) for part in weighted(numpy.ones((6, 1))).split(share)] == sizes


def test_stratified_split_names_a_class_that_cannot_be_in_both_parts():
    with pytest.raises(
        ValueError, match=r"^class 'class 1' has one sample, but a stratified split needs one for each"
    ):
        numbered(5, 1, 1).split(0.2, stratify=True)
    with pytest.raises(
        ValueError, match=r"^class 'class 1' has no sample, but a stratified split needs one for each"
    ):
        numbered(5, 0, 5).split(0.2, stratify=True)
    with pytest.raises(
        ValueError, match=r"^class 7 has one sample, but .*; add some, or pass `stratify=False`"
    ):
        weighted(numpy.array([0, 0, 7])).split(0.2, stratify=True)
    assert [len(part) for part in weighted(numpy.array([0, 0, 7, 7])).split(0.5, stratify=True)] == [2, 2]


def test_stratified_split_needs_classes():
    data = weighted(numpy.ones((6, 1)))
    with pytest.raises(
        ValueError, match="`stratify` keeps the share of each class, but the targets are numbers"
    ):
        data.split(0.2, stratify=True)
    with pytest.raises(TypeError, match="`stratify` must be True, False or None, got 'y'"):
        data.split(0.2, stratify="y")


@pytest.mark.parametrize("share", [0, 1, 2, -0.5, float("nan"), "0.2", None, True])
def test_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=r"`share` must be in \(0, 1\), got "):
        numbered(5, 5).split(share)


def test_single_sample_is_not_split():
    with pytest.raises(ValueError, match="there is only one sample, so there is none to test on; add some"):
        weighted(numpy.ones((1, 1))).split(0.2)
