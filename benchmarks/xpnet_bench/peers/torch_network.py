"""The workload's network in PyTorch, shared by its eager, compiled and captured forms."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import xpnet
from xpnet_bench.workload import Layer, Workload

Tensor = Any
Step = Callable[[Tensor], object]


def device() -> torch.device:
    """Return the device to train on: a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Network:
    """Data, parameters and velocities, all on the GPU if there is one.

    Parameters and velocities are written in place, so that a captured step always finds them.
    """

    def __init__(self, workload: Workload) -> None:
        if "OMP_NUM_THREADS" in os.environ:
            torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        self.workload = workload
        self.device = device()
        (self.images, self.labels), self.test = (self._put(data) for data in workload.data())
        self.start = [torch.from_numpy(array) for layer in workload.initial() for array in layer]
        self.params = [p.to(self.device, copy=True).requires_grad_() for p in self.start]
        self.velocities = [torch.zeros_like(p, requires_grad=False) for p in self.params]

    def _put(self, data: xpnet.Dataset) -> tuple[Tensor, Tensor]:
        # Copied, because a data set is read-only and PyTorch warns about tensors on such memory.
        images = torch.tensor(data.images, device=self.device)
        return images, torch.tensor(data.labels, dtype=torch.int64, device=self.device)

    def loss(self, params: list[Tensor], indices: Tensor) -> Tensor:
        """Return the mean loss of the training images at `indices`."""
        images = self.images.index_select(0, indices)
        return cross_entropy(_logits(params, images), self.labels.index_select(0, indices))

    def rehearse(self, step: Step) -> None:
        """Take one step with a full batch and one with the remainder, then reset."""
        indices = torch.arange(len(self.images), dtype=torch.int32, device=self.device)
        batches = indices.split(self.workload.batch_size)
        for batch in (batches[0], batches[-1]):
            step(batch)
        self.reset()

    def reset(self) -> None:
        """Reset to the initial parameters and to velocities of 0."""
        with torch.no_grad():
            for p, start, velocity in zip(self.params, self.start, self.velocities, strict=True):
                p.copy_(start)
                velocity.zero_()

    def epoch(self, step: Step, order: np.ndarray) -> None:
        """Take a step for each batch of the order and wait for the last one."""
        for indices in torch.from_numpy(order).to(self.device).split(self.workload.batch_size):
            step(indices)
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def accuracy(self) -> float:
        """Return the accuracy on the test images."""
        images, labels = self.test
        with torch.no_grad():
            return (_logits(self.params, images).argmax(1) == labels).double().mean().item()

    def parameters(self) -> list[Layer]:
        """Return weight and bias of each layer as NumPy arrays."""
        arrays = [p.detach().cpu().numpy().copy() for p in self.params]
        return list(zip(arrays[::2], arrays[1::2], strict=True))


def _logits(params: list[Tensor], images: Tensor) -> Tensor:
    x = images.to(torch.float32) / 255
    for weight, bias in zip(params[:-2:2], params[1:-2:2], strict=True):
        x = torch.sigmoid(torch.addmm(bias, x, weight))
    return torch.addmm(params[-1], x, params[-2])
