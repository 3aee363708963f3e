"""The benchmark's peers, compared with xpnet on NumPy over the same batches."""

import dataclasses
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from racing import NAMES, PARAMETERS_ATOL, assert_same_parameters, assert_trains_as_xpnet, prepared, trained

import xpnet
from xpnet_bench.peers import PEERS, PeerUnavailableError, make_peer
from xpnet_bench.workload import WORKLOADS, Workload

# 15 full batches and one of 80.
WORKLOAD = Workload(optimizer=xpnet.Momentum(1.0), limit=2000)
DEEP = Workload(xpnet.mlp(784, 30, 20, 10), xpnet.Momentum(1.0), limit=500)
FEW = Workload(optimizer=xpnet.Momentum(1.0), limit=50)
# 3 full batches and one of 116. Not more: a rounding error may decide which pixel of a window is the largest.
CNN = dataclasses.replace(WORKLOADS["cnn"], limit=500)
WITHOUT_CONVOLUTION = "scikit-learn", "course float64"


def run_python(code, **environment):
    command = [sys.executable, "-W", "ignore", "-c", code]
    path = os.pathsep.join(p for p in sys.path if p)
    environment = os.environ | {"PYTHONPATH": path} | environment
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def test_peers_are_those_of_the_report():
    assert list(PEERS) == NAMES


def test_initial_parameters_and_orders_are_those_of_fit(numpy_xp):
    params = xpnet.mlp(784, 64, 10).init(numpy_xp, WORKLOAD.seed)
    assert_same_parameters(WORKLOAD.start().params, params, atol=0)
    first, second = itertools.islice(WORKLOAD.orders(2000), 2)
    assert first.dtype == np.int32
    assert not np.array_equal(first, second)
    assert np.array_equal(first, xpnet.Stream(WORKLOAD.seed, "shuffle").permutation(2000))


@pytest.mark.parametrize("name", NAMES)
def test_peer_trains_as_xpnet_does(name, numpy_xp):
    peer = prepared(name, WORKLOAD)
    assert (peer.name, peer.kind) == (name, "peer")
    assert all(peer.versions.values())
    assert_same_parameters(peer.parameters(), WORKLOAD.start().params, atol=0)
    orders, test = WORKLOAD.orders(2000), WORKLOAD.data()[1]
    for epochs in (1, 2):
        peer.epoch(next(orders))
        params, _, accuracy = trained(WORKLOAD, epochs, numpy_xp)
        assert_same_parameters(peer.parameters(), params, PARAMETERS_ATOL)
        assert abs(WORKLOAD.score(peer.outputs(), test)[1] - accuracy) < 0.01


@pytest.mark.parametrize("workload", [DEEP, FEW], ids=["two hidden layers", "less than one batch"])
@pytest.mark.parametrize("name", NAMES)
def test_peer_takes_other_workloads(name, workload, numpy_xp):
    assert_trains_as_xpnet(prepared(name, workload), workload, numpy_xp)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_CONVOLUTION])
def test_peer_trains_convolutions_as_xpnet_does(name, numpy_xp):
    peer = prepared(name, CNN)
    assert_same_parameters(peer.parameters(), CNN.start().params, atol=0)
    assert_trains_as_xpnet(peer, CNN, numpy_xp)


@pytest.mark.parametrize("name", WITHOUT_CONVOLUTION)
def test_peer_without_convolutions_says_so(name):
    peer = prepared(name, WORKLOAD)
    with pytest.raises(PeerUnavailableError, match="it has no convolution; it is left out"):
        peer.prepare(CNN)


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
