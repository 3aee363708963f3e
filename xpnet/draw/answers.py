"""What the page shows of a model and of a drawing, as JSON."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from xpnet import handwriting, reprs
from xpnet.draw.fitting import check_takes_digits
from xpnet.draw.inside import Inside, packed
from xpnet.losses import find_loss
from xpnet.run import Run

SIDE = 224  # pixels of a drawing: eight for each of the image that a model gets
_MARGIN = SIDE // 8  # strokes along the edge of a picture could be taken for the rim of its paper
_LARGEST_SHOWN = 112  # pixels of a step's picture, which is small on the page

_EMPTY, _UNCLEAR, _SEEN = {"state": "empty"}, {"state": "unclear"}, "seen"


class Answers:
    """What a model makes of drawings.

    Parameters
    ----------
    run : Run
    name : str
        The path of the model, or what else the user knows it by.

    Attributes
    ----------
    about : dict
        What the page shows of the model, as JSON.

    Raises
    ------
    ValueError
        If the model does not tell classes of grey pictures of 28 x 28 pixels apart.
    """

    def __init__(self, run: Run, name: str) -> None:
        check_takes_digits(run, name)
        self._run = run
        self._gives_probabilities = find_loss(run.loss).gives_probabilities(run.model)
        self._inside = Inside(run)
        black = handwriting.inputs_of(run, np.zeros((1, 28, 28)))
        figures = self._figures(black)  # compiles kernels before someone draws
        self.about = {
            "name": pathlib.PurePath(name).name,
            "model": reprs.widths(run.model.layers),
            "accuracy": run.history[-1].test_accuracy if run.history else None,
            "backend": run.xp.name,
            "side": SIDE,
            "figure": "probability" if self._gives_probabilities else "output",
            "classes": list(run.classes or map(str, range(len(figures)))),
            "layers": self._inside.about,
        }

    def answer(self, drawing: np.ndarray) -> dict[str, Any]:
        """Return the state of a drawing and, if a digit is seen, its preparation, figures and activations.

        Parameters
        ----------
        drawing : NumPy array, shape (224, 224), uint8
            White ink on black.
        """
        if not drawing.any():
            return _EMPTY
        try:
            steps = handwriting.steps(np.pad(drawing, _MARGIN))
        except ValueError:  # A first dot is no digit yet.
            return _UNCLEAR
        inputs = handwriting.inputs_of(self._run, steps[-1].image[None])
        figures = self._figures(inputs)
        return {
            "state": _SEEN,
            "steps": [{"name": step.name, **_picture(step.image)} for step in steps],
            "figures": [round(float(figure), 6) for figure in figures],
            "predicted": self._predicted(inputs, figures),
            "layers": self._inside.of(inputs),
        }

    def _figures(self, inputs: np.ndarray) -> np.ndarray:
        """Return one figure for each class."""
        if self._gives_probabilities:
            return self._run.predict_proba(inputs)[0]
        found = self._run.predict_outputs(inputs)[0]
        return np.array([1 - found[0], found[0]]) if len(found) == 1 else found

    def _predicted(self, inputs: np.ndarray, figures: np.ndarray) -> int:
        """Return the class with the largest figure, or ask the model if that does not decide."""
        run = self._run
        # Two figures may be of one output, whose loss has a threshold; several may round to the same number.
        is_clear = len(figures) > 2 and np.count_nonzero(figures == figures.max()) == 1
        if self._gives_probabilities and is_clear:
            return int(figures.argmax())
        found = run.predict(inputs)[0]
        return run.classes.index(found) if run.predicts_names and run.classes else int(found)


def _picture(image: np.ndarray) -> dict[str, Any]:
    step = -(-max(image.shape) // _LARGEST_SHOWN)
    shown = np.ascontiguousarray(image[::step, ::step])
    height, width = shown.shape
    return {"height": height, "width": width, "pixels": packed(shown)}
