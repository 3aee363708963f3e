"""Images and their labels, checked once, on the host."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, SupportsIndex, overload

import numpy


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled images, one per row; a slice of a dataset is a dataset that shares its memory.

    A dataset can be copied and pickled, and is equal only to itself.

    The arrays are checked here, so that no later code has to. The dataset keeps read-only views: the caller's
    arrays stay writable, and later changes to them show in the dataset. A training does not see them: when it
    begins, it takes a snapshot of images and labels, of the test set too. Only a file mapped read-only
    is not copied, and must not change meanwhile. An evaluation uses the arrays as they are when it is called.
    Both check again that labels are classes of the model and that images are finite.

    Parameters
    ----------
    images : array, shape (n, features), (n, height, width) or (n, height, width, channels), uint8 or float
        Anything that NumPy can convert to uint8, float32 or float64; the dataset holds NumPy arrays, on the
        host. Floating-point values must be finite. uint8 stays uint8 until a batch is gathered. A model that
        takes images gets (n, height, width) with one channel; one that takes rows of features gets the pixels
        of an image as a row.
    labels : array, shape (n,), int
        Class indices, none negative.
    name : str, optional
        Its name, which a model that is trained on it remembers. Slices have the same name.
    classes : iterable of str, optional
        The names of classes 0, 1, 2, ..., kept as a tuple; a model that is trained on it remembers them too.

    Raises
    ------
    TypeError
        If an array has another dtype or cannot be converted.
    ValueError
        If a shape or a value is wrong.
    """

    images: numpy.ndarray
    labels: numpy.ndarray
    name: str | None = field(default=None, kw_only=True)
    classes: tuple[str, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        images = _checked_images(self.images)
        labels = _checked_labels(self.labels, len(images))
        if not (self.name is None or isinstance(self.name, str)):
            raise TypeError(f"`name` must be a str, got {self.name!r}; pass for example `name='digits'`")
        if len(images) != len(labels):
            raise ValueError(
                f"`images` has {len(images)} rows, but `labels` has {len(labels)}; "
                "pass one label for each row"
            )
        classes = None if self.classes is None else checked_classes(self.classes)
        if classes is not None and labels.max() >= len(classes):
            raise ValueError(
                f"`classes` has {len(classes)} names, but `labels` has the label {int(labels.max())}; "
                "name every class"
            )
        _set(self, images, labels, self.name, classes)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copied array is writable, even if the original is not.
        _set(self, **state)

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, key: SupportsIndex) -> tuple[numpy.ndarray, int]: ...

    @overload
    def __getitem__(self, key: slice) -> Dataset: ...

    def __getitem__(self, key: SupportsIndex | slice) -> tuple[numpy.ndarray, int] | Dataset:
        n = len(self)
        if isinstance(key, slice):
            if not range(n)[key]:
                raise ValueError(f"{key!r} selects none of the {n} samples; choose within [0, {n})")
            # Not through __init__, because the values have already been checked.
            return _set(object.__new__(Dataset), self.images[key], self.labels[key], self.name, self.classes)
        try:
            index = operator.index(key)
        except TypeError:
            raise TypeError(
                f"a dataset is indexed by an int or a slice, got {type(key).__name__}; "
                "to select rows, make a `Dataset(images[rows], labels[rows])`"
            ) from None
        if not -n <= index < n:
            raise IndexError(f"index {index} is out of range; choose within [{-n}, {n})")
        return self.images[index], int(self.labels[index])

    def __iter__(self) -> Iterator[tuple[numpy.ndarray, int]]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        n, *lengths = self.images.shape
        what = f"{lengths[0]} features" if len(lengths) == 1 else "x".join(map(str, lengths))
        return f"<xpnet.Dataset of {n} images, {what}, {self.images.dtype}, labels {self.labels.dtype}>"


def checked_classes(value: Any) -> tuple[str, ...]:
    """Return names of classes as a tuple, or raise unless they are different str."""
    names = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (None,)
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"`classes` must be names, got {value!r}; pass for example `classes=['cat', 'dog']`")
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ValueError(f"`classes` has the name {twice[0]!r} twice; name each class differently")
    return names


def _set(
    dataset: Dataset,
    images: numpy.ndarray,
    labels: numpy.ndarray,
    name: str | None,
    classes: tuple[str, ...] | None = None,
) -> Dataset:
    """Return `dataset` with read-only views of both arrays."""
    for key, array in (("images", images), ("labels", labels)):
        view = array.view()
        view.flags.writeable = False
        object.__setattr__(dataset, key, view)
    object.__setattr__(dataset, "name", name)
    object.__setattr__(dataset, "classes", classes)
    return dataset


