"""The benchmark's peers, compared with xpnet on NumPy over the same batches."""

import dataclasses
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import xpnet
from xpnet_bench.peers import PEERS, WITHOUT_CONVOLUTION, PeerUnavailableError, make_peer
from xpnet_bench.workload import WORKLOADS, Workload

# 15 full batches and one of 80.
WORKLOAD = Workload(limit=2000, lr=1.0)
DEEP = Workload(sizes=(784, 30, 20, 10), limit=500, lr=1.0)
FEW = Workload(limit=50, lr=1.0)
# 3 full batches and one of 116. Not more: a rounding error may decide which pixel of a window is the largest.
CNN = dataclasses.replace(WORKLOADS["cnn"], limit=500)
# Measured: at most 2e-7 after two epochs (OpenBLAS, 1 thread).
PARAMETERS_ATOL = 2e-5
NAMES = [
    "PyTorch eager",
    "PyTorch compiled",
    "PyTorch CUDA graph",
    "JAX scan",
    "Keras on JAX",
    "scikit-learn",
    "course float64",
]


def prepared(name, workload):
    try:
        peer = make_peer(name, workload.network)
        peer.prepare(workload)
    except PeerUnavailableError as e:
        pytest.skip(str(e))
    return peer


def trained(workload, epochs, numpy_xp):
    """Return each layer's weight and bias and the test accuracy of xpnet on NumPy."""
    train, test = workload.data()
    run = xpnet.fit(
        numpy_xp,
        workload.model(),
        train,
        test=test,
        optimizer=xpnet.Momentum(workload.lr, workload.beta),
        epochs=epochs,
        batch_size=workload.batch_size,
        seed=workload.seed,
    )
    return layers(run.params), run.history[-1].test_accuracy


def layers(params):
    """Return the pairs of weight and bias that a peer's `parameters` returns."""
    prefixes = dict.fromkeys(name.rpartition(".")[0] for name in params)
    return [(params[f"{p}.weight"], params[f"{p}.bias"]) for p in prefixes]


def assert_same_parameters(found, expected, atol):
    for own, other in zip(found, expected, strict=True):
        for array, wanted in zip(own, other, strict=True):
            np.testing.assert_allclose(array, wanted, rtol=0, atol=atol)


def run_python(code, **environment):
    command = [sys.executable, "-W", "ignore", "-c", code]
    path = os.pathsep.join(p for p in sys.path if p)
    environment = os.environ | {"PYTHONPATH": path} | environment
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def test_peers_are_those_of_the_report():
    assert list(PEERS) == NAMES


def test_initial_parameters_and_orders_are_those_of_fit(numpy_xp):
    params = xpnet.mlp(*WORKLOAD.sizes).init(numpy_xp, WORKLOAD.seed)
    assert_same_parameters(WORKLOAD.initial(), layers(params), atol=0)
    first, second = itertools.islice(WORKLOAD.orders(2000), 2)
    assert first.dtype == np.int32
    assert not np.array_equal(first, second)
    assert np.array_equal(first, xpnet.Stream(WORKLOAD.seed, "shuffle").permutation(2000))


@pytest.mark.parametrize("name", NAMES)
def test_peer_trains_as_xpnet_does(name, numpy_xp):
    peer = prepared(name, WORKLOAD)
    assert (peer.name, peer.kind) == (name, "peer")
    assert all(peer.versions.values())
    assert_same_parameters(peer.parameters(), WORKLOAD.initial(), atol=0)
    orders = WORKLOAD.orders(2000)
    for epochs in (1, 2):
        peer.epoch(next(orders))
        params, accuracy = trained(WORKLOAD, epochs, numpy_xp)
        assert_same_parameters(peer.parameters(), params, PARAMETERS_ATOL)
        assert abs(peer.accuracy() - accuracy) < 0.01


