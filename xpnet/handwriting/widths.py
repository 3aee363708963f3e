"""The width of strokes, and digits drawn again with strokes about as wide as MNIST's."""

from __future__ import annotations

import numpy as np

from xpnet.handwriting.boxes import box_of, fit
from xpnet.handwriting.components import labelled

# In pixels of a digit whose longer side has 20: 80 % of the first 3000 of MNIST are between them.
_THIN, _WIDE = 1.7, 3.2
_OF = 20
_COARSE = 80  # the longer side of the digit whose strokes are measured
_FINE = 8  # pixels for one of those, to change a width by less than a pixel


def stroke_width(digit: np.ndarray) -> float:
    """Return the mean width of strokes in pixels: twice the area of the ink by the length of its outline."""
    coarse = fit(digit, min(_COARSE, max(digit.shape)))
    level = np.percentile(coarse[coarse > 0], 90)
    clear = np.pad(np.clip(2 * coarse / level - 0.5, 0.0, 1.0), 1)  # without most of the noise
    down, across = np.diff(clear, axis=0)[:, :-1], np.diff(clear, axis=1)[:-1]
    width = 2.0 * clear.sum() / np.hypot(down, across).sum()
    return float(width * max(digit.shape) / max(coarse.shape))


def with_width(digit: np.ndarray, box: int) -> np.ndarray:
    """Return a digit, drawn with thicker or thinner strokes if they are unlike MNIST's.

    Parameters
    ----------
    digit : array of float, shape (height, width)
        Cropped to its ink, 0 to 1.
    box : int
        The longer side that it will have.
    """
    width = stroke_width(digit) * _OF / max(digit.shape)
    times = round(abs(min(max(width, _THIN), _WIDE) - width) * _FINE / 2)
    if times == 0 or box < _OF:
        return digit
    fine = np.pad(fit(digit, _OF * _FINE), _FINE * 2)
    mask = fine > fine.max() * (0.25 if width < _THIN else 0.5)  # so that faint lines stay whole
    mask = _grown(mask, times) if width < _THIN else _shrunk(mask, times)
    return mask[box_of(mask).slices].astype(np.float32)


def _shrunk(mask: np.ndarray, times: int) -> np.ndarray:
    """Return a mask without its rim, as far as its parts and holes stay as many."""
    parts, holes = labelled(mask).max(), labelled(~mask).max()
    while times:
        smaller = ~_grown(~mask, times)
        if smaller.any() and (labelled(smaller).max(), labelled(~smaller).max()) == (parts, holes):
            return smaller
        times //= 2
    return mask


def _grown(mask: np.ndarray, times: int) -> np.ndarray:
    """Return a mask that is wider by this many pixels on each side, round at corners."""
    for i in range(times):
        framed = np.pad(mask, 1)
        rows = framed[:-2] | framed[1:-1] | framed[2:]
        if i % 2:
            mask = rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]  # a square
        else:
            mask = rows[:, 1:-1] | framed[1:-1, :-2] | framed[1:-1, 2:]  # a cross
    return mask
