import copy
import pickle
import re

import numpy
import pytest

from xpnet.datasets import Dataset


def follow_advice(error, **arguments):
    """Return the value, for these arguments, of the Python in backticks after an error's `;`."""
    advice = re.findall(r"`([^`]+)`", str(error.value).partition("; ")[2])
    return eval(advice[0], {"numpy": numpy}, arguments)


@pytest.fixture
def images():
    return numpy.arange(12, dtype=numpy.uint8).reshape(4, 3)


@pytest.fixture
def labels():
    return numpy.array([3, 1, 0, 2])


@pytest.fixture
def dataset(images, labels):
    return Dataset(images, labels)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_images_keep_their_dtype(images, labels, dtype):
    assert Dataset(images.astype(dtype), labels).images.dtype == dtype


def test_arrays_are_read_only_views_and_the_callers_stay_writable(images, labels):
    dataset = Dataset(images, labels)
    assert numpy.shares_memory(dataset.images, images)
    assert numpy.shares_memory(dataset.labels, labels)
    assert not dataset.images.flags.writeable
    assert not dataset.labels.flags.writeable
    assert images.flags.writeable
    assert labels.flags.writeable


def test_fields_cannot_be_set(dataset):
    with pytest.raises(AttributeError):
        dataset.images = None


def test_lists_become_arrays():
    dataset = Dataset([[0.5, 1.0]], [7])
    assert dataset.images.dtype == numpy.float64
    assert dataset.labels.tolist() == [7]


def test_foreign_byte_order_becomes_native():
    dataset = Dataset(numpy.ones((1, 2), dtype=">f4"), numpy.array([258], dtype=">i4"))
    assert dataset.images.dtype == numpy.float32
    assert dataset.images.tolist() == [[1.0, 1.0]]
    assert dataset.labels.dtype == numpy.int32
    assert dataset.labels.tolist() == [258]


def test_length_is_the_number_of_images(dataset):
    assert len(dataset) == 4


@pytest.mark.parametrize(
    "key", [slice(2), slice(1, None), slice(None, None, 2), slice(-1, None), slice(None, 99)]
)
def test_slice_is_a_dataset_of_read_only_views(dataset, key):
    part = dataset[key]
    assert isinstance(part, Dataset)
    assert part.images.tolist() == dataset.images[key].tolist()
    assert part.labels.tolist() == dataset.labels[key].tolist()
    assert numpy.shares_memory(part.images, dataset.images)
    assert not part.images.flags.writeable
    assert not part.labels.flags.writeable


@pytest.mark.parametrize("index", [0, 3, -1, -4, numpy.int64(2)])
def test_int_gives_an_image_and_its_label(dataset, index):
    image, label = dataset[index]
    assert image.tolist() == dataset.images[index].tolist()
    assert label == dataset.labels[index]
    assert type(label) is int


def test_iteration_gives_each_image_with_its_label(dataset):
    pairs = [(image.tolist(), label) for image, label in dataset]
    assert pairs == [([0, 1, 2], 3), ([3, 4, 5], 1), ([6, 7, 8], 0), ([9, 10, 11], 2)]


def test_repr_is_one_line_without_values(dataset):
    assert repr(dataset) == "<xpnet.Dataset of 4 samples, 3 features, uint8, labels int64>"


@pytest.mark.parametrize("key", [slice(4, None), slice(2, 2), slice(3, 1)])
def test_empty_slice_is_refused(dataset, key):
    with pytest.raises(ValueError, match=r"^slice\(.*\) selects none of the 4 samples; choose within"):
        dataset[key]


@pytest.mark.parametrize("index", [4, -5])
def test_index_out_of_range_names_the_range(dataset, index):
    with pytest.raises(IndexError, match=rf"^index {index} is out of range; .* \[-4, 4\)"):
        dataset[index]


@pytest.mark.parametrize(("key", "kind"), [([0, 1], "list"), (1.0, "float"), ("0", "str"), ((0, 1), "tuple")])
def test_other_indices_say_what_to_pass(dataset, key, kind):
    with pytest.raises(TypeError, match=rf"an int or a slice, got {kind}; .*`dataset.select\(rows\)`"):
        dataset[key]


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf, -numpy.inf])
def test_non_finite_pixels_name_the_first_bad_row(labels, value):
    images = numpy.zeros((4, 3), dtype=numpy.float32)
    images[2, 1] = images[3, 0] = value
    with pytest.raises(ValueError, match=rf"^`inputs` must be finite, but row 2 holds {value}; "):
        Dataset(images, labels)


@pytest.mark.parametrize("dtype", ["int64", "float16", "complex64", "bool", "object", "U1"])
def test_other_image_dtypes_are_refused(images, labels, dtype):
    with pytest.raises(TypeError, match=r"^`inputs` must have dtype uint8, float32 or float64, got"):
        Dataset(images.astype(dtype), labels)


