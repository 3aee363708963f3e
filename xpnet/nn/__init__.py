"""The extension `nn`, in portable code: each function here defines what a backend's kernel must return.

Every function takes an array-API namespace first and uses nothing but that standard (2024.12), so it runs on
any library that keeps it. `xp.nn` holds the same functions without their first parameter, and a backend may
put kernels of its own in their places. Arguments are trusted: layers, losses and loaders check them, and
`xpnet.backend` has a namespace with checks in each call.

Each is declared once, where it is written: see `declaration`. What others need to know of a function follows
from that, and `FUNCTIONS` has it by name.

Shapes are ``(batch, features)``, and ``(batch, height, width, channels)`` of images; a weight is ``(n_in,
n_out)``, or ``(kernel_height, kernel_width, channels_in / groups, channels_out)``. Unless they say otherwise,
results have the floating-point dtype of the arguments. A function named ``*_backward`` takes `dy`, the
gradient of a scalar loss at the output, and returns the gradient at the input. Only the ``*_step`` functions,
`moving_average`, `pack` and `all_reduce` may overwrite what they are given.
"""

from xpnet.nn.activations import *  # noqa: F403
from xpnet.nn.augmentation import *  # noqa: F403
from xpnet.nn.batch_normalisation import *  # noqa: F403
from xpnet.nn.clipping import *  # noqa: F403
from xpnet.nn.collective import *  # noqa: F403
from xpnet.nn.declaration import FUNCTIONS as FUNCTIONS
from xpnet.nn.declaration import Form as Form
from xpnet.nn.declaration import Function as Function
from xpnet.nn.declaration import declared as declared
from xpnet.nn.declaration import function as function
from xpnet.nn.dense import *  # noqa: F403
from xpnet.nn.images import *  # noqa: F403
from xpnet.nn.losses import *  # noqa: F403
from xpnet.nn.normalisation import *  # noqa: F403
from xpnet.nn.pooling import *  # noqa: F403
from xpnet.nn.random import *  # noqa: F403
from xpnet.nn.random import philox as philox
from xpnet.nn.shapes import *  # noqa: F403
from xpnet.nn.steps import *  # noqa: F403
from xpnet.nn.synchronised import *  # noqa: F403
from xpnet.nn.weighted_losses import *  # noqa: F403

__all__ = sorted(FUNCTIONS)
