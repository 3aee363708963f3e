"""MNIST, bundled with the package."""

from pathlib import Path

from xpnet.datasets.dataset import Dataset
from xpnet.datasets.idx import read_idx

_FOLDER = Path(__file__).parent / "mnist_files"
# Of the unpacked files, as `mnist_files/LICENSE.md` lists them.
_SHA256 = {
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
}
_REMEDY = "reinstall xpnet, or restore the file in its source"


def mnist() -> tuple[Dataset, Dataset]:
    """Return MNIST, 60000 handwritten digits to train on and 10000 to test on.

    The files are part of the package and their SHA-256 is checked; nothing is downloaded. They are
    by Yann LeCun, Corinna Cortes and Christopher J. C. Burges, under CC BY-SA 3.0.

    Returns
    -------
    train, test : Dataset
        Images of shape (n, 784), uint8: 28 rows of 28 pixels, 0 for paper and 255 for ink. Labels
        are the digits, uint8. Their name is "mnist".

    Raises
    ------
    FileNotFoundError
        If one of the installed files is missing.
    ValueError
        If one is damaged.
    """
    return _read_pair("train"), _read_pair("t10k")


def _read_pair(stem: str) -> Dataset:
    images, labels = (
        read_idx(
            _FOLDER / f"{stem}-{kind}-ubyte.gz",
            ndim=ndim,
            sha256=_SHA256[f"{stem}-{kind}-ubyte"],
            remedy=_REMEDY,
        )
        for kind, ndim in (("images-idx3", 3), ("labels-idx1", 1))
    )
    return Dataset(images.reshape(len(images), -1), labels, name="mnist")  # (n, 784)
