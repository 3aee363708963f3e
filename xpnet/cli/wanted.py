"""What ``xpnet train`` writes and says when a training is over, or was stopped."""

from __future__ import annotations

import dataclasses
import pathlib
import platform
import statistics
from collections.abc import Callable
from typing import Any, NoReturn

import xpnet
from xpnet import plots
from xpnet.cli.doubts import doubt
from xpnet.cli.interruption import Interruption, uninterrupted
from xpnet.cli.optimizers import usual_rate
from xpnet.cli.options import json_bytes
from xpnet.cli.outputs import Outputs, RescuedError
from xpnet.datasets import Dataset
from xpnet.errors import shortened
from xpnet.evaluation import Evaluation
from xpnet.files import write_whole
from xpnet.run import Run


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The files that are wanted of a run, and what is needed to write them."""

    save: pathlib.Path | None
    json_path: pathlib.Path | None
    plot: pathlib.Path | None
    testing: Dataset
    config: dict[str, Any]
    say: Callable[[str], object]

    def write(self, run: Run) -> Outputs:
        """Evaluate a run and write the files; return what was written and what failed."""
        outputs = Outputs()
        outputs.write("saved", self.save, run.save)  # first, because it would take longest to redo
        evaluation = run.evaluate(self.testing)
        median = statistics.median(epoch.seconds for epoch in run.history)
        if run.report:
            self.say(f"steps were not sped up: {run.report}")
        self.say(f"test {figures_line(evaluation)}; {median:#.3g} s an epoch (median)")
        line = "" if evaluation.confusion is None else self._doubt(evaluation)
        if line:
            self.say(line)
        results = _results(run, self.config, evaluation)
        outputs.write("wrote", self.json_path, lambda path: write_whole(path, json_bytes(results)))
        outputs.write("drew", self.plot, lambda path: plots.history(run.history, path, loss=run.loss))
        for line in outputs.lines:
            self.say(line)
        return outputs

    def _doubt(self, evaluation: Evaluation) -> str:
        return doubt(evaluation.confusion, self.config["lr"], usual_rate(self.config))


def figures_about(evaluation: Evaluation) -> dict[str, Any]:
    """Return the confusion matrix for a file or, if there is none, the metrics."""
    if evaluation.confusion is None:
        return {"metrics": evaluation.metrics}
    return {"confusion": evaluation.confusion.tolist()}


def figures_line(evaluation: Evaluation) -> str:
    """Return how good predictions are, in a few words: the accuracy, or the errors of values."""
    if evaluation.accuracy is not None:
        return f"accuracy {evaluation.accuracy:.2%}"
    return f"R^2 {evaluation.metrics['r2']:.4f}, mean absolute error {evaluation.metrics['mae']:.4g}"


def rescue(error: BaseException, run: Run, wanted: Wanted) -> NoReturn:
    """Write the files of a training that `error` interrupted, and raise an error that says so."""
    text = shortened(error).removesuffix(".") or type(error).__name__
    if run.history:
        with uninterrupted():
            outputs = wanted.write(run)
        done = [f"{line} as epoch {len(run.history)} left it" for line in outputs.lines]
        message = "; ".join([text, *done, *outputs.failures])
    else:
        message = f"{text}; no epoch was done, so nothing was written"
    if isinstance(error, Interruption):
        raise Interruption(message, error.status) from error
    raise RescuedError(message) from error


def _results(run: Run, config: dict[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    """Return the document of a run; without `ranks` unless several processes trained together."""
    return {
        "backend": run.xp.name,
        "device": run.xp.device_name(),
        "versions": {
            "xpnet": xpnet.__version__,
            "python": platform.python_version(),
            **run.xp.versions,
        },
        "config": config,
        "initial_sha256": run.initial_sha256,
        "warm_up_seconds": run.warm_up_seconds,
        "report": run.report,
        "history": _history(run),
        **({} if run.ranks is None else {"ranks": run.ranks}),
        **figures_about(evaluation),
    }


def _history(run: Run) -> list[dict[str, Any]]:
    """Return the history as dicts, with the learning rates only if they differ."""
    found = [epoch.about() for epoch in run.history]
    if len({epoch.lr for epoch in run.history}) == 1:
        for line in found:
            line.pop("lr", None)
    return found
