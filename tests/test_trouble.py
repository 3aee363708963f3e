import numpy as np
import pytest

import xpnet
from xpnet import Dataset, Linear, ReLU, Residual, Sequential, Sigmoid

N, FEATURES = 60, 4
INPUTS = np.random.Generator(np.random.Philox(5)).standard_normal((N, FEATURES)).astype("float32")
LABELS = np.arange(N) % 3


def diverge(xp, model, data=None, **options):
    """Return the error of a training that diverges."""
    options = {"optimizer": xpnet.SGD(0.1), "epochs": 3, "batch_size": 20} | options
    with pytest.raises(xpnet.TrainingDivergedError) as caught:
        xpnet.fit(xp, model, data or Dataset(INPUTS, LABELS), progress=False, **options)
    return caught.value


class Exploding(ReLU):
    """Gives infinities where an input is above a limit, which few are."""

    limit = 3.0

    def __call__(self, xp, params, x, *, stream=None):
        y, pullback = ReLU()(xp, params, x)
        return xp.where(y > self.limit, xp.full_like(y, np.inf), y), pullback


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        (Sequential(Linear(FEATURES, 8), Exploding(), Linear(8, 3)), "1"),
        (
            Sequential(Linear(FEATURES, 8), Sequential(Sigmoid(), Residual(Exploding())), Linear(8, 3)),
            "1.1.0",
        ),
    ],
)
def test_layer_whose_output_is_first_not_finite_is_named(backend, monkeypatch, model, layer):
    monkeypatch.setattr(Exploding, "limit", 0.9)
    error = diverge(backend, model, optimizer=xpnet.SGD(1.0), epochs=200)
    assert (error.epoch, error.layer) == (len(error.run.history) + 1, layer)
    assert 1 <= error.step <= 3
    text = f"in its step {error.step}, the output of layer {layer}, Exploding"
    assert text in str(error)
    assert f"epoch {error.epoch} is nan; lower the learning rate (now 1), or clip gradients" in str(error)


def test_step_is_that_of_the_epoch(backend):
    data = Dataset(INPUTS, LABELS)
    order = xpnet.Stream(0, "shuffle").permutation(N)
    # The sample that is last in the first epoch alone reaches the limit.
    inputs = np.clip(INPUTS, -2, 2)
    inputs[order[-1]] = 100
    model = Sequential(Exploding(), Linear(FEATURES, 3))
    error = diverge(backend, model, Dataset(inputs, data.labels), batch_size=7)
    assert (error.epoch, error.step, error.layer) == (1, 9, "0")


def test_parameter_that_is_first_not_finite_is_named(backend):
    class Losing(xpnet.SGD):
        """Makes a bias infinite in the third step."""

        def init(self, xp, params):
            return {"steps": 0}

        def __call__(self, xp, params, grads, state):
            params, _ = xpnet.SGD(0.1)(xp, params, grads, {})
            if state["steps"] == 2:
                params = params | {"2.bias": xp.full_like(params["2.bias"], np.inf)}
            return params, {"steps": state["steps"] + 1}

    error = diverge(backend, xpnet.mlp(FEATURES, 5, 3), optimizer=Losing(0.1))
    assert (error.epoch, error.step, error.layer) == (1, 3, "2")
    assert "in its step 3, the parameter '2.bias' was first not finite" in str(error)


def test_state_of_the_optimizer_is_that_of_the_epoch(numpy_xp):
    """From a velocity of 0 on, the epoch would fail a step later."""
    options = {"optimizer": xpnet.SGD(3, momentum=0.9), "loss": "squared_error", "epochs": 200}
    error = diverge(numpy_xp, Sequential(Linear(FEATURES, 3)), **options)
    assert (error.epoch, error.step, error.layer) == (91, 2, None)
    assert "in its step 2, the loss was first not finite" in str(error)


def test_training_with_dropout_is_repeated_with_its_masks(backend):
    model = Sequential(Linear(FEATURES, 8), xpnet.Dropout(0.5), xpnet.BatchNorm(8), Exploding(), Linear(8, 3))
    error = diverge(backend, model, optimizer=xpnet.SGD(3.0), epochs=300)
    assert error.layer == "3"


def test_large_inputs_are_named_as_the_likely_reason(backend):
    data = Dataset(INPUTS * 1e9, LABELS)
    error = diverge(backend, xpnet.mlp(FEATURES, 3), data, loss="squared_error")
    assert "scale the inputs, which are as large as" in str(error)
    assert "`Standardize`" in str(error)


def test_last_good_epoch_stays(backend):
    model = Sequential(Linear(FEATURES, 3))
    error = diverge(backend, model, optimizer=xpnet.SGD(10), loss="squared_error", epochs=100)
    assert len(error.run.history) == error.epoch - 1
    assert all(np.isfinite(backend.to_host(p)).all() for p in error.run.params.values())


def test_last_good_checkpoint_stays(backend, tmp_path):
    model = Sequential(Linear(FEATURES, 3))
    options = {"optimizer": xpnet.SGD(10), "loss": "squared_error", "epochs": 100}
    error = diverge(backend, model, checkpoint=tmp_path, **options)
    newest = max(tmp_path.glob("epoch-*"))
    assert newest.name == f"epoch-{error.epoch - 1:04}.safetensors"
    loaded = xpnet.load(newest, backend)
    for name, p in error.run.params.items():
        np.testing.assert_array_equal(backend.to_host(loaded.params[name]), backend.to_host(p))
