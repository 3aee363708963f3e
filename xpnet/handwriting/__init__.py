"""A person's picture of a digit, prepared as MNIST's makers prepared theirs.

``run.predict([xpnet.handwriting.read("seven.png")])`` is the digit on a picture, for a run on MNIST's pixels.
"""

from __future__ import annotations

from xpnet.handwriting.boxes import fit
from xpnet.handwriting.models import inputs_of, knows_digits, picture_shape
from xpnet.handwriting.preparing import Step, prepared, steps
from xpnet.handwriting.reading import MOST_PIXELS, naming, photograph, read, whole

__all__ = [
    "MOST_PIXELS",
    "Step",
    "fit",
    "inputs_of",
    "knows_digits",
    "naming",
    "photograph",
    "picture_shape",
    "prepared",
    "read",
    "steps",
    "whole",
]
