"""The exponential and the logarithm that the kernels of the backend `numba` bring along."""

import numpy
import pytest

numba = pytest.importorskip("numba", reason="numba is not installed")

from xpnet_numba.kernels.compiled import part  # noqa: E402
from xpnet_numba.kernels.exp import exp, log1p  # noqa: E402

EXP_ULP, LOG1P_ULP = 1.0, 2.0
DTYPES = [numpy.float32, numpy.float64]


@part
def _exp_of_each(x, out):
    for i in range(x.size):
        out[i] = exp(x[i])


@part
def _log1p_of_each(x, out):
    for i in range(x.size):
        out[i] = log1p(x[i])


def worst_ulp(function, exact, x):
    got = numpy.empty_like(x)
    function(x, got)
    want = exact(x.astype(numpy.longdouble))
    return float(numpy.max(abs(got - want) / numpy.spacing(want.astype(x.dtype))))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_is_within_an_ulp(dtype):
    info = numpy.finfo(dtype)
    low, high = numpy.log(info.smallest_normal) * 0.99999, numpy.log(info.max) * 0.99999
    x = numpy.concatenate([numpy.linspace(a, b, 400_001, dtype=dtype) for a, b in ((low, high), (-2, 2))])
    assert worst_ulp(_exp_of_each, numpy.exp, x) <= EXP_ULP


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_saturates_and_keeps_nan(dtype):
    x = numpy.asarray([-numpy.inf, -1e30, -1e4, -0.0, 0.0, 1e4, 1e30, numpy.inf, numpy.nan], dtype=dtype)
    got = numpy.empty_like(x)
    _exp_of_each(x, got)
    numpy.testing.assert_array_equal(got, [0, 0, 0, 1, 1] + 3 * [numpy.inf] + [numpy.nan])


@pytest.mark.parametrize("dtype", DTYPES)
def test_log1p_is_within_two_ulp_on_the_unit_interval(dtype):
    x = numpy.concatenate([numpy.linspace(0, 1, 400_001), numpy.logspace(-30, 0, 10_001)]).astype(dtype)
    assert worst_ulp(_log1p_of_each, numpy.log1p, x) <= LOG1P_ULP
