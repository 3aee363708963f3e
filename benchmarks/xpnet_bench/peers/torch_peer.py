"""PyTorch, step by step, compiled, and as CUDA graphs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch._dynamo.exc import BackendCompilerFailed

from xpnet_bench.competitor import Kind
from xpnet_bench.peers.errors import NoEqualError, PeerUnavailableError, lacking
from xpnet_bench.peers.rules import updated
from xpnet_bench.peers.torch_network import Network, Step, Tensor, device
from xpnet_bench.updates import Update
from xpnet_bench.workload import Workload


def eager() -> TorchPeer:
    """Return autograd and an optimizer of `torch.optim`, one operation at a time."""
    return TorchPeer("PyTorch eager", _eager_step)


def compiled() -> TorchPeer:
    """Return the whole step, from gathering the batch to the update, as one compiled graph."""
    return TorchPeer("PyTorch compiled", _compiled_step)


def cuda_graph() -> TorchPeer:
    """Return the eager step, captured once for each batch size and replayed."""
    name = "PyTorch CUDA graph"
    if not torch.cuda.is_available():
        raise PeerUnavailableError(name, "it needs a CUDA device and found none", "choose another peer")
    return TorchPeer(name, _captured_step)


class TorchPeer:
    """PyTorch, with a function that makes a step for a network."""

    backend = "torch"
    kind: Kind = "peer"

    def __init__(self, name: str, make_step: Callable[[Network], Step]) -> None:
        self.name = name
        self.versions = {"torch": torch.__version__}
        self.device = torch.cuda.get_device_name() if device().type == "cuda" else "cpu"
        self._make_step = make_step

    def prepare(self, workload: Workload) -> None:
        """Load the data, make the parameters, compile or capture both batch sizes, and warm up."""
        with lacking(self.name):
            self._network = Network(workload)
            self._step = self._make_step(self._network)
        self._network.rehearse(self._step)

    def epoch(self, order: np.ndarray) -> None:
        """Train one epoch."""
        self._network.epoch(self._step, order)

    def outputs(self) -> np.ndarray:
        """Return the outputs for the test set."""
        return self._network.outputs()

    def parameters(self) -> dict[str, np.ndarray]:
        """Return parameters and state by xpnet's names."""
        return self._network.parameters()


def _eager_step(network: Network) -> Step:
    params = list(network.trained.values())
    optimizer = _optimizer(network.update, params, on_gpu=network.device.type == "cuda")
    network.states = lambda: (
        x for own in optimizer.state.values() for x in own.values() if torch.is_tensor(x)
    )

    def step(indices: Tensor) -> None:
        loss = network.loss(network.trained, indices)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _optimizer(rule: Update, params: list[Tensor], *, on_gpu: bool) -> Any:
    """Return the optimizer of PyTorch that follows a rule."""
    if rule.decay and rule.kind != "adam":
        raise NoEqualError("the weight decay of its optimizers but AdamW is added to the gradient")
    # On a GPU the fused update is one kernel; on a CPU its threads wait for each other.
    if rule.kind == "sgd":
        velocity: dict[str, Any] = {"momentum": rule.momentum, "nesterov": rule.nesterov}
        return torch.optim.SGD(params, lr=rule.lr, fused=on_gpu, **velocity)
    if rule.kind == "rmsprop":
        return torch.optim.RMSprop(params, lr=rule.lr, alpha=rule.alpha, eps=rule.eps, capturable=on_gpu)
    options: dict[str, Any] = {
        "lr": rule.lr,
        "betas": (rule.beta1, rule.beta2),
        "eps": rule.eps,
        "fused": on_gpu,
    }
    if not rule.decay:
        return torch.optim.Adam(params, capturable=on_gpu, **options)
    return torch.optim.AdamW(params, capturable=on_gpu, weight_decay=rule.decay / rule.lr, **options)


def _compiled_step(network: Network) -> Step:
    rule, trained = network.update, network.trained
    gradient = torch.func.grad(network.loss)
    states = {
        name: [torch.zeros_like(p, requires_grad=False) for _ in range(rule.states)]
        for name, p in trained.items()
    }
    number = torch.zeros((), device=network.device)
    network.states = lambda: (number, *(x for own in states.values() for x in own))

    # One graph; `backward` would split it into three.
    @torch.no_grad()
    def step(indices: Tensor) -> None:
        grads = gradient(trained, indices)
        if rule.kind == "adam":
            number.copy_(number + 1)
        for name, p in trained.items():
            # Not in place, as ``velocity.mul_(beta).add_(...)``: PyTorch 2.13 compiles that to wrong numbers
            # on a CPU (a weight is off by 1 after 16 steps).
            new, after = updated(torch, rule, p, grads[name], tuple(states[name]), number)
            for state, value in zip(states[name], after, strict=True):
                state.copy_(value)
            p.copy_(new)

    # Otherwise versions compiled for an earlier workload count against the limit of recompilations.
    torch.compiler.reset()
    fast_step = torch.compile(step, fullgraph=True, dynamic=False)
    try:
        with warnings.catch_warnings():
            # PyTorch's own compiler still imports what its `torch.jit` deprecates.
            warnings.filterwarnings("ignore", r"`torch\.jit", DeprecationWarning)
            network.rehearse(fast_step)  # compiles
    except BackendCompilerFailed as e:
        cause = " ".join(str(e.inner_exception).split())
        remedy = "install the C++ compiler (on a GPU, the Triton) that `torch.compile` needs"
        raise PeerUnavailableError("PyTorch compiled", cause, remedy) from e
    return fast_step


def _captured_step(network: Network) -> Step:
    step, n = _eager_step(network), len(network.images)
    size = min(network.batch_size, n)
    captures = {k: _capture(network, step, k) for k in {size, n % size or size}}

    def replay(indices: Tensor) -> None:
        graph, buffer = captures[len(indices)]
        buffer.copy_(indices)
        graph.replay()

    return replay


def _capture(network: Network, step: Step, size: int) -> tuple[Any, Tensor]:
    """Return the graph of a step with `size` images and the buffer from which it reads their indices."""
    buffer = torch.arange(size, dtype=torch.int32, device=network.device)
    # PyTorch requires a few steps on a side stream before a capture, so that nothing is initialised in it.
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(buffer)
    torch.cuda.current_stream().wait_stream(stream)
    for p in network.trained.values():
        p.grad = None  # so that the capture allocates gradients in its own pool
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(buffer)
    return graph, buffer