@pytest.mark.parametrize("workload", [DEEP, FEW], ids=["two hidden layers", "less than one batch"])
@pytest.mark.parametrize("name", NAMES)
def test_peer_takes_other_workloads(name, workload, numpy_xp):
    peer = prepared(name, workload)
    peer.epoch(next(workload.orders(workload.limit)))
    expected, _ = trained(workload, 1, numpy_xp)
    assert_same_parameters(peer.parameters(), expected, PARAMETERS_ATOL)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_CONVOLUTION])
def test_peer_trains_convolutions_as_xpnet_does(name, numpy_xp):
    peer = prepared(name, CNN)
    assert_same_parameters(peer.parameters(), CNN.initial(), atol=0)
    peer.epoch(next(CNN.orders(CNN.limit)))
    params, accuracy = trained(CNN, 1, numpy_xp)
    assert_same_parameters(peer.parameters(), params, PARAMETERS_ATOL)
    assert abs(peer.accuracy() - accuracy) < 0.01


@pytest.mark.parametrize("name", WITHOUT_CONVOLUTION)
def test_peer_without_convolutions_says_so(name):
    with pytest.raises(PeerUnavailableError, match="it has no convolution; use it for the network 'mlp'"):
        make_peer(name, "cnn")


def test_import_of_the_table_loads_no_peer():
    heavy = "{'torch', 'jax', 'keras', 'sklearn'}"
    assert run_python(f"import sys, xpnet_bench.peers; print(sorted({heavy} & set(sys.modules)))") == "[]"


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("PyTorch eager", "torch"),
        ("PyTorch compiled", "torch"),
        ("PyTorch CUDA graph", "torch"),
        ("JAX scan", "jax"),
        ("Keras on JAX", "jax"),
        ("Keras on JAX", "keras"),
        ("scikit-learn", "sklearn"),
    ],
)
def test_absent_library_is_named_with_the_remedy(name, library):
    code = f"""
import sys
sys.modules[{library!r}] = None
from xpnet_bench.peers import PeerUnavailableError, make_peer
try:
    make_peer({name!r})
except PeerUnavailableError as e:
    print(e)
"""
    text = run_python(code)
    # If a second library of the peer is missing too, the error may name that one.
    assert text.startswith(
        (
            f"peer {name!r} cannot be used: import of {library} halted",
            f"peer {name!r} cannot be used: No module named",
        )
    )
    assert text.endswith("; install it with `pip install 'xpnet[bench]'`")


def test_cuda_graph_names_the_missing_device():
    code = """
from xpnet_bench.peers import PeerUnavailableError, make_peer
try:
    make_peer("PyTorch CUDA graph")
except PeerUnavailableError as e:
    print(e)
"""
    pytest.importorskip("torch")
    expected = (
        "peer 'PyTorch CUDA graph' cannot be used: it needs a CUDA device and found none; choose another peer"
    )
    assert run_python(code, CUDA_VISIBLE_DEVICES="") == expected


def test_missing_compiler_is_named():
    code = """
from xpnet_bench.peers import PeerUnavailableError, make_peer
from xpnet_bench.workload import Workload
peer = make_peer("PyTorch compiled")
try:
    peer.prepare(Workload(limit=50))
except PeerUnavailableError as e:
    print(e)
"""
    pytest.importorskip("torch")
    text = run_python(
        code, CXX="/no/such/compiler", CUDA_VISIBLE_DEVICES="", TORCHINDUCTOR_FORCE_DISABLE_CACHES="1"
    )
    assert text.startswith("peer 'PyTorch compiled' cannot be used: ")
    assert "compiler" in text.partition(";")[0].lower()
    assert text.endswith("; install the C++ compiler (on a GPU, the Triton) that `torch.compile` needs")


def test_unknown_peer_names_the_choices():
    with pytest.raises(
        ValueError, match="unknown peer 'Theano': choose one of PyTorch eager, PyTorch compiled"
    ):
        make_peer("Theano")
