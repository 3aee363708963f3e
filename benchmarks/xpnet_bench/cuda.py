"""Matrix products by cuBLAS as one CUDA graph, to time the device and not the Python that launches them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cupy

from xpnet_bench.limit import Product, stored_operands
from xpnet_cupy import blas
from xpnet_cupy.capture import Captured


def multiplier(products: Sequence[Product], *, tf32: bool) -> Callable[[], object]:
    """Return a function that launches float32 products on the current device.

    Parameters
    ----------
    products : sequence of Product
    tf32 : bool
        Whether cuBLAS may round the factors to TF32.
    """
    stored = stored_operands(cupy, products)
    calls = [(*stored[product], product.transposed or "") for product in products]

    def multiply() -> None:
        for left, right, transposed in calls:
            blas.multiply(left, right, transposed=transposed, tf32=tf32)

    return Captured(multiply)
