"""Trainings that a group of processes takes together, and one process alone: ``trainings.py FOLDER``.

Each is written to the folder by rank 0; ranks that do not agree are an error.
"""

import hashlib
import pathlib
import sys

import numpy as np

import xpnet

RNG = np.random.default_rng(7)
ROWS, FEATURES, CLASSES = 503, 12, 5
X = RNG.normal(size=(ROWS, FEATURES))
Y = RNG.integers(0, CLASSES, ROWS)
WEIGHTS = RNG.random(ROWS)
IMAGES = RNG.integers(0, 256, (120, 8, 8), dtype=np.uint8)

OPTIMIZERS = {
    "sgd": xpnet.SGD(0.1),
    "sgd momentum": xpnet.SGD(0.05, momentum=0.9, weight_decay=1e-3),
    "sgd nesterov": xpnet.SGD(0.05, momentum=0.9, nesterov=True),
    "dampening": xpnet.SGD(0.1, momentum=0.9, dampening=0.5),
    "momentum": xpnet.Momentum(0.5, 0.9),
    "nesterov": xpnet.Nesterov(0.5, 0.9),
    "rmsprop": xpnet.RMSprop(0.005),
    "adam": xpnet.Adam(0.01),
    "adamw": xpnet.AdamW(0.01),
    "clipped": xpnet.SGD(0.5, clip_norm=0.3),
    "schedule": xpnet.Momentum(xpnet.schedules.cosine(0.5, 100), 0.9),
}
MLP = xpnet.mlp(FEATURES, 16, CLASSES)
BASE = {
    "model": MLP,
    "train": xpnet.Dataset(X.astype("float32"), Y),
    "optimizer": xpnet.Momentum(0.5, 0.9),
    "epochs": 2,
    "batch_size": 100,
}
CNN = xpnet.Sequential(
    xpnet.Conv2d(1, 3, 3), xpnet.ReLU(), xpnet.MaxPool2d(2), xpnet.Flatten(), xpnet.Linear(48, CLASSES)
)


def cases():
    """Return the arguments of `fit` by name: 100 steps for each optimizer, then other kinds of training."""
    hundred = {"batch_size": 25, "epochs": 5}  # 20 batches of 25 and a rest of 3
    found = {name: BASE | hundred | {"optimizer": optimizer} for name, optimizer in OPTIMIZERS.items()}
    found["rest below the ranks"] = BASE | {"batch_size": 251}  # 251, 251 and 1
    found["weights"] = BASE | {"sample_weight": WEIGHTS}
    found["weights, rest below the ranks"] = found["rest below the ranks"] | {"sample_weight": WEIGHTS}
    found["class weights"] = BASE | {"class_weight": "balanced"}
    found["evaluated"] = BASE | {"test": BASE["train"][:3], "validation": 0.2}
    found["float64"] = BASE | {"dtype": "float64"}
    found["regression"] = BASE | {
        "model": xpnet.Sequential(xpnet.Linear(FEATURES, 8), xpnet.Tanh(), xpnet.Linear(8, 2)),
        "train": xpnet.Dataset(X, X[:, :2] * 2),
        "loss": "squared_error",
        "optimizer": xpnet.Adam(0.01),
    }
    standardized = xpnet.Sequential(xpnet.Standardize(FEATURES), *MLP.layers)
    found["standardised"] = BASE | {"model": standardized, "train": xpnet.Dataset(X * 5 + 3, Y)}
    found["images"] = BASE | {
        "model": CNN,
        "train": xpnet.Dataset(IMAGES, Y[:120]),
        "optimizer": xpnet.SGD(0.1, momentum=0.9),
        "batch_size": 32,
    }
    return found


def digest(run):
    """Return the SHA-256 of the parameters of a run."""
    sha = hashlib.sha256()
    for p in run.params.values():
        sha.update(np.ascontiguousarray(run.xp.to_host(p)).tobytes())
    return sha.hexdigest()


def trained(backend, arguments, group=None):
    """Return a run."""
    arguments = {"progress": False, "seed": 5} | arguments
    model, train = arguments.pop("model"), arguments.pop("train")
    return xpnet.fit(xpnet.backend(backend), model, train, distributed=group, **arguments)


def figures(run):
    """Return the history as an array, without seconds."""
    names = "train_loss", "test_loss", "test_accuracy", "validation_loss", "validation_accuracy"
    return np.array([[getattr(epoch, name) for name in names] for epoch in run.history], dtype=float)


def main(folder):
    whole = xpnet.distributed.mpi()
    shares = xpnet.distributed.mpi(shard=True)
    for backend in ("numpy", "numba"):
        for name, arguments in cases().items():
            run = trained(backend, arguments, whole)
            digests = whole.gather(digest(run))
            assert len({*digests}) == 1, f"ranks differ in {name!r} on {backend}"
            assert not run.report, run.report
            assert digest(trained(backend, arguments, shares)) == digests[0], f"shares differ in {name!r}"
            assert [about["rank"] for about in run.ranks] == [*range(whole.size)]
            assert all(len(about["seconds"]) == len(run.history) for about in run.ranks)
            if whole.rank == 0:
                arrays = {f"param {key}": run.xp.to_host(p) for key, p in run.params.items()}
                np.savez(pathlib.Path(folder, f"{backend} {name}.npz"), figures=figures(run), **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
