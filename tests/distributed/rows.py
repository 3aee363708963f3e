"""Layers of a group of processes, each with some rows of a batch: ``rows.py FOLDER``.

What all ranks found together is written to the folder by rank 0.
"""

import pathlib
import sys

import numpy as np
import trainings

import xpnet
from xpnet import BatchNorm, Conv2d, Dropout, Flatten, Linear, RandomFlip, RandomShift, ReLU, Residual
from xpnet import Sequential as Model

SHAPES = {"features": (23, 5), "images": (11, 4, 3, 5)}
SHIFTS = {"float32": 300.0, "float64": 1e7}  # whose squares leave nothing of those of deviations


def batches():
    """Return names, and the inputs of a batch with the gradient at the outputs."""
    random = np.random.default_rng(3)
    for kind, shape in SHAPES.items():
        for dtype, shift in SHIFTS.items():
            for level in (0.0, shift):
                x = random.normal(size=shape) * random.uniform(0.5, 3, 5) + level
                yield f"{kind} {dtype} {level}", x.astype(dtype), random.normal(size=shape).astype(dtype)


def ends_of(rows, ranks):
    """Return where the rows of each rank end; the first rank has a single row."""
    return [1 + i * (rows - 1) // (ranks - 1) for i in range(ranks)] if ranks > 1 else [rows]


def params_of(xp, dtype):
    values = {"scale": [1, 2, -1, 0.5, 3], "shift": [0, 1, 2, 3, 4], "mean": [1] * 5, "variance": [2] * 5}
    return {name: xp.asarray(np.array(value, dtype)) for name, value in values.items()}


def normalised(xp, params, x, dy, *, layer):
    """Take a step of a layer and return its output, its gradients and its new state."""
    y, pullback, state = layer.train(xp, params, x)
    dx, grads = pullback(dy)
    return y, dx, state["mean"], state["variance"], grads["scale"], grads["shift"]


class Rehearsing:
    """A group that sums nothing while `is_quiet`: ranks may try their programs in different ways."""

    is_quiet = False

    def __init__(self, group):
        self._group = group

    def __getattr__(self, name):
        return getattr(self._group, name)

    def sum(self, x):
        if not self.is_quiet:
            self._group.sum(x)


NAMES = "y", "dx", "mean", "variance", "scale", "shift"


def trained_layer(xp, x, dy, layer):
    """Return what a compiled step of a layer returns in its last call, as NumPy arrays."""

    def step(xp, params, x, dy):
        return normalised(xp, params, x, dy, layer=layer)

    compiled = xp.compile(step)
    for rehearses in (True, True, False):
        if xp.group is not None:
            xp.group.is_quiet = rehearses
        found = compiled(xp, params_of(xp, x.dtype), xp.asarray(x), xp.asarray(dy))
    assert not compiled.report, compiled.report
    return [np.array(xp.to_host(value)) for value in found]


def of_all(group, found):
    """Return the rows of all ranks one below the other, the state, and the sums of the gradients."""
    ranks = group.gather(found)
    y, dx = (np.concatenate([rank[i] for rank in ranks]) for i in (0, 1))
    for mean, variance in ((rank[2], rank[3]) for rank in ranks):
        assert mean.tobytes() == ranks[0][2].tobytes()
        assert variance.tobytes() == ranks[0][3].tobytes()
    return dict(zip(NAMES, (y, dx, *ranks[0][2:4], *(sum(r[i] for r in ranks) for i in (4, 5))), strict=True))


def check_finite_differences(xp, group):
    """Compare `dx` of rows of each rank with differences of the sum of all outputs, by weight."""
    _, x, dy = [*batches()][2]
    assert x.dtype == "float64"
    ends = ends_of(len(x), group.size)
    own = slice(([0, *ends])[group.rank], ends[group.rank])
    x, dy, layer, params = x[own].copy(), dy[own], BatchNorm(5, sync=True), params_of(xp, "float64")
    _, pullback, _ = layer.train(xp, params, x)
    dx = pullback(dy)[0]

    def total():
        return sum(group.gather(float(np.sum(layer.train(xp, params, x)[0] * dy))))

    for rank in range(group.size):
        for place in ((0, 1), (-1, 4)):
            sides = []
            for change in (1e-5, -2e-5):
                if rank == group.rank:
                    x[place] += change
                sides.append(total())
            if rank == group.rank:
                x[place] += 1e-5
                np.testing.assert_allclose(dx[place], (sides[0] - sides[1]) / 2e-5, rtol=1e-6, atol=1e-8)


IMAGES = Model(
    RandomShift(1),
    RandomFlip(),
    Conv2d(1, 3, 3),
    BatchNorm(3, sync=True),
    ReLU(),
    Residual(BatchNorm(3, sync=True), Dropout(0.3)),
    Flatten(),
    Dropout(0.2),
    Linear(192, trainings.CLASSES),
)


def fully(*layers):
    return Model(Linear(trainings.FEATURES, 9), *layers, Linear(9, trainings.CLASSES))


def cases():
    """Return the arguments of `fit` by name."""
    base = trainings.BASE | {"optimizer": xpnet.SGD(0.1, momentum=0.9)}
    images = {"train": xpnet.Dataset(trainings.IMAGES, trainings.Y[:120]), "batch_size": 31}
    return {
        "dropout": base | {"model": fully(Dropout(0.4), ReLU(), Dropout(0.25)), "batch_size": 97},
        "dropout, rest below the ranks": base | {"model": fully(Dropout(0.4)), "batch_size": 251},
        "normalised": base | {"model": fully(BatchNorm(9, sync=True), ReLU()), "batch_size": 97},
        # 167, 167, 167 and 2 rows, which are all that four ranks, and three, have
        "normalised, rest below the ranks": base
        | {"model": fully(BatchNorm(9, sync=True), ReLU()), "batch_size": 167},
        "images": base | images | {"model": IMAGES},
        "float64": base | images | {"model": IMAGES, "dtype": "float64"},
    }


def main(folder):
    group = xpnet.distributed.mpi()
    found = {}
    for backend in ("numpy", "numba"):
        xp = xpnet.backend(backend).with_group(Rehearsing(group))
        for name, x, dy in batches():
            ends = ends_of(len(x), group.size)
            own = slice(([0, *ends])[group.rank], ends[group.rank])
            made = of_all(group, trained_layer(xp, x[own], dy[own], BatchNorm(5, sync=True)))
            found |= {f"{backend} {name} {key}": value for key, value in made.items()}
        check_finite_differences(xp, group)
        for name, arguments in cases().items():
            run = trainings.trained(backend, arguments, group)
            assert len({*group.gather(trainings.digest(run))}) == 1, f"ranks differ in {name!r} on {backend}"
            assert not run.report, run.report
            found |= {f"{backend} {name} {key}": run.xp.to_host(p) for key, p in run.params.items()}
        own_rows = cases()["normalised"] | {"model": fully(BatchNorm(9))}
        run = trainings.trained(backend, own_rows, group)
        assert len({*group.gather(trainings.digest(run))}) == 1, f"states of ranks differ on {backend}"
    if group.rank == 0:
        np.savez(pathlib.Path(folder, "found.npz"), **found)


if __name__ == "__main__":
    main(sys.argv[1])
