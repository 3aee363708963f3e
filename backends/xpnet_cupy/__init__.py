"""The backend `cupy`: CuPy's arrays, resident on a CUDA device, with `kernels.cu` for the functions of `nn`.

`compile` replays steps: those of a scan are one kernel if they are small (`persistent`), else `fusion` turns
the calls of a trace into tasks, and `graphs` captures their launches as a CUDA graph; `programs` chooses.
`functions` has the functions of `nn`, from `kernels`, `rules` and `dense`; `source` reads `kernels.cu`;
`blas` calls cuBLAS; `sums` adds gradients up over processes by NCCL.

A thread works on one device at a time, and uses an array on the device that it was made on:
``xpnet.backend("cupy:1")`` makes the second device current for the thread that calls it, and
``xpnet.backend("cupy")`` the first one again. If ``mpiexec`` started several processes on a machine,
``"cupy"`` is the first device in the first process, the second one in the second, and so on. Importing this
package needs neither a device nor a driver; its first use does.
"""

from xpnet import BackendUnavailableError

try:
    import cupy as _cupy  # noqa: F401
except ImportError as e:
    # CuPy wraps the cause in a page of advice for its own packages.
    raise BackendUnavailableError(
        "cupy",
        f"cannot be loaded: {e.__cause__ or e}",
        "install CuPy with `pip install 'xpnet[cupy13]'` if the driver serves CUDA 13, "
        "with `pip install 'xpnet[cupy12]'` if it serves CUDA 12, or choose 'numpy' or 'numba'",
    ) from e

from xpnet_cupy.devices import xp

__all__ = ["xp"]
