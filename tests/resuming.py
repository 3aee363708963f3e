"""Small trainings for tests of checkpoints, also for processes of their own."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
from safetensors import safe_open

import xpnet

OPTIMIZERS = {"sgd": xpnet.SGD(0.1), "momentum": xpnet.Momentum(0.5), "adam": xpnet.Adam(0.01)}
EPOCH_1, EPOCH_2 = "epoch-0001.safetensors", "epoch-0002.safetensors"
_ANOTHER = """
import json, sys
sys.path.insert(0, {folder!r})
from resuming import train
options = json.loads(sys.argv[1])
train(**options).save(sys.argv[2])
"""


def samples(n=333, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    return xpnet.Dataset((rng.normal(size=(n, 12)) + labels[:, None]).astype("f4"), labels)


def network():
    """Return a model with state and with random numbers."""
    hidden = xpnet.Linear(12, 16), xpnet.BatchNorm(16), xpnet.ReLU(), xpnet.Dropout(0.3)
    return xpnet.Sequential(*hidden, xpnet.Linear(16, 3))


def train(backend="numpy", optimizer="momentum", *, epochs=4, model=None, data=None, **options):
    options = {"batch_size": 32, "seed": 3, "test": samples(50, 1)} | options
    return xpnet.fit(
        xpnet.backend(backend),
        model or network(),
        data or samples(),
        optimizer=OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer,
        epochs=epochs,
        **options,
    )


def train_in_another_process(path, **options):
    """Save what `train` returns in a process of its own."""
    script = _ANOTHER.format(folder=str(pathlib.Path(__file__).parent))
    command = [sys.executable, "-c", script, json.dumps(options), str(path)]
    subprocess.run(command, check=True, env=os.environ, timeout=120)


def seal(path):
    """Return the SHA-256 of the model, its parameters and its history without the seconds."""
    with safe_open(path, framework="numpy") as file:
        return file.metadata()["sha256"]


def seal_of(run, folder):
    run.save(folder / "model")
    return seal(folder / "model")


def names(folder):
    return sorted(path.name for path in folder.iterdir())
