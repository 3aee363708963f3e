"""A person's picture of a digit, prepared as MNIST's makers prepared theirs.

``xpnet.load("model.safetensors").predict([xpnet.handwriting.read("seven.png")])`` is the digit on a picture.
"""

from __future__ import annotations

from xpnet.handwriting.preparing import Step, prepared, steps

__all__ = ["Step", "prepared", "steps"]
