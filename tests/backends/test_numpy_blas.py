import subprocess
import sys

import pytest
import threadpoolctl

from xpnet_numpy import blas

AVX512 = ["fma", "avx2", "avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl"]


def library(api, path="/x/libblas.so", **more):
    return {"user_api": "blas", "internal_api": api, "filepath": path, "num_threads": 2, **more}


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            library("openblas", version="0.3.31", architecture="SkylakeX"),
            "BLAS: OpenBLAS 0.3.31, SkylakeX kernels, 2 threads",
        ),
        (
            library("mkl", version="2025.1-Product", threading_layer="gnu"),
            "BLAS: MKL 2025.1-Product, 2 threads",
        ),
        (
            library("blis", version="2.0", architecture="zen3", num_threads=1),
            "BLAS: BLIS 2.0, zen3 kernels, 1 thread",
        ),
        (library("new", version=None, num_threads=None), "BLAS: new"),
    ],
)
def test_library_is_described_in_a_line(found, line):
    assert blas.describe(found) == line


@pytest.mark.parametrize("architecture", ["Haswell", "Zen", "haswell"])
def test_kernels_short_of_avx512_earn_advice(architecture):
    advice = blas.kernel_advice(architecture, AVX512)
    assert f"OpenBLAS uses its {architecture} kernels" in advice
    assert "OPENBLAS_CORETYPE=SkylakeX" in advice


@pytest.mark.parametrize(
    ("architecture", "flags"),
    [("SkylakeX", AVX512), ("Haswell", AVX512[:-1]), ("Haswell", []), ("Cooperlake", AVX512), (None, AVX512)],
)
def test_other_kernels_and_processors_get_no_advice(architecture, flags):
    assert blas.kernel_advice(architecture, flags) is None


def test_flags_are_read_from_cpuinfo(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nflags\t\t: fpu avx2\nbugs\t: none\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert blas.processor_flags(str(path)) == {"fpu", "avx2"}
    path.write_text("Processor : of another kind\n")
    assert blas.processor_flags(str(path)) == frozenset()
    assert blas.processor_flags(str(tmp_path / "missing")) == frozenset()


def test_library_of_numpy_is_chosen_among_several():
    torch = library("mkl", "/site-packages/torch/lib/libmkl.so")
    own = library("openblas", "/site-packages/numpy.libs/libscipy_openblas.so")
    openmp = {**library("openmp", "/numpy.libs/libgomp.so"), "user_api": "openmp"}
    assert blas.choose([openmp, torch, own]) == own
    assert blas.choose([openmp, torch]) == torch
    assert blas.choose([openmp]) is None


def test_advice_follows_the_kernels(monkeypatch):
    found = library("openblas", version="0.3.31", architecture="Haswell")
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: [found])
    monkeypatch.setattr(blas, "processor_flags", lambda: frozenset(AVX512))
    first, second = blas.blas_advice()
    assert first == "BLAS: OpenBLAS 0.3.31, Haswell kernels, 2 threads"
    assert second == blas.kernel_advice("Haswell", AVX512)


def test_library_that_threadpoolctl_does_not_know_is_named(monkeypatch):
    config = {"Build Dependencies": {"blas": {"name": "accelerate"}}}
    monkeypatch.setattr(threadpoolctl, "threadpool_info", list)
    monkeypatch.setattr(blas.numpy, "show_config", lambda mode: config)
    assert blas.blas_advice() == ["BLAS: Accelerate, whose kernels and threads threadpoolctl cannot report"]


def test_import_leaves_threadpoolctl_alone():
    code = "import sys, xpnet_numpy.blas; print('threadpoolctl' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
