"""Inputs and their targets, checked once, on the host."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import numpy

from xpnet.datasets.arrays import checked_inputs
from xpnet.datasets.parting import SEED, check_each_class, rows_of_parts, stratified
from xpnet.datasets.targets import checked_classes, checked_targets, checked_weights

if TYPE_CHECKING:
    from xpnet.datasets.encoding import Encoding


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Inputs with their targets, one sample per row; a slice is a dataset that shares the memory.

    A dataset can be copied and pickled, and is equal only to itself.

    The arrays are checked here, so that no later code has to. The dataset keeps read-only views: the caller's
    arrays stay writable, and later changes to them show in the dataset. A training does not see them: when it
    begins, it takes a snapshot of inputs and targets, of the test set too. Only a file mapped read-only
    is not copied, and must not change meanwhile. An evaluation uses the arrays as they are when it is called.
    Both check again that labels are classes of the model and that inputs are finite.

    Parameters
    ----------
    inputs : array, shape (n, features), (n, height, width) or (n, height, width, channels), uint8 or float
        Anything that NumPy can convert to uint8, float32 or float64; the dataset holds NumPy arrays, on the
        host. Floating-point values must be finite. uint8 stays uint8 until a batch is gathered. A model that
        takes images gets (n, height, width) with one channel; one that takes rows of features gets the pixels
        of an image as a row.
    targets : array
        - Class indices, shape (n,), int, none negative.
        - Names of classes, shape (n,), str. They become class indices; `classes` has the names, in order of
          the alphabet unless it was passed.
        - Numbers, shape (n, columns) or (n,), float; whole numbers and truth values in several columns become
          floats. They are the probability of each class (one-hot and soft labels), whether each of several
          labels applies, or values to predict: the loss says which.
    name : str, optional
        Its name, which a model that is trained on it remembers. Slices have the same name.
    classes : iterable of str, optional
        The names of classes 0, 1, 2, ..., kept as a tuple; a model that is trained on it remembers them too.
    sample_weight : array, shape (n,), optional
        How much each sample counts in losses, 0 or above.
    encoding : Encoding, optional
        How it was made of a table; a model that is trained on it remembers it, and reads others like it.

    Attributes
    ----------
    images, labels : array
        Other names of inputs, and of targets that are class indices.

    Raises
    ------
    TypeError
        If an array has another dtype or cannot be converted.
    ValueError
        If a shape or a value is wrong.
    """

    inputs: numpy.ndarray
    targets: numpy.ndarray
    name: str | None = field(default=None, kw_only=True)
    classes: tuple[str, ...] | None = field(default=None, kw_only=True)
    sample_weight: numpy.ndarray | None = field(default=None, kw_only=True)
    encoding: Encoding | None = field(default=None, kw_only=True)
    had_names: bool = field(default=False, init=False)
    """Whether the targets were names of classes."""

    def __post_init__(self) -> None:
        inputs = checked_inputs(self.inputs)
        classes = None if self.classes is None else checked_classes(self.classes)
        targets, classes, had_names = checked_targets(self.targets, len(inputs), classes)
        if not (self.name is None or isinstance(self.name, str)):
            raise TypeError(f"`name` must be a str, got {self.name!r}; pass for example `name='digits'`")
        if len(inputs) != len(targets):
            raise ValueError(
                f"`inputs` has {len(inputs)} rows, but `targets` has {len(targets)}; "
                "pass one target for each row"
            )
        weights = None if self.sample_weight is None else checked_weights(self.sample_weight, len(inputs))
        others = {"name": self.name, "classes": classes, "encoding": self.encoding, "had_names": had_names}
        _set(self, inputs, targets, weights, **others)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copied array is writable, even if the original is not.
        _set(self, **state)

    @property
    def images(self) -> numpy.ndarray:
        """The inputs."""
        return self.inputs

    @property
    def labels(self) -> numpy.ndarray:
        """The targets, which are class indices, shape (n,).

        Raises
        ------
        AttributeError
            If they are numbers.
        """
        if not self.has_labels:
            raise AttributeError(
                f"the targets of this data set are numbers, shape {self.targets.shape}, not class indices; "
                "use `targets`"
            )
        return self.targets

    @property
    def has_labels(self) -> bool:
        """Whether the targets are class indices."""
        return self.targets.ndim == 1

    def select(self, rows: Any) -> Dataset:
        """Return the samples at these rows: anything that selects several rows of an array.

        Raises
        ------
        ValueError
            If it selects none.
        """
        inputs = self.inputs[rows]
        if not len(inputs):
            raise ValueError(f"no row of the {len(self)} samples is selected; choose within [0, {len(self)})")
        weights = None if self.sample_weight is None else self.sample_weight[rows]
        return self._with(inputs, self.targets[rows], weights)

    def weighted(self, sample_weight: Any) -> Dataset:
        """Return the same samples with these weights, shape (n,), in the place of any others."""
        return self._with(self.inputs, self.targets, checked_weights(sample_weight, len(self)))

    def _with(self, inputs: numpy.ndarray, targets: numpy.ndarray, weights: numpy.ndarray | None) -> Dataset:
        """Return a data set that is like this one but for its arrays, which have been checked already."""
        others = {name: getattr(self, name) for name in ("name", "classes", "encoding", "had_names")}
        return _set(object.__new__(Dataset), inputs, targets, weights, **others)

    def split(
        self, share: float = 0.2, *, seed: int = SEED, stratify: bool | None = None
    ) -> tuple[Dataset, Dataset]:
        """Return two parts: the rest, in random order, and a part with this share, in the old order.

        Parameters
        ----------
        share : float
            Of the second part, in (0, 1). Both parts have at least one sample.
        seed : int
            In ``[0, 2**64)``. Equal seeds split equal targets alike.
        stratify : bool, optional
            Whether each class has its share in both parts, rounded; True refuses a class that cannot be in
            both. If omitted, this is done if targets are class indices, and a class with a single sample is
            only in the first part.

        Raises
        ------
        ValueError
            If `share` is out of range, if a part would be empty, or if `stratify` is True and targets are
            numbers, or a class has fewer than two samples.
        """
        labels = self.targets if stratified(stratify, has_labels=self.has_labels) else None
        if stratify:
            check_each_class(self.targets, self.classes)
        rest, part = rows_of_parts(len(self), labels, share=share, seed=seed)
        return self.select(rest), self.select(part)

    def __len__(self) -> int:
        return len(self.inputs)

    @overload
    def __getitem__(self, key: SupportsIndex) -> tuple[numpy.ndarray, Any]: ...

    @overload
    def __getitem__(self, key: slice) -> Dataset: ...

    def __getitem__(self, key: SupportsIndex | slice) -> tuple[numpy.ndarray, Any] | Dataset:
        n = len(self)
        if isinstance(key, slice):
            if not range(n)[key]:
                raise ValueError(f"{key!r} selects none of the {n} samples; choose within [0, {n})")
            return self.select(key)
        try:
            index = operator.index(key)
        except TypeError:
            raise TypeError(
                f"a dataset is indexed by an int or a slice, got {type(key).__name__}; "
                "to select rows, call `dataset.select(rows)`"
            ) from None
        if not -n <= index < n:
            raise IndexError(f"index {index} is out of range; choose within [{-n}, {n})")
        target = self.targets[index]
        return self.inputs[index], int(target) if self.has_labels else target

    def __iter__(self) -> Iterator[tuple[numpy.ndarray, Any]]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        n, *lengths = self.inputs.shape
        kind = "samples" if len(lengths) == 1 else "images"
        what = f"{lengths[0]} features" if len(lengths) == 1 else "x".join(map(str, lengths))
        targets = "labels" if self.has_labels else f"{self.targets.shape[1]} targets"
        return f"<xpnet.Dataset of {n} {kind}, {what}, {self.inputs.dtype}, {targets} {self.targets.dtype}>"


def _set(
    dataset: Dataset,
    inputs: numpy.ndarray,
    targets: numpy.ndarray,
    sample_weight: numpy.ndarray | None,
    **others: Any,
) -> Dataset:
    """Return `dataset` with read-only views of the arrays."""
    for key, array in (("inputs", inputs), ("targets", targets), ("sample_weight", sample_weight)):
        view = array if array is None else array.view()
        if view is not None:
            view.flags.writeable = False
        object.__setattr__(dataset, key, view)
    for key, value in others.items():
        object.__setattr__(dataset, key, value)
    return dataset


def without_targets(inputs: Any) -> Dataset:
    """Return images, or those of a data set, as a data set whose targets are 0."""
    is_dataset = isinstance(inputs, Dataset)
    checked = inputs.inputs if is_dataset else checked_inputs(inputs, "images")
    blank = numpy.zeros(len(checked), dtype=numpy.uint8)
    kept = {name: getattr(inputs, name) if is_dataset else None for name in ("name", "encoding")}
    return _set(object.__new__(Dataset), checked, blank, None, **kept, classes=None, had_names=False)
