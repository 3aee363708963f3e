"""The course "Neural Network from Scratch", one runnable module a lesson, in order.

A lesson has ``run(xp, *, say=print, ...)``, which prints as it goes and returns its figures by name. One
that has a picture also has ``draw(figure, figures)``, which draws it on a Matplotlib figure.
"""

from xpnet.lessons.catalogue import LESSONS, find_lesson

__all__ = ["LESSONS", "find_lesson"]
