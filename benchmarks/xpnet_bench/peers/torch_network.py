"""The workload's network in PyTorch, shared by its eager, compiled and captured forms."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from xpnet_bench.peers.torch_layers import LOSSES, TABLE
from xpnet_bench.peers.translation import translated
from xpnet_bench.workload import TEST_BATCH, Part, Workload

Tensor = Any
Step = Callable[[Tensor], object]

# PyTorch's order of the axes of a convolution's weight, and ours; and those of images.
_OIHW, _HWIO = (3, 2, 0, 1), (2, 3, 1, 0)
_NCHW = 0, 3, 1, 2


def device() -> torch.device:
    """Return the device to train on: a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Network:
    """Data, parameters and the optimizer's state, all on the GPU if there is one.

    Parameters and state are written in place, so that a captured step always finds them.

    Attributes
    ----------
    trained : dict of str to tensor
        The parameters, by xpnet's names.
    state : dict of str to tensor
        The state of layers, such as running means.
    states : function that returns the tensors of the optimizer's state; set by who makes the step
    """

    def __init__(self, workload: Workload) -> None:
        if "OMP_NUM_THREADS" in os.environ:
            torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        start = workload.start()
        self.batch_size, self.update, self.device = workload.batch_size, start.update, device()
        self.call = translated(TABLE, start.trunk, start.train.inputs.shape[1:])
        self._loss: Any = LOSSES[workload.loss]
        self.images, self.targets = self._put(start.train)
        self._test = self._put(start.test)[0]
        self._start = {
            name: torch.from_numpy(_transposed(array, _OIHW)) for name, array in start.params.items()
        }
        made = {name: p.to(self.device, copy=True) for name, p in self._start.items()}
        self.trained = {name: made[name].requires_grad_() for name in start.trained}
        self.state = {name: p for name, p in made.items() if name not in self.trained}
        self.states: Callable[[], Iterable[Tensor]] = lambda: ()

    def _put(self, part: Part) -> tuple[Tensor, Tensor]:
        inputs = part.inputs.transpose(_NCHW) if part.inputs.ndim == 4 else part.inputs
        # Copied, because a data set is read-only and PyTorch warns about tensors on such memory.
        images = torch.tensor(np.ascontiguousarray(inputs), device=self.device)
        dtype = torch.int64 if part.targets.ndim == 1 else torch.float32
        return images, torch.tensor(part.targets, dtype=dtype, device=self.device)

    def loss(self, trained: dict[str, Tensor], indices: Tensor) -> Tensor:
        """Return the mean loss of the training examples at `indices`."""
        images = self.images.index_select(0, indices)
        outputs = self._outputs(trained, images, training=True)
        return self._loss(outputs, self.targets.index_select(0, indices))

    def _outputs(self, trained: dict[str, Tensor], images: Tensor, *, training: bool) -> Tensor:
        x = images.to(torch.float32) / 255 if images.dtype == torch.uint8 else images
        return self.call({**trained, **self.state}, x, training)

    def rehearse(self, step: Step) -> None:
        """Take one step with a full batch and one with the remainder, then reset."""
        indices = torch.arange(len(self.images), dtype=torch.int32, device=self.device)
        batches = indices.split(self.batch_size)
        for batch in (batches[0], batches[-1]):
            step(batch)
        self.reset()

    def reset(self) -> None:
        """Reset to the initial parameters and to an optimizer before its first step."""
        with torch.no_grad():
            for name, p in {**self.trained, **self.state}.items():
                p.copy_(self._start[name])
            for state in self.states():
                state.zero_()

    def epoch(self, step: Step, order: np.ndarray) -> None:
        """Take a step for each batch of the order and wait for the last one."""
        for indices in torch.from_numpy(order).to(self.device).split(self.batch_size):
            step(indices)
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def outputs(self) -> np.ndarray:
        """Return the outputs for the test set."""
        with torch.no_grad():
            parts = self._test.split(TEST_BATCH)
            found = [self._outputs(self.trained, x, training=False).cpu() for x in parts]
        return np.asarray(torch.cat(found).numpy())

    def parameters(self) -> dict[str, np.ndarray]:
        """Return parameters and state by xpnet's names, in xpnet's order of axes."""
        arrays = {name: p.detach().cpu().numpy() for name, p in {**self.trained, **self.state}.items()}
        return {name: _transposed(array, _HWIO).copy() for name, array in arrays.items()}


def _transposed(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Return the weight of a convolution with its axes in this order; other arrays as they are."""
    return np.ascontiguousarray(array.transpose(axes)) if array.ndim == 4 else array
