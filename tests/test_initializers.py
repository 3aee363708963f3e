import pytest

from xpnet import Stream
from xpnet.initializers import INITIALIZERS


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("normal", 1.0),
        ("lecun_normal", 1 / 200),
        ("he_normal", 2 / 200),
        ("he_uniform", 2 / 200),
        ("glorot_normal", 2 / 500),
        ("glorot_uniform", 2 / 500),
    ],
)
def test_initializer_has_its_variance(name, variance):
    weight = INITIALIZERS[name](Stream(0, "init"), 200, 300)
    assert weight.shape == (200, 300)
    assert weight.mean() == pytest.approx(0.0, abs=0.02 * variance**0.5)
    assert weight.var() == pytest.approx(variance, rel=0.03)
