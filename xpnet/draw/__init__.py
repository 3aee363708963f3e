"""A page on which one draws a digit and sees what a model makes of it, served on loopback."""

from __future__ import annotations

from xpnet.draw.answers import Answers
from xpnet.draw.serving import ADDRESS, PORT, check_installed, listening, serve

__all__ = ["ADDRESS", "PORT", "Answers", "check_installed", "listening", "serve"]
