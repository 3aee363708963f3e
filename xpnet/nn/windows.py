"""Windows that move over images: where they are, in whole numbers, and images around them.

Images are ``(batch, height, width, channels)``. An option that has one value for height and one for width is
a whole number for both, or a pair. Padding is

- ``"valid"``: none;
- ``"same"``: as much as makes an output of ``ceil(length / stride)``, half of it on each side and the odd
  one at the end, as in TensorFlow and JAX;
- a whole number: that much on each side;
- ``((top, bottom), (left, right))``.
"""

import dataclasses
import operator
from collections.abc import Callable, Mapping
from typing import Annotated, Any, cast

Array = Any
Pair = int | tuple[int, int]
Padding = str | int | tuple[tuple[int, int], tuple[int, int]]

# With values from which tests draw.
Size = Annotated[Pair, 2, 3, (1, 2), (3, 2)]
Stride = Annotated[Pair, 1, 2, (1, 3), (2, 1)]
Dilation = Annotated[Pair, 1, 2, (2, 1)]
Around = Annotated[Padding, "same", "valid", 1, ((0, 1), (1, 0))]
Groups = Annotated[int, 1, 2, 3, 6]
SIDES = {"height": (5, 6, 7, 9), "width": (5, 6, 8), "channels": (2, 3, 6)}


@dataclasses.dataclass(frozen=True)
class Window:
    """Windows along one axis of an image.

    Attributes
    ----------
    length, size : int
        Of the image, and of a window without its gaps.
    stride, dilation : int
        From one window to the next, and from one element of a window to the next.
    before, after : int
        The padding.
    """

    length: int
    size: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def reach(self) -> int:
        """The elements from a window's first to its last."""
        return (self.size - 1) * self.dilation + 1

    @property
    def out(self) -> int:
        """The number of windows."""
        return (self.before + self.length + self.after - self.reach) // self.stride + 1

    def begin(self, i: int) -> slice:
        """Return the places of the element `i` of all windows in the padded image."""
        first = i * self.dilation
        return slice(first, first + (self.out - 1) * self.stride + 1, self.stride)

    def rest(self, i: int) -> tuple[int, int]:
        """Return how much of the image lies before and behind those places; negative in the padding."""
        first = i * self.dilation - self.before
        return first, self.length - first - (self.out - 1) * self.stride - 1


def pair(name: str, value: Any, *, least: int = 1) -> tuple[int, int]:
    """Return an option for height and for width, or raise ValueError."""
    both = value if isinstance(value, tuple | list) else (value, value)
    try:
        height, width = map(operator.index, both)
    except (TypeError, ValueError):
        height = width = least - 1
    if min(height, width) < least or isinstance(value, bool):
        raise ValueError(
            f"`{name}` must be a whole number from {least} on, or one for height and one for width, "
            f"got {value!r}"
        )
    return height, width


def padding_option(name: str, value: Any) -> Padding:
    """Return a padding with all its numbers as ints, or raise ValueError."""
    if isinstance(value, str) and value in ("same", "valid"):
        return str(value)
    try:
        if isinstance(value, tuple | list):
            height, width = (pair(name, list(one), least=0) for one in value)
            return height, width
        return pair(name, value, least=0)[0]
    except (TypeError, ValueError):
        raise ValueError(
            f"`{name}` must be 'same', 'valid', a whole number or ((top, bottom), (left, right)), "
            f"got {value!r}"
        ) from None


def windows(
    lengths: tuple[int, int], size: Pair, *, stride: Pair, padding: Padding, dilation: Pair = 1
) -> tuple[Window, Window]:
    """Return the windows along height and width.

    Raises
    ------
    ValueError
        If an option is none, or if the padded image is smaller than one window.
    """
    sizes, strides, dilations = pair("size", size), pair("stride", stride), pair("dilation", dilation)
    padding = padding_option("padding", padding)
    found = []
    for axis in (0, 1):
        made = Window(lengths[axis], sizes[axis], strides[axis], dilations[axis], 0, 0)
        before, after = _around(made, padding, axis)
        found.append(dataclasses.replace(made, before=before, after=after))
    if min(window.out for window in found) < 1:
        with_padding = tuple(window.before + window.length + window.after for window in found)
        reach = tuple(window.reach for window in found)
        raise ValueError(
            f"a window of {reach} is larger than an image of {tuple(lengths)}, which is {with_padding} with "
            "padding"
        )
    return found[0], found[1]


