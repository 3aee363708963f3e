"""How values and gradients are compared, on any namespace, and the optimizers to try."""

import dataclasses

import numpy as np
import pytest

from xpnet.optim import OPTIMIZERS

# Relative to the size of the values compared.
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}


def optimizers(lr, *, times, **options):
    """Return each optimizer with this learning rate, or so many times its default, and with `options`."""
    found = []
    for kind in OPTIMIZERS.values():
        fields = {field.name for field in dataclasses.fields(kind)}
        rate = times * kind.lr if hasattr(kind, "lr") else lr
        found.append(kind(rate, **{name: x for name, x in options.items() if name in fields}))
    return found


def put(xp, x):
    """Return `x` as an array of `xp`, read-only where the library knows such arrays."""
    x = np.array(x)
    x.flags.writeable = False
    return xp.asarray(x)


def assert_close(xp, actual, expected, *, dtype="float64", factor=1.0):
    """Compare an array of `xp` with NumPy values, relative to their largest."""
    actual, expected = np.asarray(xp.to_host(actual)), np.asarray(expected)
    assert actual.shape == expected.shape
    scale = max(1e-30, float(np.max(np.abs(expected), initial=0.0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=factor * TOLERANCE[dtype] * max(scale, 1e-3))


def assert_gradient(xp, function, x, dx, *, seed=0, step=1e-6, tolerance=1e-7):
    """Compare `dx`, the gradient of the scalar `function` at `x`, with central differences in float64.

    `x` and `dx` are NumPy arrays; the derivative is taken along three random directions.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    for _ in range(3):
        direction = rng.standard_normal(x.shape)
        up = function(xp.asarray(x + step * direction))
        down = function(xp.asarray(x - step * direction))
        slope = (float(xp.to_host(up)) - float(xp.to_host(down))) / (2 * step)
        assert slope == pytest.approx(float(np.sum(dx * direction)), rel=tolerance, abs=tolerance)