@pytest.mark.parametrize("shape", [(5, 28, 28), (5, 4, 6, 3)])
def test_images_keep_their_shape(shape):
    data = Dataset(numpy.zeros(shape, dtype=numpy.uint8), numpy.zeros(5, dtype=numpy.uint8))
    assert data[1:].images.shape == (4, *shape[1:])
    assert "x".join(map(str, shape[1:])) in repr(data)


def test_infinite_pixel_of_an_image_names_the_image(labels):
    images = numpy.zeros((4, 3, 2), dtype=numpy.float32)
    images[2, 1, 1] = numpy.inf
    with pytest.raises(ValueError, match=r"^`inputs` must be finite, but row 2 holds inf; "):
        Dataset(images, labels)


def test_names_of_classes_are_kept_in_slices_and_copies():
    data = Dataset(numpy.ones((3, 2), numpy.uint8), [0, 1, 0], classes=["cat", "dog"])
    for same in (data, data[1:], copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        assert same.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("classes", "error", "message"),
    [
        (["cat"], ValueError, "`classes` has 1 names, but `targets` has the label 1"),
        ("ab", TypeError, "`classes` must be names, got 'ab'"),
        ([1, 2], TypeError, "`classes` must be names"),
        (["cat", "cat"], ValueError, "`classes` has the name 'cat' twice"),
    ],
)
def test_names_that_do_not_fit_are_refused(classes, error, message):
    with pytest.raises(error, match=message):
        Dataset(numpy.ones((3, 2), numpy.uint8), [0, 1, 0], classes=classes)


@pytest.mark.parametrize("shape", [(5, 4, 4, 3, 2), (1, 4, 4, 1, 1), (7,)])
@pytest.mark.parametrize("kind", [numpy.asarray, numpy.ndarray.tolist], ids=["array", "list"])
def test_advice_for_images_of_another_shape_works_when_followed(shape, kind):
    images = kind(numpy.ones(shape))
    with pytest.raises(ValueError, match=r"^`inputs` must have shape \(n, features\), \(n, h") as error:
        Dataset(images, [0] * len(images))
    n = len(images) if len(shape) > 1 else 1
    fitting = follow_advice(error, inputs=images)
    assert Dataset(fitting, [0] * n).images.size == numpy.size(images)


@pytest.mark.parametrize("dtype", ["float16", "bool", "int64", "longdouble"])
def test_advice_for_images_of_another_dtype_works_when_followed(images, labels, dtype):
    images = images.astype(dtype)
    with pytest.raises(TypeError) as error:
        Dataset(images, labels)
    fitting = Dataset(follow_advice(error, inputs=images), labels)
    assert numpy.array_equal(fitting.images, images)


@pytest.mark.parametrize("dtype", ["complex64", "U3", "datetime64[s]"])
def test_error_for_images_that_are_not_real_numbers_suggests_no_cast(images, labels, dtype):
    with pytest.raises(TypeError, match=r"pass real numbers$"):
        Dataset(images.astype(dtype), labels)


@pytest.mark.parametrize("shape", [(), (784,)])
def test_images_of_too_few_dimensions_are_refused(shape):
    with pytest.raises(ValueError, match=r"must have shape \(n, features\), .* got .*one row per sample"):
        Dataset(numpy.zeros(shape, dtype=numpy.uint8), [0])


@pytest.mark.parametrize("shape", [(0, 784), (4, 0), (0, 28, 28), (0,)])
def test_images_without_samples_or_features_are_refused(shape):
    with pytest.raises(ValueError, match="at least one sample and one feature, got shape"):
        Dataset(numpy.zeros(shape, dtype=numpy.uint8), numpy.zeros(shape[0], dtype=numpy.uint8))


@pytest.mark.parametrize("dtype", ["bool", "object", "complex64", "datetime64[s]"])
def test_targets_that_are_neither_labels_nor_numbers_are_refused(images, labels, dtype):
    with pytest.raises(TypeError, match=rf"^`targets` must be class indices, .* got {re.escape(dtype)}; "):
        Dataset(images, labels.astype(dtype))


CLASSES = numpy.array([3, 1, 0, 2])


@pytest.mark.parametrize(
    "labels",
    [
        CLASSES[:, None],
        CLASSES[None],
        CLASSES[:, None, None],
    ],
    ids=lambda labels: f"{labels.dtype}-{labels.shape}",
)
@pytest.mark.parametrize("kind", [numpy.asarray, numpy.ndarray.tolist], ids=["array", "list"])
def test_advice_for_labels_gives_the_classes_when_followed(images, labels, kind):
    labels = kind(labels)
    with pytest.raises((TypeError, ValueError)) as error:
        Dataset(images, labels)
    assert Dataset(images, follow_advice(error, targets=labels)).labels.tolist() == CLASSES.tolist()


def test_error_for_a_column_of_labels_does_not_mention_one_hot(images):
    with pytest.raises(ValueError, match=r"got \(4, 1\); pass `targets.ravel\(\)`$"):
        Dataset(images, CLASSES[:, None])


