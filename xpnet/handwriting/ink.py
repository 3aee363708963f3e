"""Ink on uneven paper: which of the two is brighter, the light of the paper, and what is ink."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from xpnet.handwriting.boxes import fit, resized
from xpnet.handwriting.components import digit_of

_COARSE = 100  # the longer side of the picture of which the background is estimated
_WIDEST = 1 / 3  # strokes are narrower, as a share of the longer side; what is wider is background
_CLEAR = 5.0  # ink differs from the background by as many standard deviations of the noise
_FAINTEST = 0.04  # or by this much of the range from black to white
_WEAK = 0.45  # of the usual strength of the ink; the lines of squared paper are weaker, pencil is not
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
    """Return how much brighter the pixels are than the background around them, at least 0.

    The background is an opening: what is left where no square wider than a stroke fits into brighter pixels.
    """
    coarse = fit(bright, min(_COARSE, max(bright.shape)))
    side = max(3, round(max(coarse.shape) * _WIDEST) | 1)
    opened = _largest(-_largest(-coarse, side), side)
    return np.clip(bright - resized(opened, *bright.shape), 0.0, 1.0)


def ink_of(even: np.ndarray) -> np.ndarray:
    """Return the ink of one digit, 0 to 1, shape (height, width); all 0 if none is found.

    Parameters
    ----------
    even : array of float, shape (height, width)
        An image of bright ink on a background of about 0.
    """
    base, noise = np.percentile(even, 25), _noise(even)
    floor = base + max(_CLEAR * noise, _FAINTEST)
    candidates = even[even > floor]
    if not candidates.size:
        return np.zeros_like(even)
    strength = float(np.median(candidates[candidates >= otsu(candidates)]))
    mask = even > max(floor, base + _WEAK * (strength - base))
    kept = digit_of(mask, even)
    if even[kept].sum() < _LEAST_KEPT * even[mask].sum():
        return np.zeros_like(even)
    around = _largest(kept.astype(np.float32), 3) > 0  # with the pixels that the edge of a stroke half covers
    low = base + 3 * noise
    return np.where(around, np.clip((even - low) / max(strength - low, 1e-6), 0.0, 1.0), 0.0)


def otsu(values: np.ndarray) -> float:
    """Return the threshold that parts values into the two classes that differ most (Otsu 1979)."""
    counts, edges = np.histogram(values, _BINS)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    sums = np.cumsum(counts * middles)
    above = counts.sum() - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    # The middle of equally good ones, which is halfway between two classes that nothing lies between.
    best = np.flatnonzero(between >= np.nanmax(np.nan_to_num(between)) * (1 - 1e-9))
    return float(edges[1:-1][best].mean())


def _noise(even: np.ndarray) -> float:
    """Return the standard deviation of noise: the smaller of two estimates that ink hardly changes."""
    spread = 1.4826 * np.median(np.abs(even - np.median(even)))
    steps = [np.abs(np.diff(even, axis=axis)).ravel() for axis in (0, 1)]
    return float(min(spread, np.median(np.concatenate(steps)) / 0.954 if even.size > 1 else 0.0))


def _smooth(image: np.ndarray) -> np.ndarray:
    """Return the mean of the square around each pixel, as wide as the background's."""
    side = max(3, round(max(image.shape) * _WIDEST) | 1)
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
    return sliding_window_view(np.pad(image, around, mode="edge"), side, axis=axis)
