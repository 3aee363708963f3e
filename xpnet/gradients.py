"""A check of gradients: those of a model, a layer or a loss against finite differences."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from xpnet import checks, reprs
from xpnet.differences import Arrays, Element, worst_element
from xpnet.differentiated import INPUT, OUTPUTS, FixedLoss, Pass, drawn_inputs, drawn_params, on_host
from xpnet.discovery import backend
from xpnet.layer import Params, state_shapes
from xpnet.namespace import Namespace, check_namespace

_USUAL_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class GradientReport:
    """How gradients compare with finite differences.

    Attributes
    ----------
    worst : dict of str to Element
        For each array, ``"input"`` and the parameters by name (or ``"outputs"`` of a loss), the element with
        the largest error: its `index`, `gradient`, `difference` and relative `error`.
    tolerance : float
    wrong_part : str
        What is wrong by itself: the first layer whose own pullback is, or the loss; empty if unknown.
    """

    worst: dict[str, Element]
    tolerance: float
    wrong_part: str = ""

    @property
    def errors(self) -> dict[str, float]:
        """The largest relative error of each array."""
        return {name: element.error for name, element in self.worst.items()}

    @property
    def passed(self) -> bool:
        """Whether no error is larger than the tolerance."""
        return all(error <= self.tolerance for error in self.errors.values())

    def __repr__(self) -> str:
        return f"<xpnet.GradientReport: {self}>"

    def __str__(self) -> str:
        element = max(self.worst.values(), key=lambda element: element.error)
        place = f"`{element.name}`[{', '.join(map(str, element.index))}]"
        figures = (
            f"{element.gradient:.10g} by the pullback and {element.difference:.10g} by finite differences, "
            f"relative error {element.error:.1e}, tolerance {self.tolerance:.0e}"
        )
        if self.passed:
            arrays = reprs.counted(len(self.worst), "array")
            return f"the gradients of {arrays} are right; the worst, that of {place}, is {figures}"
        where = f"; what is wrong is {self.wrong_part}" if self.wrong_part else ""
        return f"the gradient of {place} is wrong: {figures}{where}"


class GradientError(ValueError):
    """A gradient is wrong; the attribute `report` is the `GradientReport`."""

    def __init__(self, report: GradientReport) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        return str(self.report)


def check_gradients(
    checked: Any,
    inputs: Any = None,
    *,
    loss: Any = None,
    targets: Any = None,
    outputs: Any = None,
    params: Params | None = None,
    xp: Namespace | None = None,
    shape: Any = None,
    batch_size: int = 4,
    training: bool = True,
    elements: int = 100,
    tolerance: float | None = _USUAL_TOLERANCE,
    seed: int = 0,
) -> GradientReport:
    """Return how the gradients of a model, a layer or a loss compare with central differences in float64.

    At a kink, such as that of ReLU at 0 or of two equal pixels in max pooling, a gradient is right if it is
    that of one side, or lies between both.

    Parameters
    ----------
    checked : Sequential, layer, or loss
        A loss is a name, an object whose `function` takes `xp`, outputs and targets, or such a function.
    inputs : array_like, shape (batch, ...), optional
        If omitted, normal random numbers.
    loss : as above, optional
        Its gradient is passed through the model. If omitted, the pullback gets random numbers. A final
        activation that the loss includes is left out, as in training.
    targets : array_like, optional
        Of the loss: class indices or numbers. If omitted, random ones of the kind that the loss takes as
        numbers: class indices, 0 and 1 for each label, or values.
    outputs : array_like, shape (batch, n_out), optional
        If a loss is checked alone: what a model might give.
    params : dict of arrays, optional
        Parameters and state. If omitted, initial ones plus some noise, which is positive on state.
    xp : Namespace, optional
        If omitted, ``xpnet.backend("numpy")``.
    shape : int or tuple of int, optional
        Of one input, where the model does not tell it: ``(28, 28, 1)``.
    batch_size : int
        Of drawn inputs.
    training : bool
        Whether what is computed in training is checked: with random numbers, at one step, and with the
        method `train` of layers with state. Otherwise it is what is computed in use.
    elements : int
        Most elements to check of each array, drawn at random.
    tolerance : float or None
        The largest relative error of a right gradient. With None, no error is raised.
    seed : int
        Of all that is drawn.

    Returns
    -------
    report : GradientReport

    Raises
    ------
    GradientError
        A ValueError: a gradient is wrong. It names the array, the element and the layer.
    ValueError, TypeError
        If an argument is missing or does not fit, if a pullback returns no gradient or one of another shape,
        or if equal inputs give different outputs.
    """
    xp = backend("numpy") if xp is None else xp
    check_namespace(xp)
    if not hasattr(xp, "float64"):
        raise ValueError(f"gradients are checked in float64, which {xp.name!r} lacks; pass another `xp`")
    random = np.random.Generator(np.random.Philox(checks.seed(seed)))
    options: dict[str, Any] = {
        "random": random,
        "elements": checks.count("elements", elements),
        "tolerance": _USUAL_TOLERANCE if tolerance is None else checks.positive("tolerance", tolerance),
    }
    subject: FixedLoss | Pass
    if hasattr(checked, "shapes"):
        batch_size = checks.count("batch_size", batch_size)
        x = drawn_inputs(checked, shape, batch_size, random) if inputs is None else on_host(xp, inputs)
        arrays = {INPUT: x, **drawn_params(xp, checked, params, seed, random)}
        end = None if loss is None else FixedLoss(xp, loss, targets, random)
        subject = Pass(xp, checked, end, training=training, seed=seed)
    else:
        if outputs is None:
            raise ValueError(
                "a loss alone is checked at outputs: pass `check_gradients(loss, outputs=..., targets=...)`; "
                f"a model needs `shapes`, which {reprs.of_layer(checked)} lacks"
            )
        arrays, subject = {OUTPUTS: on_host(xp, outputs)}, FixedLoss(xp, checked, targets, random)
    report = _compared(subject, arrays, **options)
    if not report.passed:
        report = dataclasses.replace(report, wrong_part=_wrong_part(subject, arrays, **options))
        if tolerance is not None:
            raise GradientError(report)
    return report


def _compared(
    subject: FixedLoss | Pass, arrays: Arrays, *, random: np.random.Generator, elements: int, tolerance: float
) -> GradientReport:
    """Return how the gradients of what is checked compare with differences."""
    values = subject.values(arrays)
    if not np.isfinite(values).all():
        raise ValueError("the outputs are not finite; pass other `inputs` or `params`")
    if not np.array_equal(values, subject.values(arrays)):
        raise ValueError(
            "equal inputs give different outputs; draw random numbers from the `stream` that a layer is "
            "given, and keep nothing from call to call"
        )
    weights = random.normal(size=values.shape) if values.ndim else np.ones(())
    gradients = subject.gradients(arrays, weights)
    worst = {
        name: worst_element(
            subject.values,
            arrays,
            name,
            gradient,
            weights=weights,
            elements=elements,
            random=random,
            tolerance=tolerance,
        )
        for name, gradient in gradients.items()
    }
    return GradientReport(worst, tolerance)


def _wrong_part(subject: FixedLoss | Pass, arrays: Arrays, **options: Any) -> str:
    """Return the first layer whose own pullback is wrong, or the loss; empty if each is right alone."""
    if isinstance(subject, FixedLoss):
        return ""
    x = arrays[INPUT]
    for i, layer in enumerate(subject.layers):
        names = [*layer.shapes, *state_shapes(layer)]
        own = {INPUT: x, **{name: arrays[f"{i}.{name}"] for name in names}}
        part = subject.part(layer)
        if not _compared(part, own, **options).passed:
            deeper = _wrong_part(part, own, **options)
            return deeper.replace("layer ", f"layer {i}.", 1) or f"layer {i}, {reprs.of_layer(layer)}"
        x = part.values(own)
    if subject.end is not None and not _compared(subject.end, {OUTPUTS: x}, **options).passed:
        return "the loss"
    return ""
