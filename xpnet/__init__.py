"""xpnet: neural networks written once against the array API, run on NumPy, Numba and CuPy."""

from xpnet import datasets, initializers, losses, metrics, nn
from xpnet.datasets import Dataset
from xpnet.discovery import BackendInfo, backend, backends
from xpnet.errors import (
    BackendUnavailableError,
    DeviceMemoryError,
    TrainingDivergedError,
    UnknownBackendError,
)
from xpnet.evaluation import Evaluation, evaluate, predict, predict_outputs, predict_proba
from xpnet.layers import Dropout, Linear, ReLU, Sigmoid, Softmax, Tanh
from xpnet.models import Sequential, mlp
from xpnet.namespace import Namespace
from xpnet.optim import SGD, Adam, Momentum, Nesterov
from xpnet.random import Stream
from xpnet.run import Epoch, Run, load
from xpnet.train import fit

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adam",
    "BackendInfo",
    "BackendUnavailableError",
    "Dataset",
    "DeviceMemoryError",
    "Dropout",
    "Epoch",
    "Evaluation",
    "Linear",
    "Momentum",
    "Namespace",
    "Nesterov",
    "ReLU",
    "Run",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Stream",
    "Tanh",
    "TrainingDivergedError",
    "UnknownBackendError",
    "backend",
    "backends",
    "datasets",
    "evaluate",
    "fit",
    "initializers",
    "load",
    "losses",
    "metrics",
    "mlp",
    "nn",
    "predict",
    "predict_outputs",
    "predict_proba",
]
