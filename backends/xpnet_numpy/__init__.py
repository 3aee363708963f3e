"""The backend `numpy`: NumPy as it is, nothing fused. The reference that the others are compared with."""

import numpy

from xpnet import Namespace
from xpnet.blas import blas_advice

xp = Namespace("numpy", numpy, advice=blas_advice)
