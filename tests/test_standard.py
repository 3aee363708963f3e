"""The functions of the array API on NumPy's backends, compared with the strict checker."""

import ast
import importlib
import inspect
import subprocess
import sys

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.array_api import make_strategies_namespace

import xpnet

CALLS = """
abs(z) acos(y) acosh(abs(x)+1) add(x,y) asin(y) asinh(x) atan(x) atan2(x,y) atanh(y) ceil(x) conj(z)
copysign(x,y) cos(z) cosh(x) divide(x,y) equal(x,y) exp(z) expm1(x) floor(x) floor_divide(x,y) greater(x,y)
greater_equal(x,y) hypot(x,y) imag(z) isfinite(x) isinf(x) isnan(x) less(x,y) less_equal(x,y) log(z)
log1p(y) log2(abs(x)) log10(abs(x)) logaddexp(x,y) logical_and(b,b) logical_not(b) logical_or(b,b)
logical_xor(b,b) maximum(x,y) minimum(x,2.0) multiply(2,x) negative(i) nextafter(x,y) not_equal(x,y)
positive(x) pow(x,2) real(z) reciprocal(x) remainder(x,y) round(x) sign(z) signbit(x) sin(x) sinh(x)
square(i) sqrt(abs(x)) subtract(x,y) tan(x) tanh(z) trunc(x)
bitwise_and(i,i) bitwise_invert(i) bitwise_left_shift(i,2) bitwise_or(i,1) bitwise_right_shift(i,i)
bitwise_xor(i,i)
clip(x) clip(x,0.0,1.0) clip(x,min=0) clip(x,max=1.0) clip(x,min=wide,max=3.0) clip(small,min=column,max=4)
clip(small,min=-1000) clip(small,1,1000) clip(small,max=wide_int)
arange(3) arange(1,7,2,dtype=float32,device=None) asarray([1,2],dtype=int8,device=None,copy=True)
asarray(x,copy=False) empty((2,0),dtype=int8,device=None) empty_like(x[:0,...],dtype=int8,device=None)
eye(2,3,k=1,dtype=int8,device=None) from_dlpack(x) full((2,),3,dtype=int8,device=None)
full_like(x,3,dtype=int8,device=None) linspace(0,1,5,dtype=float32,device=None,endpoint=False)
meshgrid(x[0,...],y[0,...],indexing='ij') ones(3,dtype=int8,device=None) ones_like(x,dtype=int8,device=None)
tril(x,k=1) triu(x,k=-1) zeros(3,dtype=int8,device=None) zeros_like(x,dtype=int8,device=None)
astype(x,int32,copy=False,device=None) broadcast_arrays(x,y[0,...]) broadcast_to(x[0,...],(4,3))
can_cast(int8,int16) isdtype(int8,('integral','bool')) isdtype(x.dtype,'numeric')
result_type(int8,int16) result_type(x,wide.dtype)
finfo(float32).bits finfo(float32).eps finfo(x).max finfo(x.dtype).min finfo(z).smallest_normal
finfo(float64).eps finfo(complex64).dtype finfo(wide).dtype finfo(x[0,0]).dtype
iinfo(int8).bits iinfo(i).max iinfo(i.dtype).min iinfo(small).dtype
take(x,rows,axis=1) take_along_axis(x,column) take_along_axis(x,column,axis=1)
matmul(x,matrix_transpose(y)) tensordot(x,y,axes=2) vecdot(x,y,axis=-1)
concat([x,y],axis=1) concat([x,y],axis=None) expand_dims(x,axis=0) flip(x,axis=(0,1)) moveaxis(x,0,1)
permute_dims(x,(1,0)) repeat(x,2,axis=1) reshape(x,(3,2),copy=True) roll(x,1,axis=0) squeeze(x[:1,...],0)
stack([x,y],axis=-1) tile(x,(2,1)) unstack(x,axis=1)
argmax(x,axis=1,keepdims=True) argmin(x) nonzero(b) count_nonzero(b) count_nonzero(b,axis=1,keepdims=True)
searchsorted(x[0,...],y[0,...],side='right',sorter=order) where(b,x,y) where(b,x,0.0)
sort(unique_values(i)) unique_all(ties) unique_counts(ties) unique_inverse(i)
sort(x) sort(x,axis=0,descending=True,stable=False) sort(small,descending=True) argsort(x,axis=0)
argsort(ties) argsort(ties,descending=True) argsort(ties,stable=True) argsort(small,descending=True)
argsort(x,axis=0,descending=True,stable=False)
cumulative_prod(x,axis=1,dtype=float64,include_initial=True) cumulative_sum(small,axis=1,include_initial=True)
cumulative_sum(x,axis=0,dtype=float64)
max(x,axis=1,keepdims=True) mean(x,axis=(0,1)) min(x) prod(small,axis=0,dtype=int32,keepdims=True) prod(small)
std(x,axis=1,correction=1,keepdims=True) sum(small) sum(x,axis=0,dtype=float64,keepdims=True)
var(x,axis=1,correction=1.0,keepdims=True) all(b,axis=1,keepdims=True) any(b,axis=0,keepdims=True)
mean(x,axis=1,keepdims=True) min(x,axis=0,keepdims=True) argmin(x,axis=0,keepdims=True)
diff(x,axis=1,n=2,prepend=x,append=x)
fft.fft(z,n=4,axis=0,norm='ortho') fft.ifft(z,n=4,axis=0,norm='ortho')
fft.fftn(z,s=(2,2),axes=(0,1),norm='ortho')
fft.ifftn(z,s=(2,2),axes=(0,1),norm='ortho') fft.rfft(x,n=4,axis=0,norm='ortho')
fft.irfft(z,n=4,axis=0,norm='ortho') fft.rfftn(x,s=(2,2),axes=(0,1),norm='ortho')
fft.irfftn(z,s=(2,2),axes=(0,1),norm='ortho') fft.hfft(z,n=4,axis=0,norm='ortho')
fft.ihfft(x,n=4,axis=0,norm='ortho') fft.fftfreq(5) fft.fftfreq(4,d=0.5,dtype=float32,device=None)
fft.rfftfreq(5) fft.rfftfreq(4,d=0.5,dtype=float32,device=None) fft.fftshift(x,axes=(1,))
fft.ifftshift(x,axes=(1,))
linalg.cholesky(sq) linalg.cholesky(sq,upper=True) linalg.cross(x,y,axis=-1) linalg.det(sq)
linalg.diagonal(sq,offset=1) linalg.eigh(sq).eigenvalues abs(linalg.eigh(sq).eigenvectors)
linalg.eigvalsh(sq) linalg.inv(sq) linalg.matmul(sq,sq) linalg.matrix_norm(sq,ord='nuc',keepdims=True)
linalg.matrix_power(sq,3) linalg.matrix_rank(sq,rtol=0.5) linalg.matrix_transpose(x)
linalg.outer(x[0,...],y[0,...]) linalg.pinv(sq,rtol=0.5) abs(linalg.qr(sq,mode='complete').R)
linalg.slogdet(sq).logabsdet linalg.solve(sq,wide) linalg.solve(stack([sq,sq,sq]),wide)
linalg.svd(x,full_matrices=False).S linalg.svdvals(x) linalg.tensordot(x,y,axes=2)
linalg.trace(sq,offset=1,dtype=float64) linalg.trace(small) linalg.vecdot(x,y,axis=-1)
linalg.vector_norm(x,axis=1,keepdims=True,ord=1)
"""
CALLS = " ".join(CALLS.split("\n")).split()
STRICT = {
    "api_version": "2024.12",
    "boolean_indexing": True,
    "data_dependent_shapes": True,
    "enabled_extensions": ("fft", "linalg"),
}