def _checked_images(value: Any) -> numpy.ndarray:
    images = _as_array("images", value)
    if images.dtype not in (numpy.uint8, numpy.float32, numpy.float64):
        raise TypeError(
            f"`images` must have dtype uint8, float32 or float64, got {images.dtype}; "
            f"{_image_dtype_advice(value, images)}"
        )
    if 0 in images.shape:
        raise ValueError(
            f"`images` must hold at least one sample and one feature, got shape {images.shape}; "
            "check how it was made"
        )
    if images.ndim not in (2, 3, 4):
        advice = _image_shape_advice(value, images)
        raise ValueError(
            "`images` must have shape (n, features), (n, height, width) or (n, height, width, channels), "
            f"got {images.shape}; {advice}"
        )
    if images.dtype.kind == "f":
        _check_finite(images)
    return images


def _image_dtype_advice(value: Any, images: numpy.ndarray) -> str:
    spelled = _spelled("images", value)
    if images.dtype.kind in "iu":
        return f"for pixels in 0..255 pass `{spelled}.astype('uint8')`, else `{spelled}.astype('float32')`"
    if images.dtype.kind in "bf":
        return f"pass `{spelled}.astype('float32')`"
    return "pass real numbers"


def _image_shape_advice(value: Any, images: numpy.ndarray) -> str:
    spelled = _spelled("images", value)
    if images.ndim > 2:
        return f"pass `{spelled}.reshape{(len(images), math.prod(images.shape[1:]))}`"
    if images.ndim == 1:
        return f"pass one row per image; `{spelled}.reshape(1, -1)` makes a row of a single image"
    return "pass one row per image"


def _check_finite(images: numpy.ndarray) -> None:
    finite = numpy.isfinite(images).all(axis=tuple(range(1, images.ndim)))  # (n,)
    if not finite.all():
        row = int(finite.argmin())
        value = images[row][~numpy.isfinite(images[row])][0]
        raise ValueError(
            f"`images` must be finite, but row {row} holds {float(value)!r}; repair or drop the row"
        )


def _checked_labels(value: Any, n: int) -> numpy.ndarray:
    """Return `value` as labels of `n` images."""
    labels = _as_array("labels", value)
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"`labels` must have an integer dtype, got {labels.dtype}; {_label_advice(value, labels, n)}"
        )
    if labels.ndim != 1:
        raise ValueError(
            f"`labels` must have shape (n,), got {labels.shape}; {_label_advice(value, labels, n)}"
        )
    if labels.dtype.kind == "i" and (labels < 0).any():
        row = int((labels < 0).argmax())
        raise ValueError(
            f"`labels` must not be negative, but row {row} holds {int(labels[row])}; "
            "number the classes 0, 1, 2, ..."
        )
    return labels


def _label_advice(value: Any, labels: numpy.ndarray, n: int) -> str:
    """Return how to turn `labels` into class indices of `n` images, as far as that can be told."""
    spelled = _spelled("labels", value)
    if _is_one_hot(labels, n):
        return f"pass class indices, for example `{spelled}.argmax(axis=1)` of one-hot rows"
    if labels.ndim != 1 and labels.size != n:
        return f"pass one class index for each of the {n} images"
    if labels.ndim != 1:
        spelled += ".ravel()"
    if labels.dtype.kind in "iu":
        return f"pass `{spelled}`"
    if labels.dtype.kind in "bf" and all(map(float.is_integer, labels.astype(float).ravel().tolist())):
        return f"pass `{spelled}.astype('int64')`"
    if labels.dtype.kind in "US":
        return f"number the classes 0, 1, 2, ..., as `numpy.unique({spelled}, return_inverse=True)[1]` does"
    return "number the classes 0, 1, 2, ..."


def _is_one_hot(labels: numpy.ndarray, n: int) -> bool:
    if labels.ndim != 2 or len(labels) != n or labels.shape[1] < 2 or labels.dtype.kind not in "biuf":
        return False
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all())


def _spelled(name: str, value: Any) -> str:
    """Return an expression for the argument `name` that has the methods of NumPy's arrays."""
    return name if isinstance(value, numpy.ndarray) else f"numpy.asarray({name})"


def _as_array(name: str, value: Any) -> numpy.ndarray:
    """Return `value` as a NumPy array in the machine's byte order."""
    try:
        array = numpy.asarray(value)
    except (TypeError, ValueError) as e:
        advice = f"pass a numpy.ndarray, for example `xp.to_host({name})` of an array of the backend `xp`"
        if isinstance(value, list | tuple):
            advice = "give all its rows the same length, and pass only numbers"
        raise TypeError(
            f"`{name}` is a {type(value).__name__} that NumPy cannot convert to an array; {advice}"
        ) from e
    # IDX readers often return big-endian arrays, which other libraries refuse.
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def as_dataset(images: Any) -> Dataset:
    """Return images as a data set, which checks them; what had no labels gets some that are not used."""
    if isinstance(images, Dataset):
        return images
    images = numpy.asarray(images)
    return Dataset(images, numpy.zeros(images.shape[:1], dtype=numpy.uint8))
