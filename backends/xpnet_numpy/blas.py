"""What `xpnet backends` says about the BLAS that computes NumPy's matrix products."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy

_NAMES = {"openblas": "OpenBLAS", "mkl": "MKL", "blis": "BLIS", "flexiblas": "FlexiBLAS"}
# What every kernel of OpenBLAS's target SkylakeX may use.
_AVX512 = {"avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl"}
_SHORT_OF_AVX512 = ("haswell", "zen")


def blas_advice() -> list[str]:
    """Return a line about NumPy's BLAS and, if other kernels may be faster, one about them."""
    library = loaded_blas()
    if library is None:
        return [f"BLAS: {_built_with()}, whose kernels and threads threadpoolctl cannot report"]
    advice = kernel_advice(library.get("architecture"), processor_flags())
    return [describe(library), *([advice] if advice else [])]


def loaded_blas() -> dict[str, Any] | None:
    """Return what threadpoolctl reports about the BLAS that NumPy uses; None if it finds none."""
    # Imported here, because only advice and benchmarks need it.
    import threadpoolctl

    return choose(threadpoolctl.threadpool_info())


def choose(libraries: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return which of the loaded libraries is NumPy's, judged by its path; None if there is no BLAS."""
    found = [dict(library) for library in libraries if library["user_api"] == "blas"]
    # SciPy and PyTorch ship their own BLAS; NumPy's wheels keep theirs in a folder named after NumPy.
    own = [library for library in found if "numpy" in pathlib.PurePath(library["filepath"]).parent.as_posix()]
    return next(iter(own or found), None)


def describe(library: Mapping[str, Any]) -> str:
    """Return one line: the library, the kernels it chose, the number of threads it uses."""
    name = _NAMES.get(library["internal_api"], library["internal_api"])
    version, kernels, threads = (library.get(key) for key in ("version", "architecture", "num_threads"))
    parts = [f"{name} {version}" if version else name]
    if kernels:
        parts.append(f"{kernels} kernels")
    if threads:
        parts.append(f"{threads} thread{'' if threads == 1 else 's'}")
    return f"BLAS: {', '.join(parts)}"


def kernel_advice(architecture: str | None, flags: Collection[str]) -> str | None:
    """Return what to try if OpenBLAS does not use AVX-512; None if there is nothing to try.

    Parameters
    ----------
    architecture : str or None
        The kernels that OpenBLAS chose.
    flags : collection of str
        The processor's features, as ``/proc/cpuinfo`` names them.
    """
    if (architecture or "").lower() not in _SHORT_OF_AVX512 or not set(flags) >= _AVX512:
        return None
    # Medians of the products of training, float32, SkylakeX against Haswell in turns, on 2 cores of an AMD
    # EPYC with AVX-512 (Zen 4, which does it in halves): 0.95 to 0.98 times the speed for 784-64-10 at batch
    # 128, 0.93 to 0.97 for 784-1024-10 at batch 256. On 2 AVX-512 cores for which OpenBLAS chose
    # Haswell by itself it was 1.4 (52 ms an epoch, not 73). So only timing can tell.
    return (
        f"the processor has AVX-512 and OpenBLAS uses its {architecture} kernels: "
        "time a run with OPENBLAS_CORETYPE=SkylakeX too, which measured 0.9 to 1.4 times the speed"
    )


def processor_flags(path: str = "/proc/cpuinfo") -> frozenset[str]:
    """Return the features that Linux lists for the first processor; nothing on other systems."""
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def _built_with() -> str:
    config: Any = numpy.show_config(mode="dicts")
    found: str = config.get("Build Dependencies", {}).get("blas", {}).get("name", "unknown")
    return {"accelerate": "Accelerate"}.get(found, found)