class Names(dict):
    """The calls' arrays, and a library's own names."""

    def __init__(self, xp):
        x = [[3.0, -1.0, 2.0], [0.5, 4.0, -2.0]]
        super().__init__(
            x=xp.asarray(x, dtype=xp.float32),
            y=xp.asarray([[0.5, -0.5, 0.25], [0.75, -0.25, 0.125]], dtype=xp.float32),
            z=xp.asarray([[1 + 2j, 3 - 1j, 2j], [1, 2, 3]], dtype=xp.complex64),
            b=xp.asarray([[True, False, True], [False, False, True]]),
            i=xp.asarray([[3, 1, 2], [2, 5, 1]], dtype=xp.int32),
            small=xp.asarray([[3, 1, 200], [2, 5, 1]], dtype=xp.uint8),
            ties=xp.asarray(np.random.default_rng(0).integers(0, 4, 500)),
            wide=xp.asarray([0.0, 1.0, 2.0], dtype=xp.float64),
            wide_int=xp.asarray([1, 2, 300], dtype=xp.int64),
            rows=xp.asarray([2, 0]),
            column=xp.asarray([[0], [1]]),
            order=xp.asarray([1, 2, 0]),
            sq=xp.asarray([[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]], dtype=xp.float64),
        )
        self.xp = xp

    def __missing__(self, name):
        return getattr(self.xp, name)


