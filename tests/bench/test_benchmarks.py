"""The benchmarks' records, and the limit that they compare with."""

import json
import os
import pathlib
import subprocess
import sys
import types

import pytest

import xpnet
from xpnet import nn
from xpnet_bench.limit import (
    Product,
    backward_products,
    batch_products,
    epoch_bytes,
    epoch_products,
    forward_product,
    gemm_seconds,
    products_of,
)
from xpnet_bench.ours import Copies, Epochs
from xpnet_bench.workload import WORKLOADS, Workload

ROOT = pathlib.Path(__file__).parents[2]


def run(*args, **environment):
    """Return the output of `pytest benchmarks/bench_kernels.py` for only relu, in its own process."""
    chosen = "relu and not backward and not leaky"
    command = [sys.executable, "-m", "pytest", "benchmarks/bench_kernels.py", "-k", chosen]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", *map(str, args)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_batch_has_five_products():
    assert batch_products((784, 64, 10), 128) == [
        Product((128, 784), (784, 64)),
        Product((128, 64), (64, 10)),
        Product((128, 64), (128, 10), "left"),
        Product((128, 10), (64, 10), "right"),
        Product((128, 784), (128, 64), "left"),
    ]


def test_flops_are_those_of_the_hand_calculation():
    first, second = 2 * 128 * 784 * 64, 2 * 128 * 64 * 10
    flops = [product.flops for product in batch_products((784, 64, 10), 128)]
    assert flops == [first, second, second, second, first]


def test_epoch_includes_the_ragged_batch():
    products = epoch_products(Workload(), 300)
    assert [product.left[0] for product in products[::5]] == [128, 128, 44]
    assert len(products) == 15


def test_products_of_a_convolution_are_those_of_columns():
    products = epoch_products(WORKLOADS["cnn"], 128)
    assert products[0] == forward_product(128 * 28 * 28, 5 * 5 * 1, 6)
    assert products[1] == forward_product(128 * 10 * 10, 5 * 5 * 6, 16)
    assert [product.right for product in products[2:5]] == [(400, 120), (120, 84), (84, 10)]
    # Three products a layer, but for the gradient at the images.
    first, second, linear = 784 * 25 * 6, 100 * 150 * 16, 400 * 120 + 120 * 84 + 84 * 10
    assert sum(product.flops for product in products) == 128 * 2 * (2 * first + 3 * (second + linear))


def test_products_of_a_function_are_those_of_the_hand_calculation(numpy_xp):
    x, weight, dy = (numpy_xp.zeros(shape) for shape in ((128, 784), (784, 64), (128, 64)))
    forward = products_of(numpy_xp, lambda xp: nn.linear(xp, x, weight, weight[0, :]))
    backward = products_of(numpy_xp, lambda xp: nn.linear_backward(xp, x, weight, dy))
    assert forward == [forward_product(128, 784, 64)]
    assert backward == backward_products(128, 784, 64, input_gradient=True)[::-1]
    assert products_of(numpy_xp, lambda xp: nn.relu(xp, x)) == []


def test_least_bytes_are_those_of_the_hand_calculation():
    # 300 images of 784 bytes; in each of 3 steps 50890 parameters and velocities are read and written.
    assert epoch_bytes(Workload(), 300, 784) == 300 * 784 + 3 * 50890 * 4 * 4


def test_bandwidth_limit_copies_the_bytes(xp):
    limit = Copies("numpy")
    limit.prepare(Workload(limit=300))
    assert sum(source.shape[0] for source in limit._sources) == epoch_bytes(Workload(), 300, 784) // 2
    limit.epoch(None)
    assert limit.outputs() is None


def test_device_memory_is_that_of_all_pools(monkeypatch):
    epochs = Epochs("numpy")
    assert epochs.device_bytes() is None
    pool = types.SimpleNamespace(total_bytes=lambda: 4096)
    epochs.xp = xpnet.Namespace("fake", types.SimpleNamespace(get_default_memory_pool=lambda: pool))
    programs = [types.SimpleNamespace(device_bytes=512), types.SimpleNamespace(device_bytes=1024)]
    monkeypatch.setattr(epochs, "_programs", lambda: programs)
    assert epochs.device_bytes() == 4096 + 512 + 1024


@pytest.mark.parametrize(("nodes", "launches"), [([], None), ([None], None), ([0, 0], 0), ([8, None, 7], 8)])
def test_launches_are_those_of_a_full_batch_and_0_if_a_step_has_none_of_its_own(nodes, launches, monkeypatch):
    epochs = Epochs("numpy")
    programs = [types.SimpleNamespace(nodes=n) for n in nodes]
    monkeypatch.setattr(epochs, "_programs", lambda: programs)
    assert epochs.launches() == launches


def test_limit_is_a_time(xp):
    assert 0 < gemm_seconds(xp, Workload(limit=300), rounds=2) < 60


def test_results_say_what_was_timed(tmp_path):
    run("--benchmark-json", tmp_path / "results.json", XPNET_BACKEND="numpy", XPNET_THREADS="1")
    results = json.loads((tmp_path / "results.json").read_text())["benchmarks"]
    assert {result["params"]["size"] for result in results} == {"small", "large"}
    for result in results:
        info = result["extra_info"]
        described = {"backend", "batch", "sizes", "dtype", "device", "threads", "versions", "form"}
        measured = {"blas", "blas_kernels", "examples_per_second", "limit_seconds", "share_of_limit"}
        assert set(info) == described | measured
        assert (info["backend"], info["form"], info["dtype"]) == ("numpy", "portable", "float32")
        assert {"python", "xpnet", "numpy"} <= set(info["versions"])
        assert info["examples_per_second"] == pytest.approx(info["batch"] / result["stats"]["median"])
        assert info["threads"] == 1 or not info["blas"]


def test_unusable_backend_is_skipped_with_its_reason(tmp_path):
    (tmp_path / "xpnet_toy.py").write_text("raise RuntimeError('built for another processor')")
    info = tmp_path / "toy_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[xpnet.backends]\ntoy = xpnet_toy:xp\n")
    output = run("--benchmark-disable", XPNET_BACKEND="toy", PYTHONPATH=str(tmp_path))
    assert "4 skipped" in output
    assert "backend 'toy' cannot be loaded: RuntimeError: built for another processor" in output
