"""xpnet's own epochs, the matrix products alone, and the copies alone."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

import xpnet
from xpnet.batches import spans
from xpnet.losses import find_loss
from xpnet.trainer import Trainer
from xpnet_bench.competitor import Kind
from xpnet_bench.errors import DishonestError, DivergedError, UnusableError
from xpnet_bench.limit import epoch_bytes, epoch_products, multiplier
from xpnet_bench.workload import Workload

# Suffix of the name of a backend whose large products may use TF32.
IN_TF32 = " in TF32"
# A device that has finished returns a value in well under a tenth of an epoch.
_LATE_SHARE, _LATE_SECONDS = 0.1, 0.005


def namespace(backend: str) -> xpnet.Namespace:
    """Return a backend's namespace.

    Parameters
    ----------
    backend : str
        Its name, followed by ``" in TF32"`` if large products may use TF32.

    Raises
    ------
    UnusableError
        If there is no such backend, or it cannot be used here.
    """
    try:
        xp = xpnet.backend(backend.removesuffix(IN_TF32))
        return xp.with_tf32() if backend.endswith(IN_TF32) else xp
    except (xpnet.UnknownBackendError, xpnet.BackendUnavailableError) as e:
        raise UnusableError(str(e)) from e


class Epochs:
    """The workload on a backend of xpnet, through the trainer that `xpnet.fit` uses.

    Parameters
    ----------
    backend : str
    resident : bool
        Whether the data stay on the device instead of being moved there in every epoch.
    """

    kind: Kind = "xpnet"

    def __init__(self, backend: str, *, resident: bool = True) -> None:
        self.name = f"xpnet {backend}"
        self._resident = resident
        self.backend = backend
        self.xp = namespace(backend)
        self.versions = {"xpnet": xpnet.__version__, **self.xp.versions}
        self.device = self.xp.device_name()
        self._host: list[float] = []

    def prepare(self, workload: Workload) -> None:
        """Put the data on the device, make the parameters and compile."""
        self._train, self._test = workload.data()
        self._trunk = find_loss(workload.loss).trunk(workload.model)
        self._trainer = Trainer(
            self.xp,
            workload.problem(self._train),
            workload.initial(self.xp, self._train),
            self._train,
            optimizer=workload.optimizer,
            batch_size=workload.batch_size,
            seed=workload.seed,
        )
        self._trainer.rehearse()

    def epoch(self, order: np.ndarray) -> None:
        """Train one epoch and wait for the device; check that the wait was real."""
        start = time.perf_counter()
        if not self._resident:
            self._trainer.put(self._train)
        total = self._trainer.epoch(order)
        self._host.append(time.perf_counter() - start)
        self.xp.synchronize()
        finished = time.perf_counter()
        self.xp.to_host(total)
        late, seconds = time.perf_counter() - finished, finished - start
        if late > max(_LATE_SECONDS, _LATE_SHARE * seconds):
            raise DishonestError(
                f"backend {self.backend!r} does not synchronise: an epoch seemed to take {seconds:.3f} s, "
                f"but its result came {late:.3f} s later; fix the backend's `synchronize`"
            )

    def host_seconds(self) -> float | None:
        """Return how long the host took for an epoch before it waited for a GPU, the median; None without."""
        return statistics.median(self._host) if self.xp.device_kind == "gpu" else None

    def launches(self) -> int | None:
        """Return how many launches a full batch's step makes on a device; None if there is none.

        A step of a scan that is one launch makes none of its own: 0.
        """
        nodes = [getattr(program, "nodes", None) for program in self._programs()]
        return max((n for n in nodes if n is not None), default=None)

    def _programs(self) -> list[Any]:
        return getattr(self._trainer.compiled, "programs", [])

    def device_bytes(self) -> int | None:
        """Return how many bytes pools allocated on the device; None if there is no device."""
        pool = getattr(self.xp.library, "get_default_memory_pool", None)
        if pool is None:
            return None
        return int(pool().total_bytes()) + sum(program.device_bytes for program in self._programs())

    def outputs(self) -> np.ndarray:
        """Return the current outputs for the test set."""
        try:
            return xpnet.predict_outputs(self.xp, self._trunk, self._trainer.params, self._test)
        except ValueError as e:  # The data were checked before.
            raise DivergedError(self.name) from e


class Products:
    """An epoch's dense matrix products, and nothing else, in a backend's own library.

    Parameters
    ----------
    backend : str
        Its name; if it ends with ``" in TF32"``, the products use TF32.
    """

    kind: Kind = "limit"

    def __init__(self, backend: str) -> None:
        self.name = "gemm alone" if backend == "numpy" else f"gemm alone on {backend}"
        self.backend = backend
        self.xp = namespace(backend)
        self.device = self.xp.device_name()
        self.versions = dict(self.xp.versions)

    def prepare(self, workload: Workload) -> None:
        """Make the factors, and warm up."""
        train, _ = workload.data()
        products = epoch_products(workload, len(train), train.inputs.shape[1:])
        self._multiply = multiplier(self.xp, products, tf32=self.backend.endswith(IN_TF32))
        self.epoch(np.empty(0, dtype=np.int32))

    def epoch(self, order: np.ndarray) -> None:
        """Multiply; the order does not matter."""
        self._multiply()
        self.xp.synchronize()

    def outputs(self) -> None:
        """Return None: nothing is learned."""


class Copies:
    """Copies of the bytes that an epoch must move, and nothing else, by the device's own copy."""

    kind: Kind = "limit"
    _CHUNK = 2**26

    def __init__(self, backend: str) -> None:
        self.name = f"copies alone on {backend}"
        self.backend = backend
        self.xp = namespace(backend)
        self.device = self.xp.device_name()
        self.versions = dict(self.xp.versions)

    def prepare(self, workload: Workload) -> None:
        """Make the source: half of the bytes, because a copy both reads and writes."""
        train, _ = workload.data()
        half = epoch_bytes(workload, len(train), train.inputs[0].nbytes) // 2
        sizes = [end - begin for begin, end in spans(half, self._CHUNK)]
        whole = self.xp.zeros((max(sizes),), dtype=self.xp.uint8)
        self._sources = [whole[:size] for size in sizes]
        self.epoch(np.empty(0, dtype=np.int32))

    def epoch(self, order: np.ndarray) -> None:
        """Copy; the order does not matter."""
        for source in self._sources:
            self.xp.asarray(source, copy=True)
        self.xp.synchronize()

    def outputs(self) -> None:
        """Return None: nothing is learned."""