def _around(window: Window, padding: Padding, axis: int) -> tuple[int, int]:
    if padding == "same":
        out = -(-window.length // window.stride)
        total = max(0, (out - 1) * window.stride + window.reach - window.length)
        return total // 2, total - total // 2
    if isinstance(padding, str):
        return 0, 0
    return (padding, padding) if isinstance(padding, int) else padding[axis]


def pool_windows(
    lengths: tuple[int, int], size: Pair, *, stride: Pair, padding: Padding
) -> tuple[Window, Window]:
    """Return the windows of pooling, or raise ValueError; see `windows`.

    Each must hold at least one element of the image.
    """
    found = windows(lengths, size, stride=stride, padding=padding)
    for window in found:
        if max(window.before, window.after) >= window.size:
            raise ValueError(
                f"`padding` of {window.before} and {window.after} is not below the size {window.size}, so a "
                "window could hold nothing but padding"
            )
    return found


def lengths_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return height and width of a batch of images, or raise ValueError."""
    if len(shape) != 4:
        raise ValueError(f"images are (batch, height, width, channels), got shape {tuple(shape)}")
    return int(shape[1]), int(shape[2])


def out_lengths(
    of: Callable[[tuple[int, int], Mapping[str, int], Mapping[str, Any]], tuple[Window, Window]],
) -> dict[str, Callable[[Mapping[str, int], Mapping[str, Any]], int]]:
    """Return the computed axes `out_height` and `out_width`, for a declaration.

    Parameters
    ----------
    of : callable
        Takes the lengths of an image, those of all axes, and the options; returns the windows.
    """

    def along(axis: int) -> Callable[[Mapping[str, int], Mapping[str, Any]], int]:
        return lambda lengths, given: of((lengths["height"], lengths["width"]), lengths, given)[axis].out

    return {"out_height": along(0), "out_width": along(1)}


def padded(xp: Any, x: Array, around: tuple[tuple[int, int], tuple[int, int]], fill: float = 0.0) -> Array:
    """Return images with so much more on each side; with less where it is negative."""
    for axis, (before, after) in enumerate(around, 1):
        total = before + x.shape[axis] + after
        kept = slice(max(0, -before), max(0, x.shape[axis] + min(0, after)))
        x = x[:, kept, ...] if axis == 1 else x[:, :, kept, ...]
        first = min(max(0, before), total)
        last = total - first - x.shape[axis]
        parts = [_filled(xp, x, axis, first, fill), x, _filled(xp, x, axis, last, fill)]
        parts = [part for part in parts if part is not None]
        x = xp.concat(parts, axis=axis) if len(parts) > 1 else x
    return x


def _filled(xp: Any, x: Array, axis: int, length: int, fill: float) -> Array | None:
    if length <= 0:
        return None
    shape = (*x.shape[:axis], length, *x.shape[axis + 1 :])
    return xp.full(shape, fill, dtype=x.dtype)


def spread(xp: Any, x: Array, strides: tuple[int, int]) -> Array:
    """Return images with ``stride - 1`` zeros between neighbours."""
    for axis, stride in enumerate(strides, 1):
        if stride > 1:
            apart = xp.expand_dims(x, axis=axis + 1)
            apart = xp.concat([apart, _filled(xp, apart, axis + 1, stride - 1, 0.0)], axis=axis + 1)
            length = x.shape[axis]
            joined = xp.reshape(apart, (*x.shape[:axis], length * stride, *x.shape[axis + 1 :]))
            kept = slice(0, (length - 1) * stride + 1)
            x = joined[:, kept, ...] if axis == 1 else joined[:, :, kept, ...]
    return x


def elements(xp: Any, x: Array, over: tuple[Window, Window], fill: float = 0.0) -> list[Array]:
    """Return each element of the windows: arrays of shape (batch, out_height, out_width, channels)."""
    x = padded(xp, x, tuple((window.before, window.after) for window in over), fill)  # type: ignore[arg-type]
    rows, columns = over
    return [x[:, rows.begin(i), columns.begin(j), :] for i in range(rows.size) for j in range(columns.size)]


def gathered(xp: Any, parts: list[Array], over: tuple[Window, Window]) -> Array:
    """Return an image of the sums of what its elements have in all windows; the reverse of `elements`."""
    rows, columns = over
    places = [(i, j) for i in range(rows.size) for j in range(columns.size)]
    total = None
    for (i, j), part in zip(places, parts, strict=True):
        placed = padded(xp, spread(xp, part, (rows.stride, columns.stride)), (rows.rest(i), columns.rest(j)))
        total = placed if total is None else total + placed
    return cast(Array, total)
