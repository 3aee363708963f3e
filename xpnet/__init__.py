"""xpnet: neural networks written once against the array API, run on NumPy, Numba and CuPy."""

from xpnet.discovery import BackendInfo, backend, backends
from xpnet.errors import BackendUnavailableError, TrainingDivergedError, UnknownBackendError
from xpnet.namespace import Namespace

__version__ = "0.1.0"

__all__ = [
    "BackendInfo",
    "BackendUnavailableError",
    "Namespace",
    "TrainingDivergedError",
    "UnknownBackendError",
    "backend",
    "backends",
]
