"""The rules for layers of images: see `lowering`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.nn.windows import Window, pool_windows, windows
from xpnet.replay.lower import Lowering, Rule
from xpnet.replay.trace import Call, Value

LANES = {"float32": 16, "float64": 8}
"""Elements of a vector of `kernels.convolution`."""

Add = Callable[..., Any]


class ImageRules:
    """What becomes of calls on images.

    Parameters
    ----------
    add : callable
        Adds an operation: see `lowering.Rules.add`.
    value, alias : callable
        Return a new value of a shape, and a value with another shape in the memory of one.

    Attributes
    ----------
    table : dict
        The rules, by the names of functions.
    """

    def __init__(self, add: Add, value: Callable[..., Value], alias: Callable[..., Value]) -> None:
        self._add, self._value, self._alias = add, value, alias
        self._padded: dict[tuple[Value, Any], Value] = {}
        self.table: dict[str, Rule] = {
            "conv2d": self._convolve,
            "conv2d_backward": self._differentiate,
            "max_pool2d": self._pool("pool_maximum"),
            "max_pool2d_backward": self._pool("pool_maximum_backward"),
            "avg_pool2d": self._pool("pool_mean"),
            "avg_pool2d_backward": self._pool("pool_mean_backward"),
            "global_avg_pool2d": self._pool_all,
            "global_avg_pool2d_backward": self._pool_all_backward,
        }

    def _convolve(self, lowering: Lowering, call: Call) -> bool:
        x, weight, bias = call.arrays.values()
        (y,) = call.results
        over, groups = _windows_of(call), call.numbers["groups"]
        self._correlate(lowering, call, self._pad(lowering, call, x, over), weight, bias, y, over, groups)
        return True

    def _correlate(
        self,
        lowering: Lowering,
        call: Call,
        padded: Value,
        weight: Value,
        bias: Value,
        y: Any,
        over: tuple[Window, Window],
        groups: int,
    ) -> None:
        """Add the convolution of padded images; for few outputs, of several pixels at once."""
        steps, pixels = _steps(over, groups), _pixels_at_once(over[1], y, groups)
        if pixels > 1:
            weight, bias = self._widen(lowering, call, weight, bias, over[1], pixels)
            steps |= {"stride_width": pixels * over[1].stride}
            y = self._alias(y, _wide(y, pixels))
        self._add(lowering, call, "convolve", steps, x=padded, weight=weight, bias=bias, y=y)

    def _widen(
        self, lowering: Lowering, call: Call, weight: Value, bias: Value, window: Window, pixels: int
    ) -> tuple[Value, Value]:
        height, width, channels, n_out = weight.shape
        widened = self._value((height, width + (pixels - 1) * window.stride, channels, pixels * n_out))
        wide_bias = self._value((pixels * bias.shape[0],))
        self._add(
            lowering,
            call,
            "widen",
            {"stride_width": window.stride},
            weight=weight,
            bias=bias,
            widened=widened,
            wide_bias=wide_bias,
        )
        return widened, wide_bias

    def _differentiate(self, lowering: Lowering, call: Call) -> bool:
        x, weight, dy = call.arrays.values()
        dx, d_weight, d_bias = call.results
        over, groups = _windows_of(call), call.numbers["groups"]
        if dx is not None:
            by_pixels = groups == 1 and _products_by_pixels(weight, dy, over) < _products(weight, dx, over)
            if by_pixels:
                self._differentiate_by_pixels(lowering, call, weight, dy, dx, over)
            else:
                self._differentiate_input(lowering, call, weight, dy, dx, over, groups)
        padded = self._pad(lowering, call, x, over)
        self._differentiate_weight(lowering, call, padded, dy, d_weight, over, groups)
        partials = self._value((dy.shape[0], dy.shape[3]))
        self._add(lowering, call, "add_pixels", {}, dy=dy, partials=partials)
        self._add(lowering, call, "add_rows", {}, x=partials, total=d_bias)
        return True

    def _differentiate_weight(
        self,
        lowering: Lowering,
        call: Call,
        padded: Value,
        dy: Value,
        d_weight: Any,
        over: tuple[Window, Window],
        groups: int,
    ) -> None:
        steps, pixels = _steps(over, groups), _pixels_at_once(over[1], dy, groups)
        made, width = d_weight, over[1].size
        if pixels > 1:
            height, width, channels, n_out = d_weight.shape
            width += (pixels - 1) * over[1].stride
            made = self._value((height, width, channels, pixels * n_out))
            steps |= {"stride_width": pixels * over[1].stride}
            dy = self._alias(dy, _wide(dy, pixels))
        taps = self._alias(made, (made.shape[0] * made.shape[1] * made.shape[2], made.shape[3]))
        steps |= {"kernel_width": width}
        self._add(lowering, call, "differentiate_convolution", steps, x=padded, dy=dy, d_weight=taps)
        if pixels > 1:
            stride = {"stride_width": over[1].stride}
            self._add(lowering, call, "narrow", stride, d_widened=made, d_weight=d_weight)

    def _differentiate_input(
        self,
        lowering: Lowering,
        call: Call,
        weight: Value,
        dy: Value,
        dx: Value,
        over: tuple[Window, Window],
        groups: int,
    ) -> None:
        """Add the convolution of `dy`, with zeros between its pixels, with the weight turned around."""
        height, width, channels, n_out = weight.shape
        turned = self._value((height, width, n_out // groups, groups * channels))
        self._add(lowering, call, "turn", {"groups": groups}, weight=weight, turned=turned)
        back = []
        for window in over:
            before = window.reach - 1 - window.before
            after = window.length - 1 + window.reach - before - (window.out - 1) * window.stride - 1
            spread = Window(
                (window.out - 1) * window.stride + 1, window.size, 1, window.dilation, before, after
            )
            back.append(spread)
        padded = self._value((dy.shape[0], *(w.before + w.length + w.after for w in back), n_out))
        places = {"top": back[0].before, "left": back[1].before}
        strides = {"stride_height": over[0].stride, "stride_width": over[1].stride}
        self._add(lowering, call, "pad", places | strides, x=dy, padded=padded)
        nothing = self._value((0,))
        self._correlate(lowering, call, padded, turned, nothing, dx, (back[0], back[1]), groups)

    def _differentiate_by_pixels(
        self,
        lowering: Lowering,
        call: Call,
        weight: Value,
        dy: Value,
        dx: Value,
        over: tuple[Window, Window],
    ) -> None:
        """Add what each pixel of `dy` adds to the padded images, of which the images are a part."""
        runs, inner = _runs(weight, over[1])
        turned = self._value((runs, weight.shape[3], inner))
        flat = self._alias(weight, (runs, inner, weight.shape[3]))
        self._add(lowering, call, "turn_runs", {}, weight=flat, turned=turned)
        lengths = tuple(window.before + window.length + window.after for window in over)
        padded = dx if lengths == dx.shape[1:3] else self._value((dx.shape[0], *lengths, dx.shape[3]))
        steps = _gaps(over) | {"kernel_width": weight.shape[1]}
        self._add(lowering, call, "convolve_back", steps, dy=dy, turned=turned, dx=padded)
        if padded is not dx:
            places = {"top": -over[0].before, "left": -over[1].before}
            places |= {"stride_height": 1, "stride_width": 1}
            self._add(lowering, call, "pad", places, x=padded, padded=dx)

    def _pad(self, lowering: Lowering, call: Call, x: Value, over: tuple[Window, Window]) -> Value:
        """Return images with their padding around them; the gradients share them with the convolution."""
        around = tuple((window.before, window.after) for window in over)
        if around == ((0, 0), (0, 0)):
            return x
        if (x, around) not in self._padded:
            lengths = (window.before + window.length + window.after for window in over)
            padded = self._padded[x, around] = self._value((x.shape[0], *lengths, x.shape[3]))
            places = {"top": around[0][0], "left": around[1][0], "stride_height": 1, "stride_width": 1}
            self._add(lowering, call, "pad", places, x=x, padded=padded)
        return self._padded[x, around]

    def _pool(self, name: str) -> Rule:
        def rule(lowering: Lowering, call: Call) -> bool:
            options = {key: call.numbers[key] for key in ("size", "stride", "padding")}
            results: Any = dict(zip(call.function.results, call.results, strict=True))
            arrays = {**call.arrays, **results}
            rows, columns = pool_windows((call.sizes["height"], call.sizes["width"]), **options)  # type: ignore[index]
            if name == "pool_mean_backward":
                del arrays["x"]
            self._add(lowering, call, name, _pool_places(rows, columns), **arrays)
            return True

        return rule

    def _pool_all(self, lowering: Lowering, call: Call) -> bool:
        (x,), (y,) = call.arrays.values(), call.results
        self._add(lowering, call, "pool_mean", _whole(x), x=x, y=self._alias(y, _pixel(x)))
        return True

    def _pool_all_backward(self, lowering: Lowering, call: Call) -> bool:
        (x, dy), (dx,) = call.arrays.values(), call.results
        dy = self._alias(dy, _pixel(x))
        self._add(lowering, call, "pool_mean_backward", _whole(x), dy=dy, dx=dx)
        return True


def _windows_of(call: Call) -> tuple[Window, Window]:
    sizes: Any = call.sizes
    options = {name: call.numbers[name] for name in ("stride", "padding", "dilation")}
    size = sizes["kernel_height"], sizes["kernel_width"]
    return windows((sizes["height"], sizes["width"]), size, **options)


def _steps(over: tuple[Window, Window], groups: int) -> dict[str, int]:
    return _gaps(over) | {"groups": groups}


def _gaps(over: tuple[Window, Window]) -> dict[str, int]:
    rows, columns = over
    return {
        "stride_height": rows.stride,
        "stride_width": columns.stride,
        "dilation_height": rows.dilation,
        "dilation_width": columns.dilation,
    }


def _pixels_at_once(window: Window, y: Value, groups: int) -> int:
    """Return how many pixels of a row to make as channels of one, so that a vector has more of them to do.

    The kernel gets wider by it: what counts is how many inputs it reads for all of a row.
    """
    _, _, width, n_out = y.shape
    most = LANES[y.dtype.name] // n_out
    if groups > 1 or window.dilation > 1:
        return 1
    choices = [pixels for pixels in range(1, most + 1) if width % pixels == 0] or [1]
    return min(choices, key=lambda pixels: width // pixels * (window.size + (pixels - 1) * window.stride))


def _runs(weight: Value, window: Window) -> tuple[int, int]:
    """Return how many runs of inputs that lie side by side a window has, and how many inputs a run."""
    height, width, channels, _ = weight.shape
    return (height, width * channels) if window.dilation == 1 else (height * width, channels)


def _products(weight: Value, dx: Value, over: tuple[Window, Window]) -> int:
    """Return how many products of vectors make the gradient at an image as a convolution of `dy`."""
    height, width, channels, n_out = weight.shape
    window = Window(over[1].length, width, 1, over[1].dilation, 0, 0)
    pixels = _pixels_at_once(window, dx, 1)
    columns = dx.shape[2] // pixels * (width + pixels - 1)
    return dx.shape[1] * columns * height * n_out * _vectors(channels * pixels, dx)


def _products_by_pixels(weight: Value, dy: Value, over: tuple[Window, Window]) -> int:
    """Return how many make it by pixels of `dy`; to add a vector to memory takes as long as 12 products."""
    runs, inner = _runs(weight, over[1])
    return dy.shape[1] * dy.shape[2] * runs * _vectors(inner, dy) * (dy.shape[3] + 12)


def _vectors(elements: int, x: Value) -> int:
    return -(-elements // LANES[x.dtype.name])


def _wide(y: Value, pixels: int) -> tuple[int, ...]:
    batch, height, width, n_out = y.shape
    return batch, height, width // pixels, pixels * n_out


def _pool_places(rows: Window, columns: Window) -> dict[str, int]:
    return {
        "size_height": rows.size,
        "size_width": columns.size,
        "top": rows.before,
        "left": columns.before,
        "stride_height": rows.stride,
        "stride_width": columns.stride,
    }


def _whole(x: Value) -> dict[str, int]:
    """Return the places of one window over all of an image."""
    return _pool_places(*(Window(length, length, 1, 1, 0, 0) for length in x.shape[1:3]))


def _pixel(x: Value) -> tuple[int, ...]:
    return x.shape[0], 1, 1, x.shape[3]
