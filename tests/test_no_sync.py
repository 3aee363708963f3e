"""A training step never reads values back: tested with arrays that refuse to be read."""

import numpy as np
import pytest

import xpnet


class Guarded:
    """An array whose values cannot be read, as if it were on a remote device."""

    def __init__(self, x):
        self._x = x
        self.shape, self.ndim, self.dtype = x.shape, x.ndim, x.dtype

    def _refuse(self, *args, **kwargs):
        raise AssertionError("a value was read back to the host")

    __bool__ = __float__ = __int__ = __index__ = __complex__ = _refuse
    __iter__ = __array__ = __dlpack__ = item = tolist = tobytes = _refuse

    def __getitem__(self, key):
        keys = key if isinstance(key, tuple) else (key,)
        if any(getattr(k, "dtype", None) == np.bool_ for k in keys):
            self._refuse()
        return guard(self._x[key])

    def __array_namespace__(self, api_version=None):
        return LIBRARY


def _forward(name):
    return lambda self, *others: guard(getattr(self._x, name)(*unguard(others)))


for _name in ("add", "sub", "mul", "truediv", "and", "or", "xor", "lshift", "rshift"):
    for _form in (f"__{_name}__", f"__r{_name}__"):
        setattr(Guarded, _form, _forward(_form))
for _name in ("neg", "eq", "ge", "gt"):
    setattr(Guarded, f"__{_name}__", _forward(f"__{_name}__"))


def guard(value):
    if isinstance(value, tuple | list):
        return type(value)(map(guard, value))
    return Guarded(np.asarray(value)) if isinstance(value, np.ndarray | np.generic) else value


def unguard(value):
    if isinstance(value, tuple | list):
        return type(value)(map(unguard, value))
    return value._x if isinstance(value, Guarded) else value


class GuardedNumPy:
    """NumPy with functions that return guarded arrays."""

    def __getattr__(self, name):
        value = getattr(np, name)
        if isinstance(value, type) or not callable(value):
            return value
        return lambda *args, **kwargs: guard(value(*unguard(args), **kwargs))


LIBRARY = GuardedNumPy()


@pytest.fixture
def guarded():
    copies = []

    def to_host(x):
        copies.append(x.shape)
        return unguard(x)

    xp = xpnet.Namespace("guarded", LIBRARY, device=xpnet.Device(to_host=to_host))
    return xp, copies


@pytest.mark.parametrize(
    "read",
    [
        float,
        bool,
        int,
        list,
        np.asarray,
        lambda x: x.item(),
        lambda x: x[x > 0],
        lambda x: x > 0 or x,
    ],
)
def test_guarded_arrays_refuse_to_be_read(guarded, read):
    xp, _ = guarded
    x = xp.nn.relu(xp.asarray(np.array([1.0])))
    with pytest.raises(AssertionError, match="read back"):
        read(x)


@pytest.mark.parametrize(
    "optimizer", [xpnet.SGD(0.1), xpnet.Momentum(0.1), xpnet.Nesterov(0.1), xpnet.Adam()]
)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error"])
def test_epochs_are_read_once_each(guarded, dataset, optimizer, loss):
    xp, copies = guarded
    layers = [xpnet.Linear(12, 8), xpnet.ReLU(), xpnet.Dropout(0.1), xpnet.Linear(8, 8), xpnet.Tanh()]
    model = xpnet.Sequential(*layers, xpnet.Sigmoid(), xpnet.Linear(8, 3), xpnet.Softmax())
    run = xpnet.fit(xp, model, dataset, test=dataset, epochs=2, batch_size=32, optimizer=optimizer, loss=loss)
    assert len(run.history) == 2
    initial, epochs = copies[:-2], copies[-2:]
    assert len(initial) == len(model.shapes), "the initial parameters are hashed"
    assert epochs == [(4,), (4,)], "two training losses, test loss and accuracy cross together"


def test_guarded_training_gives_the_same_numbers(guarded, numpy_xp, dataset):
    options = {"epochs": 2, "optimizer": xpnet.Momentum(1.0), "test": dataset}
    model = xpnet.mlp(12, 8, 3)
    losses = [xpnet.fit(xp, model, dataset, **options).history[-1].test_loss for xp in (guarded[0], numpy_xp)]
    assert losses[0] == losses[1]
