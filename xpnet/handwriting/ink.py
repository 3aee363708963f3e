"""Ink on uneven paper: which of the two is brighter, the light of the paper, and what is ink."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from xpnet.handwriting.boxes import fit, resized
from xpnet.handwriting.components import digit_of

_COARSE = 100  # the longer side of the picture of which the background is estimated
_WIDEST = 1 / 3  # strokes are narrower, as a share of the longer side; what is wider is background
_EVEN = 0.05  # differences of brightness in paper that is called even
_FITS = 3  # of a surface, each without what lies far above the one before
_CLEAR = 5.0  # ink differs from the background by as many standard deviations of the noise
_FAINTEST = 0.06  # or by this much of the range from black to white
_WEAK = 0.45  # of the usual strength of the ink; the lines of squared paper are weaker, pencil is not
_STRONG = 10.0  # standard deviations of the noise below which the picture is smoothed first
_WEAKEST = 7.0  # standard deviations of the noise below which nothing is ink
_SMOOTHED = 3, 5, 7  # widths of the squares whose means are taken, one after the other
_LEAST_KEPT = 0.25  # of everything that might be ink; the rest are specks
_BINS = 256


def is_on_light(grey: np.ndarray) -> bool:
    """Return whether the ink is darker than the background: it is rare, inside and on the picture's edge."""
    coarse = fit(grey, min(_COARSE, max(grey.shape)))
    even = coarse - _smooth(coarse)
    dark = even < otsu(even)
    edge = np.concatenate([dark[0], dark[-1], dark[:, 0], dark[:, -1]])
    return bool(dark.mean() + edge.mean() < 1.0)


def without_background(bright: np.ndarray) -> np.ndarray:
    """Return how much brighter the pixels are than the background around them.

    An even background is one number. An uneven one is a smooth surface, and of the rest what an opening
    leaves: parts that are wider than a stroke.
    """
    coarse = fit(bright, min(_COARSE, max(bright.shape)))
    paper = coarse[coarse <= otsu(coarse)]
    # The upper quarter may be the soft edges of strokes.
    low, high = np.percentile(paper, [5, 75])
    if high - low < _EVEN:
        return bright - np.float32(np.median(paper))
    side = max(3, round(max(coarse.shape) * _WIDEST) | 1)
    surface = _surface(coarse)
    opened = _largest(-_largest(surface - coarse, side), side)
    return bright - resized(surface + opened, *bright.shape)


def _surface(image: np.ndarray) -> np.ndarray:
    """Return the quadratic surface that is nearest to the darker part of an image: the fall of the light."""
    y, x = (np.linspace(-1, 1, length) for length in image.shape)
    down, across = (part.ravel() for part in np.meshgrid(y, x, indexing="ij"))
    terms = np.stack([down**0, down, across, down * across, down**2, across**2], axis=1)
    values = image.ravel()
    rows = np.ones(values.size, bool)
    for _ in range(_FITS):
        heights = terms.dot(np.linalg.lstsq(terms[rows], values[rows], rcond=None)[0])
        rows = values - heights <= otsu(values - heights)  # without the ink
    return heights.reshape(image.shape).astype(np.float32)


def ink_of(even: np.ndarray) -> np.ndarray:
    """Return the ink of one digit, 0 to 1, shape (height, width); all 0 if none is found.

    Parameters
    ----------
    even : array of float, shape (height, width)
        An image of bright ink on a background of about 0.
    """
    levels = _levels(even)
    for side in _SMOOTHED:
        if levels.strength - levels.base > _STRONG * levels.noise:
            break
        smooth = _mean(even, side)
        levels, even = _levels(smooth, side), smooth
    if levels.strength - levels.base < _WEAKEST * levels.noise:
        return np.zeros_like(even)
    floor = levels.base + max(_CLEAR * levels.noise, _FAINTEST)
    mask = even > max(floor, levels.base + _WEAK * (levels.strength - levels.base))
    kept = digit_of(mask, even)
    if even[kept].sum() < _LEAST_KEPT * even[mask].sum():
        return np.zeros_like(even)
    around = _largest(kept.astype(np.float32), 3) > 0  # with the pixels that the edge of a stroke half covers
    low = levels.base + 3 * levels.noise
    ink = np.clip((even - low) / max(levels.strength - low, 1e-6), 0.0, 1.0)
    return np.where(around, ink, 0.0)


class _Levels(NamedTuple):
    """The background's usual level, the standard deviation of its noise, and the level of ink."""

    base: float
    noise: float
    strength: float


def _levels(even: np.ndarray, lag: int = 1) -> _Levels:
    base, noise = float(np.percentile(even, 25)), _noise(even, lag)
    candidates = even[even > base + max(_CLEAR * noise, _FAINTEST)]
    strong = candidates[candidates >= otsu(candidates)] if candidates.size else candidates
    return _Levels(base, noise, float(np.median(strong)) if strong.size else base)


def otsu(values: np.ndarray) -> float:
    """Return the threshold that parts values into the two classes that differ most (Otsu 1979)."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low
    counts, edges = np.histogram(values, _BINS, (low, high))
    sums = np.cumsum(counts * (edges[:-1] + edges[1:]) / 2)
    below = np.cumsum(counts)[:-1]  # The first and the last bin have a value, so neither class is empty.
    above = values.size - below
    between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    # The middle of equally good ones, which is halfway between two classes that nothing lies between.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[1:-1][best].mean())


def _noise(even: np.ndarray, lag: int) -> float:
    """Return the standard deviation of noise: the smaller of two estimates that ink hardly changes.

    Pixels that are `lag` apart have independent noise.
    """
    spread = 1.4826 * np.median(np.abs(even - np.median(even)))
    steps = np.concatenate([(even[lag:] - even[:-lag]).ravel(), (even[:, lag:] - even[:, :-lag]).ravel()])
    return float(min(spread, np.median(np.abs(steps)) / 0.954)) if steps.size else 0.0


def _smooth(image: np.ndarray) -> np.ndarray:
    """Return the mean of the square around each pixel, as wide as the background's."""
    return _mean(image, max(3, round(max(image.shape) * _WIDEST) | 1))


def _mean(image: np.ndarray, side: int) -> np.ndarray:
    """Return the mean of the square around each pixel; `side` is odd."""
    for axis in (0, 1):
        image = _windows(image, side, axis).mean(axis=-1)
    return image


def _largest(image: np.ndarray, side: int) -> np.ndarray:
    """Return the maximum of the square around each pixel; `side` is odd."""
    for axis in (0, 1):
        image = _windows(image, side, axis).max(axis=-1)
    return image


def _windows(image: np.ndarray, side: int, axis: int) -> np.ndarray:
    around = [(side // 2, side // 2) if i == axis else (0, 0) for i in (0, 1)]
    return sliding_window_view(np.pad(image, around, mode="reflect", reflect_type="odd"), side, axis=axis)
