"""The backend `numba`: NumPy's arrays, and compiled kernels where they beat NumPy's own functions.

`compile` replays whole steps: `xpnet.replay` traces what a step calls, `lowering` turns the calls into the
operations that `operations` declares, and `program` binds these to the arrays at hand. The threads of a
`team` carry them out, each in `kernels.interpreter`. While a step is traced and tried, it calls the `twins`.

Everything that Numba compiles is in `kernels`. A start that finds its machine code on disk does not import
them: compiled steps load theirs by `machine_code`, and `lazy` waits until a function of `xp.nn` is called
outside a compiled step. Both are `kept` on disk, in files that are read only if they can be `trusted`.

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

Without a kernel: tanh, gather_labels, one_hot and accumulate, which take NumPy a pass or two, and linear
(0.98 and 0.99), which is nothing but the BLAS product. linear_backward gains only at the output layer, by the
gradient of the bias.
"""

import functools
import importlib.metadata
import importlib.util
from typing import Any

import numpy

from xpnet import BackendUnavailableError, Device, Namespace, standard
from xpnet.replay.replayed import Replayed

try:
    if importlib.util.find_spec("numba") is None:
        raise ModuleNotFoundError("No module named 'numba'", name="numba")
    _NUMBA = importlib.metadata.version("numba")

    from xpnet_numba import advice, images, lazy, program, settings, twins
except ImportError as e:
    raise BackendUnavailableError(
        "numba", f"cannot be loaded: {e}", "install it with `pip install 'xpnet[numba]'`"
    ) from e


def _probe(xp: Namespace) -> None:
    settings.check()
    if settings.why_no_steps():
        _probe_function(xp)
    else:
        _probe_machine_code()


def _probe_function(xp: Namespace) -> None:
    found = xp.nn.relu(numpy.asarray([-1.0, 2.0], dtype=numpy.float32))
    if found.tolist() != [0.0, 2.0]:
        raise RuntimeError(f"relu of [-1, 2] is {found.tolist()} here")


def _probe_machine_code() -> None:
    _, entries = images.compress(numpy.asarray([[0, 7]], dtype=numpy.uint8))
    if entries[0] != 1 << 8 | 7:
        raise RuntimeError(f"the pixels of the image [0, 7] are {entries.tolist()} here")


def _replace(function: Any, kernel: Any) -> None:
    if getattr(xp.nn, kernel.__name__) is function:
        setattr(xp.nn, kernel.__name__, kernel)


def _compile(step: Any) -> Replayed:
    return Replayed(
        step,
        functools.partial(program.NumbaProgram, images=images.CompressedImages()),
        plain=twins.xp,
        reason=settings.why_no_steps(),
    )


def _advice() -> list[str]:
    # Imported here, because advice is all that this backend takes from the other one.
    from xpnet_numpy.blas import blas_advice

    reason = settings.why_no_steps()
    return [*blas_advice(), *([reason] if reason else advice.advice())]


xp: Namespace = Namespace(
    "numba",
    standard.NUMPY,
    fused={} if settings.interpreted() else lazy.functions(_replace),
    device=Device(probe=_probe, remedy=settings.REMEDY),
    compile=_compile,
    versions={"numba": _NUMBA, "numpy": numpy.__version__},
    advice=_advice,
)

# The functions without a kernel in which small numbers underflow, see `xpnet_numpy`.
for _name in ("accumulate", "linear"):
    setattr(xp.nn, _name, numpy.errstate(under="ignore")(getattr(xp.nn, _name)))
