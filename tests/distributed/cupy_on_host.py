"""Train the backend `cupy` in a group, on this processor: see `cuda_on_host`, in whose place MPI is NCCL.

Takes the library of kernels and a folder, where each rank leaves what it found.
"""

import ctypes
import json
import pathlib
import sys

import numpy

sys.path += [str(pathlib.Path(__file__).parents[1] / name) for name in (".", "backends")]
import cuda_on_host

import xpnet

LAYERS = xpnet.Linear(11, 9), xpnet.Sigmoid(), xpnet.BatchNorm(9, sync=True), xpnet.Dropout(0.3)
MODEL = xpnet.Sequential(*LAYERS, xpnet.Linear(9, 3))
# Ranks take 2 and 3 rows of a batch of 5, and 2 rows each of the last one: rank 0 has one set of shapes.
OPTIONS = {"epochs": 4, "batch_size": 5, "dtype": "float64", "optimizer": xpnet.Adam(), "progress": False}


def data():
    images = numpy.random.default_rng(0).integers(0, 256, (14, 11)).astype(numpy.uint8)
    return xpnet.Dataset(images, numpy.arange(14) % 3)


def refuse(*args):
    raise RuntimeError("cudaErrorStreamCaptureUnsupported: no")


def main(library, folder):
    package = cuda_on_host.load()
    package.kernels._kernel = cuda_on_host.kernel_of(ctypes.CDLL(library))
    xp = cuda_on_host.namespace(package)
    reads_gpus, found = package.sums._mpi_reads_gpus, {}
    for way in ("nccl", "mpi", "host", "broken"):
        group = xpnet.distributed.mpi()
        found["mpi_reads_gpus"] = reads_gpus()
        nccl = cuda_on_host.NCCL(group=group, available=way in ("nccl", "broken"))
        package.sums._nccl = lambda nccl=nccl: nccl
        package.sums._communicators.clear()
        package.sums._mpi_reads_gpus = lambda way=way: way == "mpi"
        if (way, group.rank) == ("broken", 1):
            package.graphs.capture = refuse
        run = xpnet.fit(xp, MODEL, data(), distributed=group, **OPTIONS)
        numpy.savez(
            folder / f"{way}-{group.rank}.npz", **{k: numpy.asarray(p) for k, p in run.params.items()}
        )
        losses = [epoch.train_loss for epoch in run.history]
        found[way] = {"report": run.report, "calls": nccl.calls, "losses": losses}
        found[way]["waited"] = run.ranks[group.rank]["waited"]
    package.cupy.cuda.runtime.deviceGetPCIBusId = lambda device: "0000:01:00.0"
    try:
        xp.with_group(group)
    except xpnet.distributed.DistributedError as e:
        found["one GPU"] = str(e)
    (folder / f"{group.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
