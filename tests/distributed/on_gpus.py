"""Train the backend `cupy` on GPUs, with a group and, on rank 0, without one; print what was found.

Takes the name of the backend, such as ``cupy:0``.
"""

import json
import sys

import numpy

import xpnet
from xpnet.distributed.trainer import DistributedTrainer

MODEL = xpnet.mlp(784, 64, 10, activation="sigmoid")
# The last batch has 44 rows.
OPTIONS = {"epochs": 2, "batch_size": 128, "dtype": "float64", "optimizer": xpnet.Adam(), "progress": False}


def main(name):
    group, found, close = xpnet.distributed.mpi(), {}, DistributedTrainer.close

    def noting(trainer):
        programs = trainer.compiled.programs
        found["tasks"] = [[task.name for task in program.tasks] for program in programs]
        found["captured"] = [program._graph is not None for program in programs]
        found["captures"] = [program.captures for program in programs]
        close(trainer)

    DistributedTrainer.close = noting
    xp, train = xpnet.backend(name), xpnet.datasets.mnist()[0][:1324]
    run = xpnet.fit(xp, MODEL, train, distributed=group, **OPTIONS)
    found |= {"report": run.report, "gpu": str(xp.device), "losses": [e.train_loss for e in run.history]}
    params = {key: numpy.asarray(xp.to_host(p)) for key, p in run.params.items()}
    found["same on all ranks"] = len({*group.gather(b"".join(p.tobytes() for p in params.values()))}) == 1
    if group.rank == 0:
        alone = xpnet.fit(xp, MODEL, train, **OPTIONS)
        pairs = [(params[key], xp.to_host(p)) for key, p in alone.params.items()]
        found["off by"] = max(float(numpy.max(numpy.abs(p - q) / (1e-3 + numpy.abs(q)))) for p, q in pairs)
        found["losses off by"] = max(
            abs(loss / epoch.train_loss - 1)
            for loss, epoch in zip(found["losses"], alone.history, strict=True)
        )
        print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
