"""The backend `numpy`: the reference, which calls the portable twins as they are.

`compile` replays whole steps: `program` calls the functions of `in_place`, which write where they are told,
and takes the steps of an optimizer on a `stack`.
"""

import functools
import weakref
from typing import Any

import numpy

from xpnet import Namespace, standard
from xpnet.replay.replayed import Replayed
from xpnet_numpy.blas import blas_advice
from xpnet_numpy.program import NumPyProgram


def _compile(step: Any) -> Replayed:
    make_program = functools.partial(NumPyProgram, stacks=weakref.WeakValueDictionary())
    return Replayed(step, make_program, takes_all=True)


xp: Namespace = Namespace("numpy", standard.NUMPY, compile=_compile, advice=blas_advice)

# Small numbers that underflow, such as exp() of what is far below the largest logit, are as good as 0, even
# if the user tells NumPy to raise. This takes 0.7 us a call; programs of compiled steps call what is inside.
for _name, _function in list(vars(xp.nn).items()):
    setattr(xp.nn, _name, numpy.errstate(under="ignore")(_function))
