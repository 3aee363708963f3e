"""The backend `numba`: NumPy's arrays, and compiled kernels where they beat NumPy's own functions.

`compile` replays whole steps: `xpnet.recording` notes what a step calls, `program` turns the calls into
operations in `stages`, `interpreter` carries them out on the threads of a `team`, and `replay` binds it all
to the arrays at hand. While a step is recorded and tried, it calls the portable twins.

Median time of a kernel over that of its twin on NumPy, the two in turns, float32 (float64 is alike but for
adam_step, 0.25 and 0.14), on 2 cores of an AMD EPYC with AVX-512. Small: the course's shapes, batch 128,
784-64-10. Large: 1024 x 1024.

======================  =====  =====    ======================  =====  =====
kernel                  small  large    kernel                  small  large
======================  =====  =====    ======================  =====  =====
sigmoid                 0.25   0.19     softmax_cross_entropy   0.19   0.08
sigmoid_backward        0.62   0.46     sigmoid_cross_entropy   0.13   0.17
relu                    0.61   0.35     squared_error           0.24   0.32
relu_backward           0.29   0.28     sgd_step                0.70   0.54
tanh_backward           0.64   0.52     momentum_step           0.57   0.42
softmax                 0.24   0.63     nesterov_step           0.33   0.30
softmax_backward        0.22   0.28     adam_step               0.07   0.08
log_softmax             0.24   0.67     gather_batch            0.44   0.45
log_softmax_backward    0.36   0.30     linear_backward         1.00   0.98
======================  =====  =====    ======================  =====  =====

Left out: tanh, gather_labels, one_hot and accumulate, which are a pass or two of NumPy's, and linear (0.98
and 0.99), which is the BLAS product and nothing else. linear_backward gains at the output layer alone, by its
bias gradient.
"""

import functools
from typing import Any

import numpy
import threadpoolctl

from xpnet import BackendUnavailableError, Namespace
from xpnet.blas import blas_advice
from xpnet.replay import Replayed

try:
    import numba

    from xpnet_numba import activations, compiled, dense, losses, replay, softmax, steps
except ImportError as e:
    raise BackendUnavailableError(
        "numba", f"cannot be loaded: {e}", "install it with `pip install 'xpnet[numba]'`"
    ) from e
except RuntimeError as e:
    # Numba looks for a folder for its cache as soon as a kernel is defined.
    raise BackendUnavailableError(
        "numba", f"cannot be loaded: {e}", "name a folder that can be written in NUMBA_CACHE_DIR"
    ) from e

_KERNELS = (
    activations.relu,
    activations.relu_backward,
    activations.sigmoid,
    activations.sigmoid_backward,
    activations.tanh_backward,
    dense.gather_batch,
    dense.linear_backward,
    losses.sigmoid_cross_entropy,
    losses.softmax_cross_entropy,
    losses.squared_error,
    softmax.log_softmax,
    softmax.log_softmax_backward,
    softmax.softmax,
    softmax.softmax_backward,
    steps.adam_step,
    steps.momentum_step,
    steps.nesterov_step,
    steps.sgd_step,
)

_TWINS = Namespace("numba", numpy).nn


def _probe() -> None:
    y = activations.relu(numpy.asarray([-1.0, 2.0], dtype=numpy.float32))
    if y.tolist() != [0.0, 2.0]:
        raise RuntimeError(f"`relu` of [-1, 2] is {y.tolist()} here")


def _compile(step: Any) -> Replayed:
    return Replayed(
        xp,
        step,
        functools.partial(replay.Program, images=replay.CompressedImages()),
        functions=_TWINS,
        # For 0.1 s after a product a BLAS's other threads spin, on the processors that programs need.
        quiet=functools.partial(threadpoolctl.threadpool_limits, 1),
    )


def _advice() -> list[str]:
    return [*blas_advice(), *compiled.advice()]


xp: Namespace = Namespace(
    "numba",
    numpy,
    fused={kernel.__name__: kernel for kernel in _KERNELS},
    probe=_probe,
    to_host=numpy.asarray,
    compile=_compile,
    remedy="reinstall it with `pip install --force-reinstall numba`",
    versions={"numba": numba.__version__, "numpy": numpy.__version__},
    advice=_advice,
)
