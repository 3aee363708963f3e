"""The whole study: what is measured on the ranks that there are, and what follows for others."""

from __future__ import annotations

import dataclasses
import datetime
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import xpnet
from xpnet_bench.distributed.compute import nearest, work_of
from xpnet_bench.distributed.exchange import link_of, measured_exchange, sizes_for
from xpnet_bench.distributed.link import allreduce
from xpnet_bench.distributed.placing import Place
from xpnet_bench.distributed.results import VERSION, Scaled, computes_of, measured_of, pays_and_fastest
from xpnet_bench.distributed.steps import Groups, all_cases, alone_and_beside, in_turns
from xpnet_bench.machine import machine
from xpnet_bench.networks import parameter_count
from xpnet_bench.networks import title as title_of
from xpnet_bench.workload import Workload

# Seconds for each size of an allreduce, about.
_BUDGET, _QUICK_BUDGET = 0.2, 0.01
_STEPS, _QUICK_STEPS = 10, 2
# Rows of the steps that the model of compute is fitted to, as parts of the batch.
_PARTS = 64, 8, 1


class Plan(NamedTuple):
    """What is studied.

    Attributes
    ----------
    workload : Workload
        With the batch of one rank.
    family : sequence of Sequential
        The networks that the model is asked about, from the narrowest; the workload's is one of them.
    rounds : int
    quick : bool
    given : dict or None
        The network that the ranks of the model are connected by: its text, alpha and beta.
    """

    workload: Workload
    family: Sequence[xpnet.Sequential]
    rounds: int
    quick: bool
    given: dict[str, Any] | None


class Study:
    """Measures a plan; all ranks call it together, and rank 0 reports progress.

    Parameters
    ----------
    plan : Plan
    groups : Groups
    say : callable
        Receives lines of text.
    """

    def __init__(self, plan: Plan, groups: Groups, say: Callable[[str], object]) -> None:
        self._plan, self._groups, self._say = plan, groups, say
        self._train, _ = plan.workload.data()
        self._steps = _QUICK_STEPS if plan.quick else _STEPS

    def document(self, namespaces: Mapping[str, Any], place: Place) -> dict[str, Any]:
        """Return a results file as a dict, which `scaling.json` describes; the first backend exchanges."""
        from xpnet_numpy.blas import blas_advice

        workload, size = self._plan.workload, self._groups.everyone.size
        parameters = parameter_count(workload.model)
        exchange = self._exchange(next(iter(namespaces.values())), 4 * parameters)
        about = machine(place.threads, blas_advice()[0].removeprefix("BLAS: "))
        title = title_of(workload.model)
        return {
            "scaling_version": VERSION,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": {**about, "ranks": size, "machines": place.machines},
            "versions": _versions(),
            "workload": {
                **workload.listed(),
                "title": title,
                "parameters": parameters,
                "dtype": "float32",
            },
            "exchange": exchange,
            "backends": [self._backend(name, xp, exchange) for name, xp in namespaces.items()],
        }

    def _exchange(self, xp: Any, gradient_bytes: int) -> dict[str, Any]:
        size, quick, given = self._groups.everyone.size, self._plan.quick, self._plan.given
        self._say(f"timing allreduces of {size} rank{'' if size == 1 else 's'}")
        sizes = sizes_for(gradient_bytes, quick=quick)
        budget = _QUICK_BUDGET if quick else _BUDGET
        found = measured_exchange(xp, self._groups.everyone, sizes, budget=budget)
        gamma = found.pop("gamma")
        return found | {"given": given and {**given, "gamma": gamma}}

    def _backend(self, name: str, xp: Any, exchange: dict[str, Any]) -> dict[str, Any]:
        """Return what was measured on a backend, the model of it, and what that predicts."""
        workload = self._plan.workload
        self._say(f"timing steps on {name}: {title_of(workload.model)}, batch {workload.batch_size}")
        cases = all_cases(xp, self._groups, workload, self._train, steps=self._steps)
        steps = in_turns(cases, self._plan.rounds)
        grid = [self._point(xp, other, steps) for other in self._others()]
        found = {
            "name": name,
            "device": xp.device_name(),
            "versions": {"xpnet": xpnet.__version__, **xp.versions},
            "steps": steps,
            "grid": grid,
            "compute": computes_of(grid),
        }
        return found | self._modelled(found, exchange)

    def _modelled(self, backend: dict[str, Any], exchange: dict[str, Any]) -> dict[str, Any]:
        """Return what the model of a backend predicts, of the ranks that there are and of more."""
        workload, size, shape = self._plan.workload, self._groups.everyone.size, self._train.inputs.shape[1:]
        measured = measured_of(backend)
        fitted, given = (link and link_of(link) for link in (exchange["fitted"], exchange["given"]))
        found: dict[str, Any] = {"predicted": {}, "pays": [], "fastest": []}
        if fitted is not None:
            share = work_of(workload.model, -(-workload.batch_size // size), shape)
            compute = nearest(measured, share.parameters).compute
            message = allreduce(fitted, size, share.gradient_bytes)
            found["predicted"] = _predicted(backend["steps"], compute.beside(share), message)
        link = given or fitted
        if link is None:
            return found
        family = [Scaled(title_of(model), work_of(model, 1, shape)) for model in self._plan.family]
        return found | pays_and_fastest(measured, link, family, workload.batch_size)

    def _others(self) -> list[Workload]:
        """Return the workloads to which the model of compute is fitted; the widest network is too slow."""
        plan, parts = self._plan, _PARTS[1:] if self._plan.quick else _PARTS
        rows = sorted({-(-plan.workload.batch_size // part) for part in parts})
        return [
            dataclasses.replace(plan.workload, model=model, batch_size=n)
            for model in (plan.family[:-1] or plan.family)
            for n in rows
        ]

    def _point(self, xp: Any, workload: Workload, known: Mapping[str, list[float]]) -> dict[str, Any]:
        """Return steps of a workload alone and beside each other; those of the plan's are known."""
        network, rows = title_of(workload.model), workload.batch_size
        work = work_of(workload.model, rows, self._train.inputs.shape[1:])
        seconds = {key: known[key] for key in ("alone", "beside")}
        if workload != self._plan.workload:
            self._say(f"timing steps on {xp.name}: {network}, batch {rows}")
            cases = alone_and_beside(xp, self._groups, workload, self._train, steps=self._steps)
            seconds = in_turns(cases, self._plan.rounds)
        return {"network": network, "rows": rows, **work._asdict(), **seconds}


def _versions() -> dict[str, str]:
    import mpi4py
    from mpi4py import MPI

    library = MPI.Get_library_version().rstrip("\0").splitlines()[0]
    return {
        "xpnet": xpnet.__version__,
        "python": platform.python_version(),
        "mpi4py": mpi4py.__version__,
        "mpi": " ".join(library.replace("Version:", "").split()),
    }


def _predicted(steps: Mapping[str, list[float]], share: float, message: float) -> dict[str, float]:
    """Return the seconds of steps that no fit uses, from the model of a share of the batch and a message."""
    return {
        "weak": statistics.median(steps["beside"]) + message,
        "beside share": share,
        "strong": statistics.median(steps["beside share"]) + message,
    }
