"""What a short training on `cupy` loads, with NumPy in CuPy's place: each kernel is a module of its own."""

import os
import subprocess
import sys

import cuda_on_host
import numpy
import pytest

import xpnet


@pytest.fixture
def loaded(package, library, monkeypatch):
    """Return the list of the kernels that have been loaded, in order."""
    kernel, symbols = cuda_on_host.kernel_of(library), []
    monkeypatch.setattr(package.kernels, "_kernel", lambda symbol: symbols.append(symbol) or kernel(symbol))
    return symbols


def train(package, *, n, n_in, hidden, batch_size):
    pixels = numpy.random.default_rng(0).integers(0, 256, (n, n_in)).astype(numpy.uint8)
    data = xpnet.Dataset(pixels, numpy.arange(n) % 10)
    xp = cuda_on_host.namespace(package)
    model = xpnet.mlp(n_in, hidden, 10, activation="sigmoid")
    options = {"optimizer": xpnet.Momentum(4.0), "epochs": 1, "batch_size": batch_size, "progress": False}
    return xpnet.fit(xp, model, data, test=data, **options)


def test_training_and_evaluating_a_small_network_never_starts_cublas(package, loaded, monkeypatch):
    monkeypatch.setattr(package.blas, "_ask", None)
    assert package.dense.Dense(tf32=False).is_own(1000, 784, 64)
    run = train(package, n=40, n_in=530, hidden=5, batch_size=16)
    assert run.history[-1].test_accuracy is not None
    assert len({*loaded}) <= 20


@pytest.mark.parametrize("n_in", [784, 100])
def test_large_products_and_those_that_may_round_to_tf32_are_left_to_cublas(n_in, package):
    dense, largest = package.dense.Dense(tf32=False), package.dense.LARGEST_FORWARD // 784
    assert dense.is_own(largest // 64, n_in, 64)
    assert not dense.is_own(largest // 16, n_in, 64)
    assert not package.dense.is_small(largest // 64, 784, 64)
    assert not package.dense.Dense(tf32=True).is_own(largest // 64, 784, 64)


SOURCES = """
import hashlib
import cuda_on_host
from persistent_networks import drawn

package = cuda_on_host.load()
print(hashlib.sha256(package.source.CODE.encode()).hexdigest(), package.launch.OPTIONS)
for seed in range(6):
    plan = package.plan.plan_of(drawn(seed, steps=3).trace())
    source = package.code.source_of(plan, blocks=132, threads=512)
    print(hashlib.sha256(source.encode()).hexdigest())
"""


def test_another_process_asks_for_the_same_sources():
    """CuPy keeps a compiled kernel by its source: a second start would compile it again."""
    made = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", SOURCES]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        made.append(done.stdout)
    assert made[0] == made[1]
    assert len(made[0].splitlines()) == 7
