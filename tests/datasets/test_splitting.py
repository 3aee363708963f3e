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
