"""A picture of any size and colours as greys of a size that can be worked on."""

from __future__ import annotations

from typing import Any

import numpy as np

LARGEST = 800  # longer side in pixels; a digit that takes a twentieth of it still has 40
_LUMINANCE = 0.299, 0.587, 0.114
_SMALLEST = 3


def grey_of(picture: Any) -> np.ndarray:
    """Return a picture as greys, 0 for black to 1 for white, float32, its longer side at most 800 pixels.

    What is transparent is laid over what makes the rest visible.
    """
    pixels = _checked(np.asarray(picture))
    scale = np.float32(255 if pixels.dtype == np.uint8 else 1)
    reduced = _reduced(pixels) / scale
    if pixels.ndim == 2:
        return reduced
    grey = reduced[..., :3].dot(np.array(_LUMINANCE, np.float32))
    return grey if pixels.shape[2] == 3 else _laid_over(grey, reduced[..., 3])


def _checked(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise ValueError(
            f"`picture` must have shape (height, width) or (height, width, 3 or 4), got {pixels.shape}"
        )
    if min(pixels.shape[:2]) < 1 or max(pixels.shape[:2]) < _SMALLEST:
        raise ValueError(
            f"`picture` has {pixels.shape[0]} x {pixels.shape[1]} pixels, too few for a digit; "
            "pass a larger picture"
        )
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind != "f":
        raise TypeError(f"`picture` must be uint8, or float in [0, 1], got {pixels.dtype}")
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):  # which is also true of nan
        raise ValueError(
            f"a `picture` of floats must be in [0, 1], got {low:g} to {high:g}; pass pixels of 0 to 255 as "
            "uint8"
        )
    return pixels


def _reduced(pixels: np.ndarray) -> np.ndarray:
    """Return means of squares of pixels, float32; no array of the size of a large picture is made."""
    factor = -(-max(pixels.shape[:2]) // LARGEST)
    height, width = (max(1, length // factor) for length in pixels.shape[:2])
    if factor == 1:
        return pixels.astype(np.float32)
    down, across = (min(factor, length) for length in pixels.shape[:2])
    blocks = pixels[: height * down, : width * across].reshape(height, down, width, across, -1)
    means = np.asarray(np.mean(blocks, axis=(1, 3), dtype=np.float32))
    return means if pixels.ndim == 3 else means[..., 0]


def _laid_over(grey: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return greys over paper: their own if most of it is visible, else black or white, unlike the ink."""
    visible = alpha > 0.5
    if not visible.any():
        return np.ones_like(grey)
    usual = np.float32(np.median(grey[visible]))
    paper = usual if visible.mean() > 0.5 else np.float32(usual < 0.5)
    return grey * alpha + paper * (1 - alpha)
