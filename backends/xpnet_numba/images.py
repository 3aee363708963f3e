"""The compressed form of images that are mostly zero."""

from __future__ import annotations

from typing import Any

import numpy

from xpnet_numba import machine_code
from xpnet_numba.lowering import BLOCKS
from xpnet_numba.team import address

Array = Any


def compress(images: Array, blocks: int = BLOCKS) -> tuple[Array, Array]:
    """Return `starts` and `entries` of images that are stored row by row, see `kernels.products.compress`."""
    starts = numpy.empty(len(images) * blocks + 1, numpy.int64)
    entries = numpy.empty(numpy.count_nonzero(images) + 1, numpy.uint32)
    fill = machine_code.function("compress", images.dtype, 6)
    fill(address(images), *images.shape, blocks, address(starts), address(entries))
    return starts, entries


class CompressedImages:
    """The compressed form of the images that a step was last given."""

    def __init__(self) -> None:
        self._images: Array = None
        self._blocks = 0
        self._arrays: tuple[Array, Array] = ()  # type: ignore[assignment]

    def of(self, images: Array, blocks: int) -> tuple[Array, Array]:
        """Return what `compress` returns for images."""
        if images is not self._images or blocks != self._blocks:
            self._images, self._blocks, self._arrays = images, blocks, compress(images, blocks)
        return self._arrays
