"""The backend `numba`: NumPy's arrays, and compiled kernels where they beat NumPy's own functions.

`compile` replays whole steps: `xpnet.replay` traces what a step calls, `lowering` turns the calls into the
operations that `operations` declares, and `program` binds these to the arrays at hand. The threads of a
`team` carry them out, each in `kernels.interpreter`. While a step is traced and tried, it calls the `twins`.

Everything that Numba compiles is in `kernels`. A start that finds its machine code on disk does not import
them: compiled steps load theirs by `machine_code`, and `lazy` waits until a function of `xp.nn` is called
outside a compiled step. Both are `kept` on disk, in files that are read only if they can be `trusted`.
Convolution, pooling and normalisation have operations only: a `direct` call is a program of its own.

Median time of a kernel over that of its twin on NumPy, the two in turns, float32, on 2 cores of an AMD EPYC
with AVX-512. Small: the course's shapes, batch 128, 784-64-10, where the Python of a call is most of the
time of an elementwise kernel; compiled steps do without it. Large: 1024 x 1024.

======================  =====  =====    ======================  =====  =====
kernel                  small  large    kernel                  small  large
======================  =====  =====    ======================  =====  =====
sigmoid                 0.34   0.18     softmax_cross_entropy   0.17   0.13
sigmoid_backward        1.11   0.45     sigmoid_cross_entropy   0.32   0.15
relu                    1.15   0.42     squared_error           0.66   0.42
relu_backward           0.46   0.18     sgd_step                0.92   0.55
tanh_backward           1.20   0.49     momentum_step           0.71   0.41
gelu                    0.27   0.09     nesterov_step           0.43   0.32
gelu_backward           0.23   0.09     adam_step               0.05   0.05
silu                    0.33   0.19     adamw_step              0.23   0.06
silu_backward           0.26   0.11     dropout                 0.09   0.12
softmax                 0.73   0.69     dropout_backward        0.09   0.12
softmax_backward        0.78   0.32     gather_batch            0.59   0.41
log_softmax             0.38   0.72     linear_backward         1.00   1.00
log_softmax_backward    0.90   0.24
======================  =====  =====    ======================  =====  =====

Without a kernel: tanh, gather_labels, one_hot and accumulate, which take NumPy a pass or two, and linear,
which is nothing but the BLAS product. linear_backward gains only at the output layer, by the gradient of
the bias.
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

    from xpnet_numba import advice, direct, images, lazy, program, settings, twins
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
        plain=twins.of(step.xp),
        reason=settings.why_no_steps(),
        takes_all=True,
    )


def _advice() -> list[str]:
    # Imported here, because advice is all that this backend takes from the other one.
    from xpnet_numpy.blas import blas_advice

    reason = settings.why_no_steps()
    return [*blas_advice(), *([reason] if reason else advice.advice())]


_kernels = {} if settings.interpreted() else lazy.functions(_replace)
xp: Namespace = Namespace(
    "numba",
    standard.NUMPY,
    fused=_kernels,
    device=Device(probe=_probe, remedy=settings.REMEDY),
    compile=_compile,
    versions={"numba": _NUMBA, "numpy": numpy.__version__},
    advice=_advice,
)

# In those without a kernel, small numbers underflow, see `xpnet_numpy`.
for _name, _twin in list(vars(xp.nn).items()):
    if _name not in _kernels:
        setattr(xp.nn, _name, numpy.errstate(under="ignore")(_twin))
if not settings.interpreted():
    for _name, _function in direct.functions().items():
        setattr(xp.nn, _name, _function)
