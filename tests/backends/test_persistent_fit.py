"""Which steps one kernel does for a whole scan, and on how many blocks and threads; no device is needed."""

import dataclasses
import functools

import cuda_on_host
import numpy
import pytest
import steps

import xpnet
from xpnet.batches import Scaling
from xpnet.replay.tracing import trace

package = cuda_on_host.load()
fit = package.fit
H200 = fit.Facts(132, 232_448, is_cooperative=True)


@functools.cache
def traced(sizes, batch, *, offset=0.0, before=()):
    """Return the trace of a step of `fit`, whose images are 80 % zeros."""
    data = xpnet.Dataset(steps.make_images("sparse", (batch, sizes[0])), numpy.arange(batch) % sizes[-1])
    options = {"batch_size": batch, "dtype": "float32", "scaling": Scaling(1 / 255, offset)}
    model = xpnet.Sequential(*before, xpnet.mlp(*sizes))
    trainer, _ = steps.make_trainer(steps.PLAIN, model, data, **options)
    carry = trainer.params, trainer._state, numpy.zeros((), numpy.float32), None
    rows, constants = trainer._rehearsed(batch, 1)
    return trace(steps.PLAIN, trainer._step, (*carry, rows[0], *constants), {})[1]


def plan(sizes, batch):
    return package.plan.plan_of(traced(sizes, batch))


def graph(sizes, batch):
    return fit.graph_microseconds(traced(sizes, batch))


def choice(sizes, batch, device=H200, *, kept=1.0):
    """Return the choice if a block reads this share of the weights of the first layer."""
    skipped = int((1 - kept) * sizes[0] * sizes[1] * 4 * batch)
    return fit.choice(plan(sizes, batch), device, graph(sizes, batch), skipped=skipped)


@pytest.mark.parametrize("kept", [0.19, 1.0])
@pytest.mark.parametrize("batch", [32, 128])
def test_small_steps_are_one_kernel_of_a_block_on_each_multiprocessor(batch, kept):
    found = choice((784, 64, 10), batch, kept=kept)
    assert found.size == (132, 512, plan((784, 64, 10), batch).shared(512))
    assert found.note == ""
    assert "us by the kernel" in found.reason


def test_large_steps_are_a_graph_without_a_fault():
    found = choice((784, 1024, 1024, 10), 256, kept=0.19)
    assert found.size is None
    assert found.note == ""
    assert "us by the graph" in found.reason


def test_predicted_time_of_the_measured_step_is_near_the_measured_one():
    found, skipped = plan((784, 64, 10), 128), int(0.81 * 784 * 64 * 4 * 128)
    whole, half = (fit.kernel_microseconds(found, blocks, skipped=skipped) for blocks in (132, 64))
    assert whole == pytest.approx(6.3, rel=0.2)
    assert half > whole


def test_predicted_times_of_graphs_are_below_the_measured_ones_and_in_their_order():
    # us; below them, so that the graph is chosen too often, not too rarely.
    measured = {((784, 64, 10), 128): 32.7, ((784, 64, 10), 32): 29.3, ((784, 1024, 1024, 10), 256): 208}
    for (sizes, batch), us in measured.items():
        assert 0.4 * us < graph(sizes, batch) < us


@pytest.mark.parametrize("threads", [512, 256, 128])
def test_block_has_as_many_threads_as_its_shared_memory_allows(threads):
    needed = plan((784, 64, 10), 128).shared(threads)
    exact = dataclasses.replace(H200, shared=needed)
    assert choice((784, 64, 10), 128, exact).size == (132, threads, needed)
    if threads > 128:
        assert choice((784, 64, 10), 128, dataclasses.replace(H200, shared=needed - 1)).size.threads < threads


def test_step_whose_blocks_need_more_shared_memory_than_there_is_becomes_a_graph_without_a_fault():
    needed = plan((784, 64, 10), 128).shared(128)
    found = choice((784, 64, 10), 128, dataclasses.replace(H200, shared=needed - 1))
    assert found.size is None
    assert found.note == ""
    assert found.reason == f"a block needs {needed} bytes of shared memory, and can have {needed - 1}"


def test_weights_of_pixels_that_are_0_are_not_read_unless_a_scaling_moves_0():
    shaped = xpnet.Unflatten(28, 28, 1), xpnet.Flatten()
    for offset, before, least, most in ((0.0, (), 0.75, 0.85), (0.0, shaped, 0.75, 0.85), (-0.5, (), 0, 0)):
        found = traced((784, 64, 10), 128, offset=offset, before=before)
        share = package.programs._skipped(found, package.plan.plan_of(found)) / (784 * 64 * 4 * 128)
        assert least <= share <= most


def test_device_without_cooperative_launch_is_a_fault_that_is_reported():
    found = choice((784, 64, 10), 128, dataclasses.replace(H200, is_cooperative=False))
    assert found.size is None
    assert found.note == (
        "each step is a CUDA graph, because a whole scan cannot be one kernel: "
        "the device cannot launch kernels cooperatively"
    )


@pytest.mark.parametrize("multiprocessors", [1, 8, 20])
def test_device_with_too_few_multiprocessors_is_a_fault_that_names_how_many_are_needed(multiprocessors):
    found = choice((784, 64, 10), 128, dataclasses.replace(H200, multiprocessors=multiprocessors), kept=0.19)
    assert found.size is None
    assert f"the device has {multiprocessors} multiprocessors, and the kernel needs " in found.note


def test_step_that_no_device_does_faster_by_the_kernel_is_no_fault_of_a_small_one():
    small = fit.Facts(8, 49_152, is_cooperative=False)
    assert choice((784, 1024, 1024, 10), 256, small).note == ""


def test_device_with_as_many_multiprocessors_as_are_needed_has_the_kernel():
    few = choice((784, 64, 10), 128, dataclasses.replace(H200, multiprocessors=1), kept=0.19)
    needed = int(few.reason.rpartition(" ")[-1])
    exact = dataclasses.replace(H200, multiprocessors=needed)
    assert choice((784, 64, 10), 128, exact, kept=0.19).size.blocks == needed
    fewer = dataclasses.replace(H200, multiprocessors=needed - 1)
    assert choice((784, 64, 10), 128, fewer, kept=0.19).note