def call(xp, text):
    return eval(text, {"__builtins__": {}}, Names(xp))


def plain(x):
    """Return results as NumPy's arrays and Python's values, with their kind."""
    if isinstance(x, tuple | list):
        return getattr(type(x), "_fields", None), [plain(one) for one in x]
    if isinstance(x, array_api_strict.asarray(0).__class__):
        # A result without dimensions may be a number of NumPy, which does not support DLPack.
        x = np.from_dlpack(array_api_strict.reshape(x, (-1,))).reshape(x.shape)
    if isinstance(x, np.ndarray | np.generic):
        return str(x.dtype), np.asarray(x)
    return (type(x).__name__, x) if isinstance(x, bool | int | float) else ("dtype", np.dtype(str_of(x)))


def str_of(dtype):
    return str(dtype).rpartition(".")[2]


def assert_equal(found, expected):
    assert found[0] == expected[0]
    if isinstance(expected[1], list):
        for one, other in zip(found[1], expected[1], strict=True):
            assert_equal(one, other)
    elif isinstance(expected[1], np.dtype):
        assert found[1] == expected[1]
    else:
        np.testing.assert_allclose(found[1], expected[1], rtol=2e-5, atol=1e-6, strict=True)


@pytest.fixture(scope="module", params=["numpy", "numba"])
def xp(request):
    try:
        return xpnet.backend(request.param)
    except xpnet.BackendUnavailableError as e:
        pytest.skip(str(e))


@pytest.mark.parametrize("text", CALLS)
def test_call_of_the_standard_gives_what_its_checker_gives(text, xp):
    with array_api_strict.ArrayAPIStrictFlags(**STRICT):
        expected = plain(call(array_api_strict, text))
    assert_equal(plain(call(xp, text)), expected)


def functions():
    with array_api_strict.ArrayAPIStrictFlags(**STRICT):
        for prefix, module in (
            ("", array_api_strict),
            ("fft.", array_api_strict.fft),
            ("linalg.", array_api_strict.linalg),
        ):
            for name in module.__all__:
                value = getattr(module, name)
                if inspect.isfunction(value) and not name.startswith(("__", "set_", "get_", "reset_")):
                    yield prefix + name, value


def test_every_function_of_the_standard_is_called_with_each_of_its_keywords():
    called = {}
    for text in CALLS:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                called.setdefault(ast.unparse(node.func), set()).update(k.arg for k in node.keywords)
    newer = {"broadcast_shapes", "isin"}
    for name, function in functions():
        if name not in newer:
            parameters = inspect.signature(function).parameters.values()
            keywords = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
            assert keywords - {"device", "copy"} <= called[name], name


