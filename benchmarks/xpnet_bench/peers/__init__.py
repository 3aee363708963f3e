"""Programs in other libraries that xpnet is compared with; a library is loaded when its peer is made."""

from __future__ import annotations

import importlib

from xpnet_bench.competitor import Competitor
from xpnet_bench.peers.errors import PeerUnavailableError

__all__ = ["PEERS", "PeerUnavailableError", "make_peer"]

PEERS = {
    "PyTorch eager": "torch_peer:eager",
    "PyTorch compiled": "torch_peer:compiled",
    "PyTorch CUDA graph": "torch_peer:cuda_graph",
    "JAX scan": "jax_peer:JaxScan",
    "Keras on JAX": "keras_peer:KerasOnJax",
    "scikit-learn": "sklearn_peer:ScikitLearn",
    "course float64": "course:Course",
}


def make_peer(name: str) -> Competitor:
    """Return the peer of this name, not yet prepared.

    Raises
    ------
    ValueError
        If no peer has this name.
    PeerUnavailableError
        If its library, or a device that it needs, is missing.
    """
    if name not in PEERS:
        raise ValueError(f"unknown peer {name!r}: choose one of {', '.join(PEERS)}")
    module, _, maker = PEERS[name].partition(":")
    try:
        made = importlib.import_module(f"xpnet_bench.peers.{module}")
    except ImportError as e:
        raise PeerUnavailableError(name, str(e), "install it with `pip install 'xpnet[bench]'`") from e
    peer: Competitor = getattr(made, maker)()
    return peer
