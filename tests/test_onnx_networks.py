"""Networks drawn at random give the same in ONNX, however layers of images and of rows follow one another."""

from hypothesis import given, settings
from hypothesis import strategies as st
from test_onnx_layers import OPSETS, check

import xpnet

PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 2))
AROUND = st.sampled_from(["same", "valid", 0, 1, ((0, 1), (1, 0))])
ANYWHERE = [
    *(lambda n, kind=kind: kind() for kind in (xpnet.ReLU, xpnet.GELU, xpnet.SiLU, xpnet.Sigmoid)),
    *(lambda n, kind=kind: kind(n) for kind in (xpnet.LayerNorm, xpnet.BatchNorm, xpnet.Standardize)),
    lambda n: xpnet.LeakyReLU(0.1),
    lambda n: xpnet.Dropout(0.1),
]


def of_rows(draw, shape):
    (n,) = shape
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return xpnet.Linear(n, draw(st.sampled_from([4, 6, 12, 24])))
    if kind == 1:
        height = draw(st.sampled_from([h for h in range(1, 7) if n % h == 0]))
        width = draw(st.sampled_from([w for w in range(1, 7) if n % (height * w) == 0]))
        return xpnet.Unflatten(height, width, n // height // width)
    return xpnet.Residual(*draw(chains(shape, 2, same=True))) if kind == 2 else draw(anywhere(n))


def of_images(draw, shape):
    channels, kind = shape[2], draw(st.integers(0, 6))
    size, padding = draw(PAIRS), draw(AROUND)
    if kind <= 1:
        options = {"stride": draw(st.integers(1, 2)), "padding": padding, "dilation": draw(st.integers(1, 2))}
        groups = channels if kind else 1
        return xpnet.Conv2d(channels, groups * draw(st.integers(1, 3)), size, groups=groups, **options)
    if kind <= 3:
        pooling = xpnet.MaxPool2d if kind == 2 else xpnet.AvgPool2d
        return pooling(size, stride=draw(st.integers(1, 2)), padding=padding)
    if kind == 4:
        return xpnet.Flatten()
    return xpnet.Residual(*draw(chains(shape, 2, same=True))) if kind == 5 else draw(anywhere(channels))


def anywhere(n):
    return st.sampled_from(ANYWHERE).map(lambda make: make(n))


@st.composite
def chains(draw, shape, most, *, same=False):
    """Return layers that fit one another; with `same`, each gives the shape that it takes."""
    found = [xpnet.ReLU()]
    for _ in range(draw(st.integers(1, most))):
        layer = (of_rows if len(shape) == 1 else of_images)(draw, shape)
        try:
            made = xpnet.Sequential(layer).output_shape(shape) or shape
        except ValueError:
            continue
        if made == shape or not same:
            found.append(layer)
            shape = made
    return found


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(st.data(), st.sampled_from([(12,), (24,), (4, 3, 2), (6, 5, 1)]), st.sampled_from(OPSETS))
def test_any_network_gives_the_same(data, shape, opset):
    layers = data.draw(chains(shape, 8))
    check(xpnet.Sequential(*layers), shape, data.draw(st.sampled_from(["float32", "float64"])), opset)
