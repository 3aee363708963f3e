"""The backend `numpy`: NumPy as it is, nothing fused. The reference that the others are compared with."""

import numpy

from xpnet import Namespace

xp = Namespace("numpy", numpy)
