"""How the backend `cupy` calls cuBLAS, and what threads share on one device, without a GPU."""

import concurrent.futures
import itertools
import threading
import time

import numpy
import pytest
from cuda_on_host import submit


@pytest.mark.parametrize("transposed", ["", "left", "right"])
def test_cublas_computes_the_product_of_matrices_stored_by_rows(transposed, package):
    """Reads the operands by columns, as BLAS does, with the sizes and leading dimensions of the call."""
    random = numpy.random.default_rng(0)
    left, right = random.normal(size=(3, 5)), random.normal(size=(5, 4))
    expected = left @ right
    left = left.T.copy() if transposed == "left" else left
    right = right.T.copy() if transposed == "right" else right
    call = package.blas.gemm(left.shape, right.shape, transposed)

    def operand(flat, transpose, rows, columns, step):
        stored = (columns, rows) if transpose else (rows, columns)
        matrix = numpy.asarray([[flat[i + j * step] for j in range(stored[1])] for i in range(stored[0])])
        return matrix.T if transpose else matrix

    a = operand(right.ravel(), call.trans_a, call.m, call.k, call.lda)
    b = operand(left.ravel(), call.trans_b, call.k, call.n, call.ldb)
    assert (call.m, call.n, call.ldc) == (4, 3, 4)
    numpy.testing.assert_allclose((a @ b).T, expected)


def test_calls_of_one_product_are_not_mixed_with_those_of_other_threads(package, monkeypatch):
    """Another thread would otherwise set its own stream between these calls."""
    asked = []

    def ask(name, *args):
        asked.append(threading.get_ident())
        time.sleep(0.001)  # lets other threads run

    monkeypatch.setattr(package.blas, "_ask", ask)
    monkeypatch.setattr(package.blas, "_handle", lambda device: None)
    x = package.cupy.asarray(numpy.eye(3))
    stream = package.cupy.cuda.Stream()
    stream.ptr = 7
    monkeypatch.setattr(package.cupy.cuda, "get_current_stream", lambda: stream)
    threads = [threading.Thread(target=package.blas.multiply, args=(x, x)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 16
    assert len(list(itertools.groupby(asked))) == 4


def test_streams_of_one_name_in_different_threads_have_separate_memory(package, monkeypatch):
    stream, cuda = package.cupy.cuda.Stream(), package.cupy.cuda
    monkeypatch.setattr(cuda, "get_current_stream", lambda: stream)
    for name, shared in ((7, True), (cuda.runtime.streamPerThread, False)):
        stream.ptr = name
        with concurrent.futures.ThreadPoolExecutor(1) as other:
            assert (other.submit(package.scratch.current).result() is package.scratch.current()) == shared


def test_captured_work_runs_once_and_is_then_launched_by_each_call(package):
    ran = []
    launch = package.capture.Captured(lambda: submit(lambda: ran.append(len(ran))))
    assert ran == [0]
    launch()
    launch()
    assert ran == [0, 1, 2]
