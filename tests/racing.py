"""The benchmark's peers, prepared and compared with xpnet on NumPy."""

import numpy as np
import pytest

import xpnet
from xpnet_bench.peers import PeerUnavailableError, make_peer

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
        peer = make_peer(name)
        peer.prepare(workload)
    except PeerUnavailableError as e:
        pytest.skip(str(e))
    return peer


def trained(workload, epochs, numpy_xp):
    """Return the parameters, the test loss and the test accuracy of xpnet on NumPy."""
    train, test = workload.data()
    run = xpnet.fit(
        numpy_xp,
        workload.model,
        train,
        test=test,
        loss=workload.loss,
        optimizer=workload.optimizer,
        epochs=epochs,
        batch_size=workload.batch_size,
        seed=workload.seed,
    )
    return run.params, run.history[-1].test_loss, run.history[-1].test_accuracy


def assert_same_parameters(found, expected, atol):
    assert set(found) == set(expected)
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=atol, err_msg=name)


def assert_trains_as_xpnet(peer, workload, numpy_xp, atol=PARAMETERS_ATOL):
    train, test = workload.data()
    peer.epoch(next(workload.orders(len(train))))
    params, loss, accuracy = trained(workload, 1, numpy_xp)
    assert_same_parameters(peer.parameters(), params, atol)
    own_loss, own_accuracy = workload.score(peer.outputs(), test)
    assert own_loss == pytest.approx(loss, rel=1e-3)
    assert own_accuracy == (None if accuracy is None else pytest.approx(accuracy, abs=0.01))
