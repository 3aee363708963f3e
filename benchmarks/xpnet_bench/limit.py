"""The dense matrix products of training alone, and the time that a library's BLAS takes for them."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from xpnet.batches import spans
from xpnet_bench.networks import Dense, dense_layers, parameter_count
from xpnet_bench.updates import update_of
from xpnet_bench.workload import Workload

Array = Any

_CUDA = 2  # kDLCUDA of DLPack's DLDeviceType


class Product(NamedTuple):
    """A product of two stored matrices.

    Attributes
    ----------
    left, right : tuple of int
        Shapes as stored.
    transposed : {"left", "right"} or None
        Which of the two is transposed in the product.
    """

    left: tuple[int, int]
    right: tuple[int, int]
    transposed: Literal["left", "right"] | None = None

    @property
    def flops(self) -> int:
        """Number of multiplications and additions."""
        rows, inner = self.left[::-1] if self.transposed == "left" else self.left
        return 2 * rows * inner * self.right[0 if self.transposed == "right" else 1]


def forward_product(batch: int, n_in: int, n_out: int) -> Product:
    """Return ``x weight``."""
    return Product((batch, n_in), (n_in, n_out))


def backward_products(batch: int, n_in: int, n_out: int, *, input_gradient: bool) -> list[Product]:
    """Return ``x^T dz`` and, if the gradient at the input is wanted, ``dz weight^T``."""
    products = [Product((batch, n_in), (batch, n_out), "left")]
    return [*products, Product((batch, n_out), (n_in, n_out), "right")] if input_gradient else products


def batch_products(sizes: Sequence[int], batch: int) -> list[Product]:
    """Return the products of one training step of linear layers."""
    return layer_products([Dense(1, *pair) for pair in itertools.pairwise(sizes)], batch)


def layer_products(layers: Sequence[Dense], batch: int) -> list[Product]:
    """Return the products of one training step; the first layer's input needs no gradient."""
    products = [forward_product(batch * layer.places, *layer[1:]) for layer in layers]
    for i, layer in reversed(list(enumerate(layers))):
        products += backward_products(batch * layer.places, *layer[1:], input_gradient=i > 0)
    return products


def products_of(xp: Any, function: Callable[[Any], Any]) -> list[Product]:
    """Return the products that portable code makes, in order, noted while it runs on a namespace."""
    noting = _Noting(xp)
    function(noting)
    return noting.products


class _Noting:
    """A namespace that notes the products of matrices made on another."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self._stored: list[tuple[Array, Array]] = []  # transposed matrices, and what they are views of
        self.products: list[Product] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)

    def matrix_transpose(self, x: Array) -> Array:
        made = self._xp.matrix_transpose(x)
        self._stored.append((made, x))
        return made

    def matmul(self, left: Array, right: Array) -> Array:
        first, second = self._as_stored(left), self._as_stored(right)
        if first is not left:
            self.products.append(Product(first.shape, right.shape, "left"))
        elif second is not right:
            self.products.append(Product(left.shape, second.shape, "right"))
        else:
            self.products.append(Product(left.shape, right.shape))
        return self._xp.matmul(left, right)

    def _as_stored(self, x: Array) -> Array:
        return next((stored for transposed, stored in self._stored if transposed is x), x)


def epoch_products(workload: Workload, n: int, shape: tuple[int, ...] | None = None) -> list[Product]:
    """Return the products of an epoch over `n` examples; the last batch holds the remainder.

    The shape is that of an input; it is needed if the model takes images. The products of a convolution are
    those of columns, one for each pixel of its output, with the weight.
    """
    layers = dense_layers(workload.model, shape)
    return [p for begin, end in spans(n, workload.batch_size) for p in layer_products(layers, end - begin)]


def epoch_bytes(workload: Workload, n: int, size: int) -> int:
    """Return the least number of bytes that an epoch must read and write, even if arithmetic were free.

    Each input, of `size` bytes, is read once; each step reads and writes every parameter and what the
    optimizer keeps for it, float32.
    """
    steps = len(list(spans(n, workload.batch_size)))
    arrays = 1 + update_of(workload.optimizer).states
    return n * size + steps * parameter_count(workload.model) * arrays * 2 * 4


def gemm_seconds(xp: Any, workload: Workload, *, rounds: int = 5) -> float:
    """Return the time of the products of one epoch, in seconds: the median of `rounds` epochs."""
    train, _ = workload.data()
    products = epoch_products(workload, len(train), train.inputs.shape[1:])
    return product_seconds(xp, products, rounds=rounds)


def product_seconds(xp: Any, products: Sequence[Product], *, rounds: int) -> float:
    """Return the total time of float32 products, in seconds: the median of `rounds`, after a warm-up.

    Equal products share their operands, so those of small batches stay in the processor's cache.
    """
    multiply = multiplier(xp, products)
    seconds = []
    for _ in range(1 + rounds):
        start = time.perf_counter()
        multiply()
        xp.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def multiplier(xp: Any, products: Sequence[Product], *, tf32: bool = False) -> Callable[[], object]:
    """Return a function that computes float32 products and drops them.

    On a CUDA device they are one graph: launched one by one from Python, those of an MNIST epoch took 66 ms
    on an NVIDIA H200, while a whole epoch of training took 15.

    Parameters
    ----------
    xp : Namespace
    products : sequence of Product
    tf32 : bool
        Whether a CUDA device may round the factors to TF32.
    """
    if is_on_cuda(xp):
        from xpnet_bench import cuda  # needs CuPy

        return cuda.multiplier(products, tf32=tf32)
    stored = stored_operands(xp, products)
    operands = {product: _as_multiplied(xp, product, *stored[product]) for product in stored}
    pairs = [operands[product] for product in products]

    def multiply() -> None:
        for left, right in pairs:
            xp.matmul(left, right)

    return multiply


def is_on_cuda(xp: Any) -> bool:
    """Return whether a namespace's arrays are on a CUDA device."""
    device = getattr(xp.zeros((1,), dtype=xp.float32), "__dlpack_device__", None)
    return device is not None and device()[0] == _CUDA


def stored_operands(xp: Any, products: Sequence[Product]) -> dict[Product, tuple[Array, Array]]:
    """Return both factors of each product as stored, as float32 arrays of `xp`."""
    random = np.random.Generator(np.random.Philox(0))
    return {
        product: tuple(xp.asarray(random.random(shape, np.float32)) for shape in product[:2])
        for product in dict.fromkeys(products)
    }


def _as_multiplied(xp: Any, product: Product, left: Array, right: Array) -> tuple[Array, Array]:
    if product.transposed == "left":
        return xp.matrix_transpose(left), right
    if product.transposed == "right":
        return left, xp.matrix_transpose(right)
    return left, right
