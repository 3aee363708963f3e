"""The hundred digits of `digits/strokes.json`, drawn with Pillow."""

import json
import pathlib

import numpy as np
from PIL import Image, ImageDraw

STROKES = pathlib.Path(__file__).parent / "digits" / "strokes.json"


def digits():
    """Return the digits: each has `digit`, `width` and `strokes`, in shares of the side of a square."""
    return json.loads(STROKES.read_text())


def drawn(digit, side=280, *, width=None, ink=0, paper=255):
    """Return a digit drawn with round joints and ends, shape (side, side), uint8."""
    picture = Image.new("L", (side, side), paper)
    pen = ImageDraw.Draw(picture)
    width = max(1, round(digit["width"] * side)) if width is None else width
    for stroke in digit["strokes"]:
        points = [(x * side, y * side) for x, y in stroke]
        pen.line(points, fill=ink, width=width)
        for x, y in points if width > 2 else ():
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=ink)
    return np.asarray(picture)


def photographed(ink, rng, *, height=480, width=640, noise=0.04):
    """Return a photograph of ink (side, side), float in [0, 1], on a larger sheet: dim to one side, noisy."""
    side = len(ink)
    top, left = rng.integers(20, height - side - 20), rng.integers(20, width - side - 20)
    sheet = np.zeros((height, width), np.float32)
    sheet[top : top + side, left : left + side] = ink
    down, across = np.mgrid[:height, :width]
    light = 0.95 - 0.5 * (0.7 * across / width + 0.3 * down / height)
    found = light * (1 - 0.65 * sheet) + rng.normal(0, noise, sheet.shape)
    return np.clip(found, 0, 1).astype(np.float32)
