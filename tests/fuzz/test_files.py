"""Randomly damaged files are read correctly, or refused in one short line as documented."""

import gzip
import itertools
import json
import os
import shutil
import struct

import numpy
import pytest
import safetensors.numpy
from fuzzing import altered, bounded_memory, damaged
from parts_of_ones_own import Scaled, Twice

import xpnet
from xpnet import checkpoint, datasets
from xpnet.datasets.idx import read_idx
from xpnet_bench import results

NAMES = [f"{stem}-{kind}-ubyte" for stem in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def idx_bytes(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def packed(rng, content):
    return gzip.compress(content, rng.choice([0, 1, 9])) if rng.random() < 0.5 else content


def test_idx_reader_survives_damage(fuzzer, tmp_path):
    fuzz = fuzzer("IDX reader")
    rng, path = fuzz.rng, tmp_path / "file"
    with bounded_memory():
        for _ in fuzz.turns():
            ndim = rng.choice([1, 3])
            shape = [rng.choice([0, 1, 2, 3, 28]) for _ in range(rng.choice([ndim, ndim, ndim, 2, 4]))]
            content = idx_bytes(numpy.arange(numpy.prod(shape)).astype(numpy.uint8).reshape(shape))
            if rng.random() < 0.5:
                content = damaged(rng, content)
            data = packed(rng, content)
            if rng.random() < 0.3:
                data = damaged(rng, data)
            path.write_bytes(data)
            options = {"ndim": ndim, "max_bytes": rng.choice([None, None, None, 1, 1000, 10**30])}
            with fuzz.trying(ValueError, note=data[:200]):
                array = read_idx(path, **options)
                unpacked = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
                assert idx_bytes(array) == unpacked


def test_folder_reader_survives_damage(fuzzer, tmp_path):
    fuzz = fuzzer("folder reader")
    rng = fuzz.rng
    with bounded_memory():
        for _ in fuzz.turns():
            folder = tmp_path / "folder"
            folder.mkdir()
            for name in NAMES:
                shape = (3, 2, 2) if "images" in name else (3,)
                array = numpy.array([rng.randrange(256) for _ in range(numpy.prod(shape))], numpy.uint8)
                content = packed(rng, idx_bytes(array.reshape(shape)))
                (folder / name).write_bytes(damaged(rng, content) if rng.random() < 0.1 else content)
            for _ in range(rng.choice([0, 1, 1, 3])):
                disturb(rng, folder)
            with fuzz.trying(ValueError, FileNotFoundError, NotADirectoryError, OSError):
                train, test = datasets.idx_folder(rng.choice([folder, folder, str(folder), bytes(folder)]))
                assert len(train.images) == len(train.labels)
                assert train.images.shape[1] == test.images.shape[1]
            shutil.rmtree(folder) if folder.is_dir() and not folder.is_symlink() else folder.unlink()


def disturb(rng, folder):
    """Replace a file of a folder by something else, or add something."""
    path = folder / rng.choice([*NAMES, *(f"{name}.gz" for name in NAMES), "x" * 250, "a\nb\x1b"])
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    elif os.path.lexists(path):
        path.unlink()
    match rng.randrange(6):
        case 0:
            path.mkdir()
        case 1:
            os.mkfifo(path)
        case 2:
            path.symlink_to(path.name)
        case 3:
            path.symlink_to(rng.choice(["/dev/zero", "/dev/null", "/proc/self/mem", "gone", "."]))
        case 4:
            path.write_bytes(rng.randbytes(rng.randrange(40)))


def test_model_loader_survives_damage(fuzzer, tmp_path, numpy_xp):
    fuzz = fuzzer("model loader")
    rng, path, again = fuzz.rng, tmp_path / "model", tmp_path / "again"
    whole = saved_model(numpy_xp, path)
    metadata = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]
    loaded = safetensors.numpy.load(whole)
    arrays = {name: loaded[name] for name in xpnet.load(path, numpy_xp).params}  # in the order of the digest
    with bounded_memory():
        for _ in fuzz.turns():
            path.write_bytes(damaged(rng, whole) if rng.random() < 0.4 else sealed(rng, metadata, arrays))
            with fuzz.trying(ValueError, note=path):
                run = xpnet.load(path, numpy_xp)
                run.save(again)
                assert xpnet.load(again, numpy_xp).model == run.model


def saved_model(xp, path):
    inner = xpnet.Sequential(xpnet.ReLU(), Twice(Scaled(2, 0.5, ("a", (1, None)))), xpnet.Linear(2, 2))
    model = xpnet.Sequential(xpnet.Linear(3, 2), inner)
    history = [xpnet.Epoch(1, 0.5, None, None, 0.1), xpnet.Epoch(2, 0.5, 0.4, 0.9, 0.1)]
    inputs = xpnet.inputs.Inputs("uint8", 0.0, 1.0, 30, "mnist")
    params = model.init(xp, 0)
    scaling = xpnet.batches.Scaling()
    run = xpnet.Run(xp, model, params, "squared_error", scaling, "ab", history, inputs=inputs)
    run.save(path)
    return path.read_bytes()


def sealed(rng, metadata, arrays):
    """Return a file with altered descriptions and arrays and a correct digest."""
    metadata, arrays = dict(metadata), dict(arrays)
    for key in ("model", "about"):
        if rng.random() < 0.6:
            metadata[key] = json.dumps(altered(rng, json.loads(metadata[key])))
    if rng.random() < 0.3:
        dtype = rng.choice(["f2", "f4", "f8", "i8", "u1", "?"])
        name = rng.choice([*arrays, "x", "0.weight" * 1000])
        arrays[name] = numpy.zeros(rng.choice([(), (0,), (2,), (3, 2), (2, 2), (1,) * 64]), dtype)
    elif rng.random() < 0.2:
        arrays = {name: x.astype("f8") for name, x in arrays.items()}
    metadata["sha256"] = checkpoint._seal(metadata, arrays) if rng.random() < 0.9 else ""
    return safetensors.numpy.save(arrays, metadata)


def test_results_reader_survives_damage(fuzzer, tmp_path):
    fuzz = fuzzer("results files")
    rng, path = fuzz.rng, tmp_path / "results.json"
    found = whole_results()
    with bounded_memory():
        for _ in fuzz.turns():
            text = json.dumps(altered(rng, found) if rng.random() < 0.8 else found)
            data = text.encode("utf-8", "surrogatepass")
            path.write_bytes(damaged(rng, data) if rng.random() < 0.2 else data)
            with fuzz.trying(ValueError, note=path):
                read = results.read(path)
                assert results.table(read)
                assert results.listing(read)


def whole_results():
    """Return valid results."""
    figures = {
        "name": "xpnet numpy", "backend": "numpy", "kind": "xpnet", "device": "cpu", "versions": {"a": "2"},
        "seconds": [0.1, 0.2], "median": 0.15, "ratios": [1.0, 1.0], "ratio_to_first": 1.0, "accuracy": 0.9,
        "examples_per_second": 1e5, "prepare_seconds": 0.0, "peak_rss_bytes": 2, "imported_rss_bytes": 1,
        "device_bytes": None, "share_of_limit": None,
    }  # fmt: skip
    return {
        "schema_version": 1,
        "date": "2026-01-02T03:04:05+00:00",
        "machine": {"system": "Linux", "processor": "abacus", "cores": 2, "threads": 2, "blas": "beads"},
        "versions": {"xpnet": "0"},
        "workload": {"sizes": [784, 10], "batch_size": 8, "lr": 1.0, "limit": None, "dtype": "float32"},
        "results": [figures, {**figures, "name": "xpnet numba"}],
        "skipped": [],
    }


def test_damage_is_found_by_the_fuzzers_themselves(fuzzer):
    fuzz = fuzzer("IDX reader")
    with pytest.raises(KeyError), fuzz.trying(ValueError):
        raise KeyError("x")
    with pytest.raises(AssertionError), fuzz.trying(ValueError):
        raise ValueError("x" * 301)
    with pytest.raises(AssertionError), fuzz.trying(OSError):
        raise PermissionError("x")
    assert len(list(itertools.islice(fuzz.turns(), 20))) == 20
