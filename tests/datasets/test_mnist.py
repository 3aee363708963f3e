import gzip
import hashlib
import importlib
import re
import shutil
import struct
from pathlib import Path

import numpy
import pytest

from xpnet import datasets
from xpnet.datasets.idx import read_idx

MNIST_FILES = Path(datasets.__file__).parent / "mnist_files"
NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx_bytes(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(scope="module")
def mnist():
    return datasets.mnist()


@pytest.fixture
def arrays():
    rng = numpy.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": rng.integers(0, 256, (6, 4, 5)).astype(numpy.uint8),
        "train-labels-idx1-ubyte": rng.integers(0, 3, 6).astype(numpy.uint8),
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (2, 4, 5)).astype(numpy.uint8),
        "t10k-labels-idx1-ubyte": rng.integers(0, 3, 2).astype(numpy.uint8),
    }


@pytest.fixture
def folder(tmp_path, arrays):
    for name, array in arrays.items():
        (tmp_path / name).write_bytes(idx_bytes(array))
    return tmp_path


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a copy of the bundled files that `mnist()` reads instead."""
    copy = shutil.copytree(MNIST_FILES, tmp_path / "mnist_files")
    # The package's attribute of this name is the function.
    module = importlib.import_module("xpnet.datasets.mnist")
    monkeypatch.setattr(module, "_FOLDER", copy)
    return copy


def test_mnist_has_60000_and_10000_samples_of_784_pixels(mnist):
    train, test = mnist
    assert len(train) == 60000
    assert len(test) == 10000
    assert train.images.shape == (60000, 784)
    assert test.images.shape == (10000, 784)
    assert train.labels.shape == (60000,)


def test_mnist_begins_with_the_known_labels(mnist):
    train, test = mnist
    assert train.labels[0] == 5
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_mnist_pixels_are_uint8_over_their_whole_range(mnist):
    for dataset in mnist:
        assert dataset.images.dtype == numpy.uint8
        assert dataset.images.min() == 0
        assert dataset.images.max() == 255


def test_mnist_labels_are_the_ten_digits(mnist):
    for dataset in mnist:
        assert numpy.unique(dataset.labels).tolist() == list(range(10))


def test_mnist_is_sliced_without_a_copy(mnist):
    part = mnist[0][:3000]
    assert len(part) == 3000
    assert numpy.shares_memory(part.images, mnist[0].images)


def test_licence_names_makers_source_licence_and_digests():
    text = (MNIST_FILES / "LICENSE.md").read_text(encoding="utf-8")
    for fact in (
        "Yann LeCun",
        "Corinna Cortes",
        "Christopher J. C. Burges",
        "yann.lecun.com/exdb/mnist",
        "CC BY-SA 3.0",
        "creativecommons.org/licenses/by-sa/3.0/",
    ):
        assert fact in text
    for name in NAMES:
        content = gzip.decompress((MNIST_FILES / f"{name}.gz").read_bytes())
        row = f"| `{name}` | {len(content)} | `{hashlib.sha256(content).hexdigest()}` |"
        assert row in text


def test_changed_pixel_in_the_installed_files_says_to_reinstall(installed):
    path = installed / "t10k-images-idx3-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(content, 1))
    expected = "t10k-images.*is damaged: .* expected 0fa7898d.*; .*reinstall xpnet"
    with pytest.raises(ValueError, match=expected):
        datasets.mnist()


def test_truncated_installed_file_says_to_reinstall(installed):
    path = installed / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"train-labels.*reinstall xpnet"):
        datasets.mnist()


def test_missing_installed_file_says_to_reinstall(installed):
    (installed / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"train-images.*reinstall xpnet"):
        datasets.mnist()


def test_idx_folder_reads_the_bundled_files_as_mnist_does(mnist):
    for from_folder, bundled in zip(datasets.idx_folder(MNIST_FILES), mnist, strict=True):
        assert numpy.array_equal(from_folder.images, bundled.images)
        assert numpy.array_equal(from_folder.labels, bundled.labels)


def test_one_folder_has_one_name(tmp_path):
    (tmp_path / "link").symlink_to(MNIST_FILES)
    names = {
        datasets.idx_folder(path)[1].name
        for path in (MNIST_FILES, MNIST_FILES / ".." / MNIST_FILES.name, f"{MNIST_FILES}/", tmp_path / "link")
    }
    assert names == {str(MNIST_FILES.resolve())}


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("mark", ["-idx", ".idx"])
def test_idx_folder_takes_every_spelling(tmp_path, arrays, mark, suffix, pack):
    for name, array in arrays.items():
        path = tmp_path / (name.replace("-idx", mark) + suffix)
        path.write_bytes(pack(idx_bytes(array)))
    train, test = datasets.idx_folder(str(tmp_path))
    assert train.images.tolist() == arrays["train-images-idx3-ubyte"].reshape(6, 20).tolist()
    assert train.labels.tolist() == arrays["train-labels-idx1-ubyte"].tolist()
    assert test.images.tolist() == arrays["t10k-images-idx3-ubyte"].reshape(2, 20).tolist()
    assert test.labels.tolist() == arrays["t10k-labels-idx1-ubyte"].tolist()


def test_subfolder_with_a_files_name_is_skipped(folder):
    name = "train-images-idx3-ubyte"
    (folder / name).rename(folder / "train-images.idx3-ubyte")
    (folder / name).mkdir()
    assert len(datasets.idx_folder(folder)[0]) == 6


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^`path` '.*gone' does not exist; pass a folder"):
        datasets.idx_folder(tmp_path / "gone")


def test_file_in_place_of_a_folder_is_named(folder):
    with pytest.raises(NotADirectoryError, match="ubyte' is a file; pass the folder"):
        datasets.idx_folder(folder / NAMES[0])


@pytest.mark.parametrize("name", NAMES)
def test_error_for_a_missing_file_names_it_and_lists_the_folder(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"^folder ") as caught:
        datasets.idx_folder(folder)
    message = str(caught.value)
    dotted = name.replace("-idx", ".idx")
    for wanted in (name, dotted, f"{name}.gz", f"{dotted}.gz"):
        assert repr(wanted) in message
    there = ", ".join(repr(other) for other in sorted(NAMES) if other != name)
    assert f"it has {there}; add the file" in message


@pytest.mark.parametrize("inner", ["fashion", "MNIST/raw"])
def test_files_in_a_deeper_folder_are_found_and_that_folder_named(folder, tmp_path_factory, inner):
    outer = tmp_path_factory.mktemp("outer")
    (outer / inner).parent.mkdir(exist_ok=True)
    folder.rename(outer / inner)
    with pytest.raises(FileNotFoundError, match=r"^folder .*; all four files are in .*: pass that") as error:
        datasets.idx_folder(outer)
    named = re.search(r"are in '(.*)': pass that folder$", str(error.value)).group(1)
    assert Path(named) == outer / inner
    assert len(datasets.idx_folder(named)[0]) == 6


@pytest.mark.parametrize("name", NAMES)
def test_file_in_a_folder_with_its_name_is_found(folder, name):
    (folder / name).rename(folder / "aside")
    (folder / name).mkdir()
    (folder / "aside").rename(folder / name / name)
    with pytest.raises(FileNotFoundError, match=rf"'{name}/'.*; it is in '.*{name}': move the four files"):
        datasets.idx_folder(folder)


def test_error_for_an_empty_folder_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="it is empty; add the file"):
        datasets.idx_folder(tmp_path)


def test_crowded_folder_is_listed_in_part(tmp_path):
    for index in range(20):
        (tmp_path / f"{index:02}").touch()
    with pytest.raises(FileNotFoundError, match="'06', '07' and 12 more; add the file"):
        datasets.idx_folder(tmp_path)


def test_counts_that_differ_name_both_files(folder, arrays):
    name = "t10k-labels-idx1-ubyte"
    (folder / name).write_bytes(idx_bytes(arrays[name][:1]))
    expected = "t10k-images.* holds 2 images, but .*t10k-labels.* holds 1 labels; "
    with pytest.raises(ValueError, match=expected):
        datasets.idx_folder(folder)


def test_image_sizes_that_differ_name_both_files(folder, arrays):
    name = "t10k-images-idx3-ubyte"
    (folder / name).write_bytes(idx_bytes(arrays[name][:, :2]))
    expected = "train-images.* have 20 pixels each, those of .*t10k-images.* have 10; "
    with pytest.raises(ValueError, match=expected):
        datasets.idx_folder(folder)


def test_swapped_images_and_labels_are_noticed(folder):
    images, labels = folder / NAMES[0], folder / NAMES[1]
    images.rename(folder / "aside")
    labels.rename(images)
    (folder / "aside").rename(labels)
    with pytest.raises(ValueError, match="images and labels are not swapped"):
        datasets.idx_folder(folder)


def test_damaged_file_in_a_folder_is_named(folder):
    path = folder / NAMES[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=re.escape(repr(str(path)))):
        datasets.idx_folder(folder)


def test_bundled_images_are_28_by_28():
    assert read_idx(MNIST_FILES / "t10k-images-idx3-ubyte.gz", ndim=3).shape == (10000, 28, 28)
