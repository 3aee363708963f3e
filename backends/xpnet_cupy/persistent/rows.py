"""Lines of the first stage of a step: forward, loss and back, for a row of the batch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from xpnet import nn
from xpnet.replay.trace import Call, Running, Value
from xpnet_cupy import source
from xpnet_cupy.persistent.calls import width_of
from xpnet_cupy.persistent.memory import Layout, row_arrays
from xpnet_cupy.persistent.names import Names, real
from xpnet_cupy.persistent.planned import Plan

BARRIER = "__syncthreads();"
MOST_EARLY = 6
"""With so many layers at most, a thread reads its elements of all biases beforehand, into registers."""
_ERRORS = {
    "absolute_error": "AbsoluteError<T>{}",
    "huber_error": "HuberError<T>{%s}",
    "sigmoid_cross_entropy": "SigmoidError<T>{}",
    "squared_error": "SquaredError<T>{}",
}
_OF_WHOLE_ROWS = frozenset({"softmax", "softmax_backward", "log_softmax", "log_softmax_backward"})


class Rows:
    """The lines of a plan.

    Parameters
    ----------
    plan : Plan
    names : Names
    layout : Layout
    """

    def __init__(self, plan: Plan, names: Names, layout: Layout) -> None:
        self._plan, self._names, self._layout = plan, names, layout
        biases = [call.arrays["bias"] for call in plan.calls if call.name == "linear"]
        self._early = list(dict.fromkeys(biases)) if len(biases) <= MOST_EARLY else []

    @property
    def needs_slots(self) -> bool:
        """Whether the threads of a block combine numbers."""
        calls = self._plan.calls
        return any(c.function.is_loss or c.name in _OF_WHOLE_ROWS for c in calls)

    def holds(self) -> Iterator[str]:
        """Yield what begins to read weights and biases that are needed after the first layer."""
        names = self._names
        for value in self._layout.held:
            yield f"hold<{math.prod(value.shape)}>({names[value]}_held, {names[value]});"
        for value in self._early:
            yield f"const T {names[value]}_own = own_of<{value.shape[0]}>({names[value]});"

    def lines(self) -> Iterator[str]:
        """Yield what is done for a row."""
        is_open = False
        awaits = bool(self._layout.held)
        for call in self._plan.calls:
            if awaits and call.arrays.get("weight") in self._layout.held:
                yield "await_copies();"
                awaits, is_open = False, True
            if is_open and call.name in ("linear", "linear_backward"):
                yield BARRIER
            yield self._line(call)
            is_open = call.name != "linear_backward"
            for value in row_arrays(self._plan, call):
                if value in self._plan.places and value in map(
                    self._plan.same_as, filter(None, call.results)
                ):
                    yield self._keep(value)

    def _keep(self, value: Value) -> str:
        width = width_of(value)
        return (
            f"keep_row<{width}>(scratch + {self._plan.places[value]} + row * {width}, {self._names[value]});"
        )

    def _line(self, call: Call) -> str:
        """Return the line of a call."""
        names = self._names
        if call.name == "linear":
            return self._linear(call)
        if call.name == "linear_backward":
            n_in, n_out = call.arrays["weight"].shape
            dx, weight = call.results[0], self._weight(call.arrays["weight"])
            assert dx is not None
            rows = f"{names[dx]}, {names[call.arrays['dy']]}"
            return f"input_gradient_row<{n_in}, {n_out}>({rows}, {weight});"
        if call.function.is_loss:
            return self._loss(call)
        return self._elements(call)

    def _linear(self, call: Call) -> str:
        names, x = self._names, self._plan.same_as(call.arrays["x"])
        n_in, n_out = call.arrays["weight"].shape
        inputs = f"Dense<T, {n_in}>{{{names[x]}}}"
        if x in self._plan.listed:
            inputs = (
                "Listed<T>{" + ", ".join(f"{names[x]}_{part}" for part in ("places", "values", "count")) + "}"
            )
        (z,), weight, bias = call.results, call.arrays["weight"], call.arrays["bias"]
        assert z is not None
        own = f"{names[bias]}_own" if bias in self._early else f"own_of<{n_out}>({names[bias]})"
        parameters = f"{self._weight(weight)}, {names[bias]}, {own}"
        return f"linear_row<{n_in}, {n_out}>({names[z]}, {inputs}, {parameters}, parts);"

    def _weight(self, value: Value) -> str:
        """Return what a weight is read from."""
        name = self._names[value]
        return f"Held<T>{{{name}_held}}" if value in self._layout.held else f"Global<T>{{{name}}}"

    def _elements(self, call: Call) -> str:
        """Return the line of a function of the elements of rows."""
        (made,) = call.results
        assert made is not None
        name, n = call.name, width_of(made)
        rows = ", ".join(self._names[v] for v in (made, *call.arrays.values()))
        if name in source.ACTIVATIONS:
            return f"activate_row<{source.ACTIVATIONS[name]}, {n}>({rows});"
        if name in source.GRADIENTS:
            kept, dy = (self._names[call.arrays[key]] for key in self._order(name))
            struct = source.ACTIVATIONS[source.GRADIENTS[name]]
            return f"activate_backward_row<{struct}, {n}>({self._names[made]}, {kept}, {dy});"
        if name in ("dropout", "dropout_backward"):
            return f"dropout_row<{n}>({rows}, row, {self._drawing(call)});"
        if name in _OF_WHOLE_ROWS:
            rows += ", slots"
        if name.startswith("leaky_relu"):
            rows += f", {real(call.numbers['slope'])}"
        if name == "smooth_labels":
            smoothing = call.numbers["smoothing"]
            rows += f", {real(1 - smoothing)}, {real(smoothing / call.numbers['classes'])}"
        return f"{name}_row<{n}>({rows});"

    def _order(self, gradient: str) -> tuple[str, str]:
        return str(nn.FUNCTIONS[source.GRADIENTS[gradient]].keeps), "dy"

    def _drawing(self, call: Call) -> str:
        """Return the numbers of dropout."""
        key, step, rate = call.numbers["key"], call.numbers["step"], call.numbers["rate"]
        number = (
            f"count{self._plan.counts.index(step)} + step"
            if isinstance(step, Running)
            else f"{int(step) & nn.WORD}ll"
        )
        words = f"{int(key) & nn.WORD}u, {int(key) >> 32}u"
        first, kept = int(call.numbers["first"]), real(1 / (1 - rate))
        return f"{first}ll, {words}, {number}, {nn.drop_below(rate)}u, {kept}"

    def _loss(self, call: Call) -> str:
        names, (outputs, targets, *_) = self._names, call.arrays.values()
        weights = call.arrays.get("weights")
        share = "T(1) / BATCH" if weights is None else f"share_of({names[weights]}, {names[weights]}_sum)"
        d_outputs = call.results[1]
        assert d_outputs is not None
        name = call.name.removeprefix("weighted_")
        rows = f"{names[d_outputs]}, {names[outputs]}, {names[targets]}, {share}"
        rows += f", scratch + {self._plan.places[call]} + row, slots"
        if name in _ERRORS:
            numbers = tuple(real(call.numbers[key]) for key in call.function.numbers)
            return f"error_row<{width_of(outputs)}>({_ERRORS[name] % numbers}, {rows});"
        return f"{name}_row<{width_of(outputs)}>({rows});"
