"""Servers of the page, and models to draw with."""

import pytest
from page_server import serving

import xpnet


@pytest.fixture(scope="session")
def trained():
    """Return the address of a page with the network that is trained if no model is named."""
    with serving("--backend", "numba") as address:
        yield address


@pytest.fixture(scope="session")
def models(tmp_path_factory, mnist):
    """Return the paths of small models by name; they were trained for a moment."""
    folder = tmp_path_factory.mktemp("models")
    train = mnist[0][:2000]
    xp = xpnet.backend("numpy")
    makers = {
        "cnn": (xpnet.lenet5(), train, "softmax_cross_entropy"),
        "squared": (xpnet.mlp(784, 16, 10), train, "squared_error"),
        "named": (
            xpnet.mlp(784, 10),
            xpnet.Dataset(train.images, train.labels, classes=[*"abcdefghij"]),
            "softmax_cross_entropy",
        ),
    }
    for name, (model, data, loss) in makers.items():
        run = xpnet.fit(xp, model, data, epochs=1, optimizer=xpnet.Adam(0.003), loss=loss, progress=False)
        run.save(folder / name)
    return {name: folder / name for name in makers}