def test_backends_on_numpy_have_every_name_of_the_standard(xp):
    with array_api_strict.ArrayAPIStrictFlags(**STRICT):
        names = [name for name in array_api_strict.__all__ if not name.endswith(("Flags", "_flags"))]
        missing = {name for name in names if not hasattr(xp, name)} - {"Device", "__version__"}
    assert not missing


def test_every_array_on_this_device_says_so(xp):
    made = (
        xp.asarray([1.0], device="cpu"),
        xp.fft.fftfreq(4, device="cpu"),
        xp.astype(xp.ones(2), xp.int8, device="cpu"),
    )
    assert {x.device for x in made} == {xp.__array_namespace_info__().default_device()}


def test_limits_of_a_dtype_are_numbers_of_python(xp):
    for info in (xp.finfo(xp.float32), xp.finfo(xp.zeros(2, dtype=xp.float32)), xp.finfo(np.float32(1))):
        assert {type(x) for x in (info.eps, info.max, info.min, info.smallest_normal)} == {float}
        assert (info.bits, info.dtype) == (32, xp.float32)


def test_clip_keeps_its_dtype_and_its_bounds(xp):
    x, bounds = xp.asarray([3, 200], dtype=xp.uint8), xp.asarray([-5, 1000])
    found = xp.clip(x, bounds, max=bounds + 2000)
    assert found.dtype == xp.uint8
    assert found.tolist() == [3, 255]
    assert bounds.tolist() == [-5, 1000]
    assert xp.clip(x, 0.5, 100.5).dtype == xp.uint8


@pytest.mark.parametrize("bound", [np.float64(2), np.float32(2), np.int64(2), np.asarray(2.0)])
def test_clip_keeps_its_dtype_with_numbers_of_numpy(xp, bound):
    for dtype in (xp.float32, xp.int8, xp.uint8):
        found = xp.clip(xp.asarray([1, 5], dtype=dtype), bound, None)
        assert found.dtype == dtype
        assert found.tolist() == [2, 5]


def test_clip_of_infinite_bounds_raises_no_floating_point_error(xp):
    with np.errstate(all="raise"):
        found = xp.clip(xp.asarray([1.0], dtype=xp.float32), min=xp.asarray(-1e300), max=xp.asarray(1e300))
    assert found.tolist() == [1.0]


def test_strategies_of_the_consortiums_test_suite_start_on_a_backend(xp):
    strategies = make_strategies_namespace(xp)

    @settings(max_examples=5, database=None, deadline=None)
    @given(strategies.arrays(strategies.numeric_dtypes(), (2,)))
    def check(x):
        assert x.shape == (2,)

    check()


def test_name_is_the_one_that_its_package_gives(xp):
    module = importlib.import_module(f"xpnet_{xp.name}")
    assert module.xp is xp
    assert xp.__name__ == f"xpnet.{xp.name}"


LAZY = """
import sys, xpnet
xp = xpnet.backend({name!r})
assert "array_api_compat.common._aliases" not in sys.modules
assert xp.sort(xp.asarray([1, 3, 2]), descending=True).tolist() == [3, 2, 1]
assert xp.fft.rfftfreq(4, dtype=xp.float32).dtype == xp.float32
assert not {{"array_api_compat.numpy", "numpy.ma", "numpy.f2py"}} & set(sys.modules)
"""


def test_functions_of_the_standard_import_nothing_before_they_are_called_and_not_all_of_numpy(xp):
    subprocess.run([sys.executable, "-c", LAZY.format(name=xp.name)], check=True)


def test_functions_of_training_are_numpys_own(xp):
    names = "asarray astype exp log matmul max mean sum take where zeros_like"
    assert all(getattr(xp, name) is getattr(np, name) for name in names.split())
