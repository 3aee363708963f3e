"""The backends that benchmarks run on, the fixed threads, and what each result records besides its times."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import threadpoolctl

import xpnet
from xpnet_bench.limit import Product, product_seconds
from xpnet_bench.ours import Epochs
from xpnet_bench.rounds import default_threads
from xpnet_bench.workload import Workload
from xpnet_numpy.blas import loaded_blas

VARIABLE = "XPNET_THREADS"

limit_seconds = functools.cache(product_seconds)


def _names() -> list[str]:
    chosen = os.environ.get("XPNET_BACKEND")
    registered = importlib.metadata.entry_points(group="xpnet.backends")
    return [chosen] if chosen else sorted(entry.name for entry in registered)


def pytest_configure() -> None:
    """Refuse an unknown backend with a one-line error, before anything is collected."""
    chosen = os.environ.get("XPNET_BACKEND", "").partition(":")[0]
    registered = {entry.name for entry in importlib.metadata.entry_points(group="xpnet.backends")}
    if chosen and chosen not in registered:
        raise pytest.UsageError(str(xpnet.UnknownBackendError(chosen, sorted(registered))))


def _threads() -> int:
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return default_threads()
    if not wanted.isdecimal() or int(wanted) < 1:
        raise pytest.UsageError(f"`{VARIABLE}` must be a whole number above 0, got {wanted!r}")
    return int(wanted)


@pytest.fixture(scope="session", autouse=True)
def threads() -> Iterator[int]:
    """Fix BLAS's threads for the whole run: XPNET_THREADS, else one per usable core."""
    # NumPy is already loaded, so it is too late for the variables that OpenBLAS reads when it loads.
    count = _threads()
    with threadpoolctl.threadpool_limits(count):
        yield count


@pytest.fixture(scope="session", params=_names())
def backend(request: pytest.FixtureRequest) -> str:
    """Return the name of each backend, or only that of XPNET_BACKEND."""
    return str(request.param)


@pytest.fixture(scope="session")
def xp(backend: str, threads: int) -> xpnet.Namespace:
    """Return a backend; skip, with its own reason, if it cannot be used."""
    try:
        return xpnet.backend(backend)
    except xpnet.BackendUnavailableError as e:
        pytest.skip(str(e))


@pytest.fixture
def record(benchmark: Any, xp: xpnet.Namespace, threads: int) -> Callable[..., None]:
    """Return a function that records what was timed in `extra_info`; call it after the timing."""

    def record(
        *, batch: int, sizes: Sequence[int], examples: int, products: Sequence[Product], **more: Any
    ) -> None:
        library = (loaded_blas() if xp.device_kind == "cpu" else None) or {}
        benchmark.extra_info.update(
            backend=xp.name,
            batch=batch,
            sizes=list(sizes),
            dtype="float32",
            device=xp.device_name(),
            threads=library.get("num_threads", threads),
            versions={"python": platform.python_version(), "xpnet": xpnet.__version__, **xp.versions},
            blas=" ".join(str(library[key]) for key in ("internal_api", "version") if library.get(key)),
            blas_kernels=library.get("architecture"),
            **more,
        )
        if benchmark.stats is None:  # with --benchmark-disable
            return
        median = benchmark.stats.stats.median
        limit = limit_seconds(xp, tuple(products), rounds=5) if products else None
        benchmark.extra_info.update(
            examples_per_second=examples / median,
            limit_seconds=limit,
            share_of_limit=None if limit is None else limit / median,
        )

    return record


@pytest.fixture
def epochs(xp: xpnet.Namespace, backend: str) -> Callable[..., Epochs]:
    """Return a function that prepares a workload on the backend, its data resident or moved every epoch."""

    def prepare(workload: Workload, *, resident: bool) -> Epochs:
        prepared = Epochs(backend, resident=resident)
        prepared.prepare(workload)
        return prepared

    return prepare