@pytest.mark.parametrize("targets", [[[[1, 2]]] * 4, [[[0]]] * 3, 5])
def test_targets_of_another_shape_say_how_many_samples_there_are(images, targets):
    with pytest.raises(ValueError, match=r"pass one class index for each of the 4 samples$"):
        Dataset(images, targets)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_several_columns_are_numbers(images, dtype):
    data = Dataset(images, numpy.eye(4, dtype=dtype)[CLASSES])
    assert data.targets.dtype == (dtype if dtype.startswith("float") else "float32")
    assert data.targets.tolist() == numpy.eye(4)[CLASSES].tolist()
    assert not data.has_labels
    assert data[1:].targets.shape == (3, 4)
    with pytest.raises(AttributeError, match=r"targets of this data set are numbers, shape \(4, 4\)"):
        data.labels  # noqa: B018


def test_floats_are_one_column_of_numbers(images):
    data = Dataset(images, [0.5, 1.0, 2.0, 3.0])
    assert data.targets.tolist() == [[0.5], [1.0], [2.0], [3.0]]
    assert data[1][1].tolist() == [1.0]
    assert "1 targets float64" in repr(data)


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
def test_numbers_that_are_not_finite_name_the_row(images, value):
    with pytest.raises(ValueError, match=rf"^`targets` must be finite, but row 3 holds {value}; "):
        Dataset(images, [0, 1, 2, value])


@pytest.mark.parametrize("targets", [numpy.zeros((4, 2, 2)), numpy.zeros((4, 0))])
def test_numbers_of_another_shape_are_refused(images, targets):
    with pytest.raises(ValueError, match=r"that are numbers must have shape \(n,\) or \(n, columns\), got"):
        Dataset(images, targets)


def test_half_precision_says_what_to_pass(images):
    with pytest.raises(TypeError, match=r"got float16; pass `targets\.astype") as error:
        Dataset(images, numpy.zeros(4, "float16"))
    assert Dataset(images, follow_advice(error, targets=numpy.zeros(4, "float16"))).targets.shape == (4, 1)


@pytest.mark.parametrize("kind", [list, numpy.array, lambda x: numpy.array(x, dtype=object)])
def test_names_become_class_indices(images, kind):
    names = ["dog", "cat", "cow", "dog"]
    data = Dataset(images, kind(names))
    assert data.classes == ("cat", "cow", "dog")
    assert data.labels.tolist() == [2, 0, 1, 2]
    assert data.had_names
    assert pickle.loads(pickle.dumps(data[1:])).had_names
    assert Dataset(images, kind(names), classes=["dog", "cow", "cat"]).labels.tolist() == [0, 2, 1, 0]


def test_name_that_is_not_among_the_classes_is_refused(images):
    with pytest.raises(ValueError, match=r"has the name 'bat', which is not among `classes`: 'cat', 'dog'"):
        Dataset(images, ["cat", "bat", "dog", "cat"], classes=["cat", "dog"])


def test_weights_go_with_rows(images, labels):
    data = Dataset(images, labels, sample_weight=[1, 0, 2, 3])
    assert data.sample_weight.dtype == numpy.float64
    assert data[1:3].sample_weight.tolist() == [0, 2]
    assert data.select([3, 0]).sample_weight.tolist() == [3, 1]
    assert data.select([3, 0]).labels.tolist() == [labels[3], labels[0]]
    assert not data.sample_weight.flags.writeable


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (
            [1, -1, 1, 1],
            ValueError,
            r"^`sample_weight` must be finite and not negative, but row 1 holds -1\.0",
        ),
        ([1, 1, numpy.nan, 1], ValueError, "row 2 holds nan"),
        ([0, 0, 0, 0], ValueError, "^`sample_weight` is 0 for every sample"),
        ([1, 1], ValueError, r"must have shape \(4,\), got \(2,\)"),
        (["a"] * 4, TypeError, "^`sample_weight` must be numbers"),
    ],
)
def test_wrong_weights_are_refused(images, labels, weights, error, message):
    with pytest.raises(error, match=message):
        Dataset(images, labels, sample_weight=weights)


def test_negative_labels_name_the_first_bad_row(images):
    with pytest.raises(
        ValueError, match=r"^`targets` that are class indices must not be negative, but row 1 holds -7; "
    ):
        Dataset(images, [0, -7, 2, -1])


def test_counts_that_differ_are_both_named(images, labels):
    with pytest.raises(ValueError, match=r"^`inputs` has 4 rows, but `targets` has 3; "):
        Dataset(images, labels[:3])


def test_ragged_lists_are_refused():
    with pytest.raises(
        TypeError, match=r"^`inputs` is a list that NumPy cannot .*; give all its rows the same"
    ):
        Dataset([[1, 2], [3]], [0, 1])


def test_name_goes_with_slices(images, labels):
    assert Dataset(images, labels).name is None
    assert Dataset(images, labels, name="four")[1:].name == "four"
    with pytest.raises(TypeError, match=r"^`name` must be a str, got 3; pass for example `name='digits'`$"):
        Dataset(images, labels, name=3)
