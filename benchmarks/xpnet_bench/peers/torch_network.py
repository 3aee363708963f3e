"""The workload's network in PyTorch, shared by its eager, compiled and captured forms."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import conv2d, cross_entropy, max_pool2d

import xpnet
from xpnet_bench.workload import TEST_BATCH, Layer, Workload

Tensor = Any
Step = Callable[[Tensor], object]

# PyTorch's order of the axes of a convolution's weight, and ours.
_OIHW, _HWIO = (3, 2, 0, 1), (2, 3, 1, 0)


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
        self._logits = _lenet5 if workload.network == "cnn" else _logits
        self.start = [
            torch.from_numpy(_transposed(array, _OIHW)) for layer in workload.initial() for array in layer
        ]
        self.params = [p.to(self.device, copy=True).requires_grad_() for p in self.start]
        self.velocities = [torch.zeros_like(p, requires_grad=False) for p in self.params]

    def _put(self, data: xpnet.Dataset) -> tuple[Tensor, Tensor]:
        # Copied, because a data set is read-only and PyTorch warns about tensors on such memory.
        images = torch.tensor(data.images, device=self.device)
        return images, torch.tensor(data.labels, dtype=torch.int64, device=self.device)

    def loss(self, params: list[Tensor], indices: Tensor) -> Tensor:
        """Return the mean loss of the training images at `indices`."""
        images = self.images.index_select(0, indices)
        return cross_entropy(self._logits(params, images), self.labels.index_select(0, indices))

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
        batches = zip(*(data.split(TEST_BATCH) for data in self.test), strict=True)
        with torch.no_grad():
            right = [self._logits(self.params, x).argmax(1) == labels for x, labels in batches]
        return torch.cat(right).double().mean().item()

    def parameters(self) -> list[Layer]:
        """Return weight and bias of each layer as NumPy arrays."""
        arrays = [_transposed(p.detach().cpu().numpy(), _HWIO).copy() for p in self.params]
        return list(zip(arrays[::2], arrays[1::2], strict=True))


def _logits(params: list[Tensor], images: Tensor) -> Tensor:
    x = images.to(torch.float32) / 255
    for weight, bias in zip(params[:-2:2], params[1:-2:2], strict=True):
        x = torch.sigmoid(torch.addmm(bias, x, weight))
    return torch.addmm(params[-1], x, params[-2])


def _lenet5(params: list[Tensor], images: Tensor) -> Tensor:
    # Channels last takes the same time: 0.96 of the best and 0.99 of the median epoch of 9, on 2 cores of an
    # AMD EPYC.
    first, first_bias, second, second_bias, *others = params
    x = images.to(torch.float32).reshape(-1, 1, 28, 28) / 255
    x = max_pool2d(torch.relu(conv2d(x, first, first_bias, padding=2)), 2)
    x = max_pool2d(torch.relu(conv2d(x, second, second_bias)), 2)
    x = x.permute(0, 2, 3, 1).flatten(1)  # rows in our order: pixel by pixel
    for weight, bias in zip(others[:-2:2], others[1:-2:2], strict=True):
        x = torch.relu(torch.addmm(bias, x, weight))
    return torch.addmm(others[-1], x, others[-2])


def _transposed(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Return the weight of a convolution with its axes in this order; other arrays as they are."""
    return np.ascontiguousarray(array.transpose(axes)) if array.ndim == 4 else array
