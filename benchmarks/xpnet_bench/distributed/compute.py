"""What a training step computes, and the seconds that one rank takes for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import xpnet
from xpnet_bench.distributed import least_squares
from xpnet_bench.limit import layer_products
from xpnet_bench.networks import dense_layers, parameter_count


class Work(NamedTuple):
    """What a rank does in a step.

    Attributes
    ----------
    flops : int
        Multiplications and additions of the dense matrix products.
    parameters : int
    """

    flops: int
    parameters: int

    @property
    def gradient_bytes(self) -> int:
        """The bytes that ranks exchange in a step, float32."""
        return 4 * self.parameters


def work_of(model: xpnet.Sequential, rows: int, shape: tuple[int, ...]) -> Work:
    """Return what a step over so many rows computes; the shape is that of an input."""
    products = layer_products(dense_layers(model, shape), rows)
    return Work(sum(product.flops for product in products), parameter_count(model))


class Compute(NamedTuple):
    """Seconds of a step of one network: a part for each flop, and one for each parameter, whatever the rows.

    Attributes
    ----------
    per_flop, per_parameter : float
        Of one rank that trains alone.
    contention : float
        How many times as long that takes while all ranks compute, at least 1: they share memory and caches.
    per_packed : float
        Seconds per parameter of gathering the gradients in one array, and of reading them there.
    """

    per_flop: float
    per_parameter: float
    contention: float
    per_packed: float

    def alone(self, work: Work) -> float:
        """Return the seconds of a step of one rank."""
        return self.per_flop * work.flops + self.per_parameter * work.parameters

    def beside(self, work: Work) -> float:
        """Return the seconds of a step of each rank while all of them compute, without messages."""
        return self.contention * self.alone(work) + self.per_packed * work.parameters


class Measured(NamedTuple):
    """A network whose steps were measured.

    Attributes
    ----------
    network : str
    parameters : int
    compute : Compute
    """

    network: str
    parameters: int
    compute: Compute


def fitted_compute(works: Sequence[Work], alone: Sequence[float], beside: Sequence[float]) -> Compute:
    """Return the model of measured steps of one network, by least squares of the relative errors."""
    (per_flop, per_parameter), _ = least_squares.fitted(works, alone)
    terms = [[seconds, work.parameters] for seconds, work in zip(alone, works, strict=True)]
    (contention, per_packed), _ = least_squares.fitted(terms, beside)
    return Compute(per_flop, per_parameter, max(1.0, contention), per_packed)


def nearest(measured: Sequence[Measured], parameters: int) -> Measured:
    """Return the network whose number of parameters has the ratio nearest to 1 to this one."""
    return min(measured, key=lambda each: abs(math.log(each.parameters / parameters)))
