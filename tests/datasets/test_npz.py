"""NumPy's archives of arrays."""

import contextlib
import io
import zipfile

import numpy as np
import pytest

from xpnet.datasets import npz_file, npz_parts

X = np.arange(24, dtype="float32").reshape(6, 4)
Y = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def archive(tmp_path):
    """Return a function that writes arrays and returns the path."""

    def write(write=np.savez, **arrays):
        write(tmp_path / "data.npz", **arrays)
        return tmp_path / "data.npz"

    return write


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("names", ["x y", "X Y", "inputs targets", "images labels", "data target"])
def test_usual_names_are_found(archive, names, write):
    path = archive(write, other=np.zeros(3), **dict(zip(names.split(), (X, Y), strict=True)))
    found = npz_file(path)
    np.testing.assert_array_equal(found.inputs, X)
    np.testing.assert_array_equal(found.labels, Y)
    assert found.name == str(path.resolve())
    both = npz_parts(path)
    np.testing.assert_array_equal(both[0].inputs, X)
    assert both[1] is None


def test_other_names_may_be_passed(archive):
    found = npz_file(archive(a=X, x=X + 1, b=Y), inputs="a", targets="b")
    np.testing.assert_array_equal(found.inputs, X)


@pytest.mark.parametrize("names", ["x_{0} y_{0}", "{0}_images {0}_labels"])
def test_training_and_test_part_are_found(archive, names):
    arrays = {}
    for part, n in (("train", 6), ("test", 2)):
        arrays |= zip(names.format(part).split(), (X[:n], Y[:n]), strict=True)
    train, test = npz_parts(archive(**arrays))
    assert (len(train), len(test)) == (6, 2)
    with pytest.raises(ValueError, match=r"has none of the arrays x, X, inputs, images, data, only '.*train"):
        npz_file(archive(**arrays))


def test_training_part_may_be_alone(archive):
    train, test = npz_parts(archive(x_train=X, y_train=Y))
    assert len(train) == 6
    assert test is None


def test_classes_of_text_are_those_of_the_training_part(archive):
    names = np.array(["b", "a", "c"])
    train, test = npz_parts(archive(x_train=X, y_train=names[Y], x_test=X[:2], y_test=names[[2, 0]]))
    assert train.classes == test.classes == ("a", "b", "c")
    assert train.labels.tolist() == [1, 0, 2, 1, 0, 2]
    assert test.labels.tolist() == [2, 1]
    path = archive(x_train=X, y_train=names[Y], x_test=X[:2], y_test=np.array(["a", "d"]))
    with pytest.raises(ValueError, match="has 'd' in 'y_test', which is no class of the training set"):
        npz_parts(path)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("uint8", "uint8"),
        ("int64", "float32"),
        (">f4", "float32"),
        ("bool", "float32"),
        ("float16", "float32"),
    ],
)
def test_inputs_of_other_dtypes_become_floats(archive, dtype, expected):
    found = npz_file(archive(x=(X / 24 if dtype == "bool" else X).astype(dtype), y=Y)).inputs
    assert found.dtype == expected
    np.testing.assert_array_equal(found, (X / 24 if dtype == "bool" else X).astype(dtype).astype(expected))


def test_labels_in_one_column_are_class_indices(archive):
    for labels in (Y[:, None], np.array([["b"], ["a"]])[Y % 2]):
        assert npz_file(archive(x=X, y=labels)).labels.shape == (6,)


def test_targets_that_are_floats_stay_floats(archive):
    targets = X[:, :2] / 7
    np.testing.assert_array_equal(npz_file(archive(x=X, y=targets)).targets, targets)


