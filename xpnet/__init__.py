"""xpnet: neural networks written once against the array API, run on NumPy, Numba and CuPy."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from xpnet import datasets, initializers, losses, metrics, nn, schedules
from xpnet.activations import activations
from xpnet.augmentation_layers import RandomFlip, RandomShift
from xpnet.callbacks import EarlyStopping, KeepBest, ReduceOnPlateau
from xpnet.checkpoint_folder import Checkpoint
from xpnet.csv_log import CSVLog
from xpnet.datasets import Dataset
from xpnet.device import Device
from xpnet.discovery import BackendInfo, backend, backends
from xpnet.errors import (
    BackendUnavailableError,
    DeviceMemoryError,
    TrainingDivergedError,
    UnknownBackendError,
)
from xpnet.evaluation import Evaluation, evaluate, predict, predict_outputs, predict_proba
from xpnet.gradients import GradientError, GradientReport, check_gradients
from xpnet.image_layers import AvgPool2d, Conv2d, Flatten, GlobalAvgPool2d, MaxPool2d, Unflatten
from xpnet.layers import GELU, Dropout, LeakyReLU, Linear, ReLU, Sigmoid, SiLU, Softmax, Tanh
from xpnet.models import Residual, Sequential, mlp
from xpnet.namespace import Namespace
from xpnet.networks import lenet5
from xpnet.normalisation_layers import BatchNorm, LayerNorm, Standardize
from xpnet.optim import SGD, Adam, AdamW, Momentum, Nesterov, RMSprop
from xpnet.random import Stream
from xpnet.registry import register
from xpnet.run import Epoch, Run, load
from xpnet.train import fit

if TYPE_CHECKING:
    from xpnet import distributed as distributed
    from xpnet import drawing as drawing
    from xpnet import handwriting as handwriting
    from xpnet import lessons, plots
    from xpnet import online as online
    from xpnet import onnx as onnx
    from xpnet import pictures as pictures
    from xpnet import replay as replay
    from xpnet import sklearn as sklearn
    from xpnet import standard as standard

__version__ = "0.1.0"

__all__ = [
    "GELU",
    "SGD",
    "Adam",
    "AdamW",
    "AvgPool2d",
    "BackendInfo",
    "BackendUnavailableError",
    "BatchNorm",
    "CSVLog",
    "Checkpoint",
    "Conv2d",
    "Dataset",
    "Device",
    "DeviceMemoryError",
    "Dropout",
    "EarlyStopping",
    "Epoch",
    "Evaluation",
    "Flatten",
    "GlobalAvgPool2d",
    "GradientError",
    "GradientReport",
    "KeepBest",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "Momentum",
    "Namespace",
    "Nesterov",
    "RMSprop",
    "RandomFlip",
    "RandomShift",
    "ReLU",
    "ReduceOnPlateau",
    "Residual",
    "Run",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Standardize",
    "Stream",
    "Tanh",
    "TrainingDivergedError",
    "Unflatten",
    "UnknownBackendError",
    "activations",
    "backend",
    "backends",
    "check_gradients",
    "datasets",
    "evaluate",
    "fit",
    "initializers",
    "lenet5",
    "lessons",
    "load",
    "losses",
    "metrics",
    "mlp",
    "nn",
    "plots",
    "predict",
    "predict_outputs",
    "predict_proba",
    "register",
    "schedules",
]

if not TYPE_CHECKING:  # To a type checker, a name that is not above is an error.
    # Loaded at their first use, so that `import xpnet` does not pay for them.
    _LATE = frozenset(
        {
            "distributed",
            "drawing",
            "handwriting",
            "lessons",
            "online",
            "onnx",
            "pictures",
            "plots",
            "replay",
            "sklearn",
            "standard",
        }
    )

    def __getattr__(name: str) -> Any:
        if name in _LATE:
            return importlib.import_module(f"xpnet.{name}")
        raise AttributeError(f"module 'xpnet' has no attribute {name!r}", name=name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LATE})
