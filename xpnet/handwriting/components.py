"""Connected pixels of a mask, and those that belong to one digit."""

from __future__ import annotations

import numpy as np

from xpnet.handwriting.boxes import Box, box_of

_LIGHTEST = 0.05  # of a digit's parts, as a share of the heaviest; strokes of a 4 or a 5 may be apart
_FARTHEST = 0.2  # gap between parts, as a share of the longer side of those that are nearer
_MOST_PARTS = 200  # candidates that are looked at, the heaviest first
_EDGE = 0.2  # a shadow or the rim of the paper touches more of the picture's edge, as a share of its side


def digit_of(mask: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return which pixels of a mask are the heaviest component and others near it, shape (height, width).

    Components that lie along an edge of the picture are left out, unless there is nothing else.

    Parameters
    ----------
    mask : array of bool, shape (height, width)
    weight : array of float, shape (height, width)
        How much ink a pixel has.
    """
    labels = labelled(mask)
    weights = np.bincount(labels.ravel(), weight.ravel())
    weights[0] = 0.0
    order = [int(i) for i in np.argsort(-weights)[:_MOST_PARTS] if weights[i] > 0]
    inner = [i for i in order if not _along_an_edge(labels == i)]
    heaviest = weights[order[0]] if order else 0.0
    if inner and weights[inner[0]] > _LIGHTEST * heaviest:
        order = inner
    kept = order[:1]
    boxes = {i: box_of(labels == i) for i in order if weights[i] >= _LIGHTEST * weights[order[0]]}
    for _ in boxes:
        near = [i for i, box in boxes.items() if i not in kept and _is_near(box, [boxes[k] for k in kept])]
        kept += near
        if not near:
            break
    return np.isin(labels, kept) if kept else np.zeros_like(mask)


def labelled(mask: np.ndarray) -> np.ndarray:
    """Return the number of each pixel's component, from 1; 0 outside the mask. Corners connect."""
    places = np.flatnonzero(np.pad(mask, 1))  # in a frame, so that every pixel has eight neighbours
    width = mask.shape[1] + 2
    parent = np.zeros((mask.shape[0] + 2) * width, np.int64)
    parent[places] = places
    around = [row * width + column for row in (-1, 0, 1) for column in (-1, 0, 1)]
    while True:
        own = parent[places]
        best = np.max([parent[places + step] for step in around], axis=0)
        if (best == own).all():
            break
        np.maximum.at(parent, own, best)  # A whole component moves to the better root of one of its pixels.
        parent[places] = np.maximum(parent[places], best)
        parent[places] = parent[parent[places]]
    found = np.zeros(parent.shape, np.int64)
    found[places] = np.unique(parent[places], return_inverse=True)[1] + 1
    return found.reshape(-1, width)[1:-1, 1:-1]


def _along_an_edge(mask: np.ndarray) -> bool:
    height, width = mask.shape
    along = max(mask[0].sum(), mask[-1].sum()) / width, max(mask[:, 0].sum(), mask[:, -1].sum()) / height
    return max(along) > _EDGE


def _is_near(box: Box, others: list[Box]) -> bool:
    tops, bottoms, lefts, rights = zip(*((b.top, b.bottom, b.left, b.right) for b in others), strict=True)
    whole = Box(min(tops), max(bottoms), min(lefts), max(rights))
    down = max(box.top - whole.bottom, whole.top - box.bottom, 0)
    across = max(box.left - whole.right, whole.left - box.right, 0)
    return max(down, across) <= _FARTHEST * whole.longer