def test_objects_are_refused_and_never_unpickled(archive):
    path = archive(x=X, y=np.array([{}] * 6, dtype=object))
    with pytest.raises(ValueError, match="has Python objects in 'y', which are never read; save arrays of"):
        npz_file(path)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"x": X}, {}, "has none of the arrays y, Y, targets, labels, target, only 'x'; pass `targets=`"),
        ({"a": X, "y": Y}, {}, "has none of the arrays x, X, .*, only 'a', 'y'; pass `inputs=`"),
        ({"pixel": X, "y": Y}, {"inputs": "pixels"}, "has no array 'pixels', only .*; did you mean 'pixel'"),
        ({"x": X, "y": Y[:5]}, {}, "has 6 rows in 'x', but 5 in 'y'; write it again"),
        ({"x": X, "y": np.int64(3)}, {}, "has a single value as 'y', not one row for each example"),
        (
            {"x": X, "y": Y},
            {"max_bytes": 100},
            r"has 224 bytes as 'x', but the limit is 100; if you trust it, pass",
        ),
    ],
)
def test_what_does_not_fit_is_refused(archive, arrays, options, message):
    with pytest.raises(ValueError, match=f"^archive '.*data.npz' {message}"):
        npz_file(archive(**arrays), **options)


def test_half_a_part_is_refused(archive):
    with pytest.raises(ValueError, match="has 'x_test', but no targets that belong to it; add them"):
        npz_parts(archive(x_train=X, y_train=Y, x_test=X))


def write_member(path, data, *, compression=zipfile.ZIP_DEFLATED):
    """Write an archive with labels, whose inputs are these bytes."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("x.npy", data)
        labels = io.BytesIO()
        np.save(labels, Y)
        file.writestr("y.npy", labels.getvalue())
    return path


def saved(array):
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


def test_array_that_unpacks_to_too_much_is_refused_unread(tmp_path):
    n = 300 << 20
    header = saved(np.zeros(1, "uint8")).replace(b"(1,), }" + b" " * 8, f"({n},), }}".encode().ljust(15))
    zeros, path = bytes(1 << 20), tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("x.npy", "w") as member:
        member.write(header[:-1])
        for _ in range(300):
            member.write(zeros)
    with pytest.raises(
        ValueError, match="bytes as 'x', but the limit is 268435456; if you trust it, pass `max_"
    ):
        npz_file(path, targets="x")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (saved(X).replace(b"(6, 4)", b"(9, 9)"), "but its header announces"),
        (saved(X)[:-1], "but its header announces"),
        (saved(X) + b"0", "but its header announces"),
        (b"no array at all", "has a damaged array 'x'"),
        (saved(X)[:9], "has a damaged array 'x'"),
        (saved(X).replace(b"shape", b"shame"), "has a damaged array 'x'"),
        (b"\x93NUMPY\x07\x00" + saved(X)[8:], "has 'x' in version|has a damaged array 'x'"),
    ],
)
def test_array_that_is_not_what_its_header_announces_is_refused(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        npz_file(write_member(tmp_path / "data.npz", data))


def test_other_compressions_are_refused(tmp_path):
    path = write_member(tmp_path / "data.npz", saved(X), compression=zipfile.ZIP_BZIP2)
    with pytest.raises(ValueError, match="has 'x' in another compression than NumPy's"):
        npz_file(path)


def test_files_that_are_no_archives_are_refused(tmp_path):
    for data in (b"", b"x,y\n1,2\n", saved(X)):
        (tmp_path / "data.npz").write_bytes(data)
        with pytest.raises(ValueError, match=r"^archive '.*' is damaged, or not what `numpy.savez` wrote \("):
            npz_file(tmp_path / "data.npz")
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as file:
        file.writestr("readme.txt", "")
    with pytest.raises(ValueError, match=r"has no arrays; write it with `numpy\.savez`"):
        npz_file(tmp_path / "data.npz")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        npz_file(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError, match="it is a folder"):
        npz_file(tmp_path)


def test_damaged_archive_is_read_as_it_was_or_refused(archive):
    for write in (np.savez, np.savez_compressed):
        path = archive(write, x=X, y=Y)
        whole, random = path.read_bytes(), np.random.default_rng(0)
        for _ in range(300):
            data = bytearray(whole)
            for place in random.integers(0, len(data), random.integers(1, 4)):
                data[place] = random.integers(0, 256)
            path.write_bytes(data[: random.integers(len(data) // 2, 2 * len(data))])
            with contextlib.suppress(ValueError):
                np.testing.assert_array_equal(npz_file(path).inputs, X)
