"""A training that continues from a checkpoint ends like one that was never interrupted."""

import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest
import safetensors.numpy
from resuming import (
    EPOCH_1,
    EPOCH_2,
    OPTIMIZERS,
    names,
    network,
    samples,
    seal,
    seal_of,
    train,
    train_in_another_process,
)
from safetensors import safe_open

import kills
import xpnet
from xpnet import Checkpoint

BACKENDS = ["numpy", "numba"]
TOLERANCE = 2e-4  # between backends, after four epochs in float32


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_two_epochs_and_two_more_in_another_process_are_four(tmp_path, backend, optimizer):
    folder, options = str(tmp_path / "checkpoints"), {"backend": backend, "optimizer": optimizer}
    train_in_another_process(tmp_path / "two", epochs=2, checkpoint=folder, **options)
    train_in_another_process(tmp_path / "continued", epochs=4, resume=folder, **options)
    train_in_another_process(tmp_path / "whole", epochs=4, **options)
    assert seal(tmp_path / "continued") == seal(tmp_path / "whole") != seal(tmp_path / "two")


@pytest.mark.parametrize("done", [1, 2, 3, 4])
def test_training_continues_from_every_epoch(tmp_path, backend, done):
    whole = train(backend, test=samples(1234, 1))
    train(backend, epochs=done, checkpoint=tmp_path, test=samples(1234, 1))
    continued = train(backend, resume=tmp_path, test=samples(1234, 1))
    assert seal_of(continued, tmp_path) == seal_of(whole, tmp_path)
    assert continued.initial_sha256 == whole.initial_sha256
    assert continued.resumed == f"epoch {done} ({tmp_path / f'epoch-000{done}.safetensors'})"


def test_steps_of_ones_own_continue_bit_for_bit(tmp_path, backend):
    """Their first calls run as written, and a program need not round like these."""
    for done in (1, 2, 3):
        folder = tmp_path / str(done)
        options = {"backend": backend, "optimizer": Own(0.2), "batch_size": 100}
        whole = train(epochs=4, **options)
        train(epochs=done, checkpoint=folder, **options)
        assert seal_of(train(resume=folder, **options), tmp_path) == seal_of(whole, tmp_path)


@dataclasses.dataclass(frozen=True)
class Own:
    """Nesterov's momentum with a nested state, which ends as tuples of arrays and counts."""

    lr: float

    def init(self, xp, params):
        zeros = {name: xp.zeros_like(p) for name, p in params.items()}
        return {"velocity": zeros, "more": (0, [xp.zeros((), dtype=xp.int32)])}

    def __call__(self, xp, params, grads, state):
        count, others = state["more"]
        new, velocity = {}, {}
        for name, p in params.items():
            new[name], velocity[name] = xp.nn.nesterov_step(
                p, grads[name], state["velocity"][name], self.lr, 0.9
            )
        return new, {"velocity": velocity, "more": (count + 1, others)}


class Noisy(xpnet.ReLU):
    """A layer that draws on the host, from the stream of the training."""

    def __call__(self, xp, params, x, *, stream=None):
        y, pullback = super().__call__(xp, params, x)
        if stream is not None:
            y = y + xp.asarray(stream.uniform(tuple(y.shape)).astype("f4"))
        return y, pullback


def test_random_numbers_that_a_layer_draws_on_the_host_continue(tmp_path):
    model = xpnet.Sequential(xpnet.Linear(12, 8), Noisy(), xpnet.Linear(8, 3))
    whole = train(model=model)
    train(model=model, epochs=2, checkpoint=tmp_path)
    continued = train(model=model, resume=tmp_path)
    assert seal_of(continued, tmp_path) == seal_of(whole, tmp_path)


@pytest.mark.parametrize(
    "optimizer",
    [
        xpnet.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01, clip_norm=1.0),
        xpnet.AdamW(xpnet.schedules.Warmup(7, xpnet.schedules.Cosine(0.1, 40)), clip_norm=0.5),
        xpnet.RMSprop(xpnet.schedules.OneCycle(0.02, 44)),
    ],
)
def test_schedules_weights_and_validation_continue(tmp_path, backend, optimizer):
    options = {"backend": backend, "optimizer": optimizer, "validation": 0.2, "class_weight": "balanced"}
    whole = train(epochs=4, **options)
    train(epochs=1, checkpoint=tmp_path, **options)
    continued = train(epochs=4, resume=tmp_path, **options)
    assert seal_of(continued, tmp_path) == seal_of(whole, tmp_path)
    assert [epoch.lr for epoch in continued.history] == [epoch.lr for epoch in whole.history]


@pytest.mark.parametrize(("first", "second"), [("numpy", "numba"), ("numba", "numpy")])
def test_checkpoint_of_one_backend_continues_on_another(tmp_path, first, second):
    whole = train(first)
    train(first, epochs=2, checkpoint=tmp_path)
    continued = train(second, resume=tmp_path)
    for name, p in whole.params.items():
        assert np.allclose(continued.params[name], p, rtol=TOLERANCE, atol=TOLERANCE), name


def test_strict_namespace_continues(tmp_path, xp):
    options = {"batch_size": 32, "optimizer": xpnet.Adam(0.01), "seed": 3}
    whole = xpnet.fit(xp, network(), samples(), epochs=2, **options)
    xpnet.fit(xp, network(), samples(), epochs=1, checkpoint=tmp_path, **options)
    continued = xpnet.fit(xp, network(), samples(), epochs=2, resume=tmp_path, **options)
    assert seal_of(continued, tmp_path) == seal_of(whole, tmp_path)


def test_checkpoint_is_a_model_too(tmp_path, backend):
    run = train(backend, epochs=2, checkpoint=tmp_path)
    loaded = xpnet.load(tmp_path / EPOCH_2, run.xp)
    assert seal(tmp_path / EPOCH_2) == seal_of(run, tmp_path)
    assert loaded.history == run.history
    assert loaded.evaluate(samples(50, 1)).accuracy == run.history[-1].test_accuracy


def test_checkpoint_says_where_the_training_is(tmp_path):
    train(epochs=2, checkpoint=tmp_path)
    found = xpnet.checkpoint.load_training(tmp_path / EPOCH_2)
    assert (found["epoch"], found["position"], found["backend"]) == (2, 0, "numpy")
    assert found["settings"]["seed"] == 3
    assert found["trainer"]["next_step"] == 2 * 11 + 1
    with safe_open(tmp_path / EPOCH_2, framework="numpy") as file:
        assert file.metadata()["format"] == "xpnet checkpoint 1"


def test_training_that_is_done_comes_back_at_once(tmp_path):
    run = train(epochs=2, checkpoint=tmp_path)
    again = train(epochs=2, resume=tmp_path, callbacks=[lambda run: pytest.fail("an epoch was trained")])
    assert seal_of(again, tmp_path) == seal_of(run, tmp_path)


def test_fewer_epochs_than_done_are_refused(tmp_path):
    train(epochs=2, checkpoint=tmp_path)
    message = rf"^`epochs` is 1, but the training in '{tmp_path / EPOCH_2}' has had 2; .*pass at least 2$"
    with pytest.raises(ValueError, match=message):
        train(epochs=1, resume=tmp_path)


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"optimizer": xpnet.Momentum(0.25)}, "`optimizer.lr` is 0.5 there and 0.25 here"),
        ({"optimizer": "sgd"}, "`optimizer` is Momentum(lr=0.5, beta=0.9, "),
        ({"batch_size": 33}, "`batch_size` is 32 there and 33 here"),
        ({"seed": 4}, "`seed` is 3 there and 4 here"),
        ({"dtype": "float64"}, "`dtype` is 'float32' there and 'float64' here"),
        ({"scale": 1.0}, "`scaling.scale` is 0.00392156862745098 there and 1.0 here"),
        ({"loss": "squared_error"}, "`loss"),
        ({"model": xpnet.mlp(12, 3)}, "`model.layers` is [Linear(n_in=12, n_out=16"),
        (
            {"model": xpnet.Sequential(*network().layers[:3], xpnet.Dropout(0.5), network().layers[4])},
            "`model.layers[3].rate` is 0.3 there and 0.5 here",
        ),
        ({"data": samples(seed=5)}, "`train` has other values"),
        ({"data": samples(n=334)}, "`train.inputs` is 'float32 of shape (333, 12)' there and"),
        ({"test": samples(50, 5)}, "`test` has other values"),
        ({"validation": 0.2}, "`train.inputs` is 'float32 of shape (333, 12)' there and"),
        ({"class_weight": {0: 2.0}}, "`train.sample_weight` is None there and 'float"),
        ({"test": None}, "`test` is Dataset(inputs="),
    ],
)
def test_another_training_is_refused_with_the_difference(tmp_path, options, difference):
    train(epochs=1, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=re.escape(difference)) as caught:
        train(epochs=2, resume=tmp_path, **options)
    assert str(caught.value).startswith(f"cannot resume from '{tmp_path / EPOCH_1}': `")
    assert len(str(caught.value)) <= 300


@pytest.mark.parametrize("there", [True, False])
def test_training_begins_anew_without_a_checkpoint(tmp_path, there):
    folder = tmp_path / "checkpoints" / "inner"
    if there:
        folder.mkdir(parents=True)
    run = train(epochs=1, checkpoint=folder, resume=True)
    assert run.resumed == ""
    assert names(folder) == ["best.safetensors", EPOCH_1]


def test_true_means_the_folder_of_the_checkpoint(tmp_path):
    train(epochs=1, callbacks=[Checkpoint(tmp_path)])
    assert train(epochs=2, callbacks=[Checkpoint(tmp_path)], resume=True).resumed.startswith("epoch 1 (")
    with pytest.raises(TypeError, match="`resume=True` continues from the folder of a `Checkpoint`"):
        train(resume=True)


def test_one_file_is_continued_though_there_is_a_newer_one(tmp_path):
    whole = train(epochs=3, checkpoint=tmp_path)
    run = train(epochs=3, checkpoint=tmp_path, resume=tmp_path / EPOCH_1)
    assert run.resumed.startswith("epoch 1 (")
    assert seal_of(run, tmp_path) == seal_of(whole, tmp_path)


def test_missing_file_is_one_error(tmp_path):
    path = tmp_path / "epoch-0007.safetensors"
    with pytest.raises(FileNotFoundError, match=rf"^no checkpoint at '{path}'; pass a file that `fit` wrote"):
        train(resume=path)


def damage(path, *, at=-1):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.unlink()  # It may have a second name.
    path.write_bytes(data)


def test_damaged_file_is_skipped_with_a_note(tmp_path, backend):
    whole = train(backend, epochs=3)
    train(backend, epochs=2, checkpoint=tmp_path)
    damage(tmp_path / EPOCH_2)
    with pytest.warns(UserWarning, match=f"skipped a checkpoint: '{tmp_path / EPOCH_2}' is not an xpnet"):
        run = train(backend, epochs=3, checkpoint=tmp_path, resume=True)
    assert run.resumed.startswith("epoch 1 (")
    assert seal_of(run, tmp_path) == seal_of(whole, tmp_path)


def test_any_damage_is_skipped(tmp_path):
    train(epochs=2, checkpoint=tmp_path, data=samples(40), model=xpnet.mlp(12, 3))
    whole = (tmp_path / EPOCH_2).read_bytes()
    rng = np.random.default_rng(0)
    for turn in range(60):
        (tmp_path / EPOCH_2).unlink()
        data = bytearray(whole)
        if turn % 3:
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        else:
            del data[rng.integers(len(data)) :]
        (tmp_path / EPOCH_2).write_bytes(data)
        with pytest.warns(UserWarning, match="skipped a checkpoint"):
            run = train(epochs=2, resume=tmp_path, data=samples(40), model=xpnet.mlp(12, 3))
        assert run.resumed.startswith("epoch 1 (")


def test_folder_without_a_whole_checkpoint_is_refused(tmp_path):
    train(epochs=1, checkpoint=tmp_path)
    damage(tmp_path / EPOCH_1)
    damage(tmp_path / "best.safetensors")
    with pytest.raises(ValueError, match=rf"^no checkpoint in '{tmp_path}' is whole: .*begin anew$"):
        train(epochs=2, checkpoint=tmp_path, resume=True)


@pytest.mark.parametrize("changed", ["xpnet checkpoint 2", "xpnet model 1"])
def test_another_format_is_refused_and_not_skipped(tmp_path, changed):
    train(epochs=2, checkpoint=tmp_path)
    path = tmp_path / EPOCH_2
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() | {"format": changed}
    path.write_bytes(safetensors.numpy.save(safetensors.numpy.load_file(path), metadata))
    message = rf"^'{path}' is not an xpnet checkpoint \(its format is '{changed}', not 'xpnet checkpoint 1'\)"
    with pytest.raises(ValueError, match=message):
        train(resume=tmp_path)


def test_state_that_cannot_be_stored_stops_the_training_by_name(tmp_path):
    class Odd(xpnet.SGD):
        def init(self, xp, params):
            return super().init(xp, params) | {"odd": object()}

        def __call__(self, xp, params, grads, state):
            params, new = super().__call__(xp, params, grads, state)
            return params, new | {"odd": state["odd"]}

    with pytest.raises(TypeError, match="`training/trainer/optimizer/odd` holds a object"):
        train(optimizer=Odd(0.1), checkpoint=tmp_path)


def test_settings_in_a_file_are_json(tmp_path):
    train(epochs=1, checkpoint=pathlib.Path(tmp_path))
    assert json.dumps(xpnet.checkpoint.load_training(tmp_path / EPOCH_1)["settings"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_that_has_converged_continues_as_it_was_compiled(tmp_path, backend):
    """Trials of programs compare badly there: Adam's first steps enlarge the rounding of tiny gradients."""
    kills.write_data(tmp_path / "data")
    data, test = xpnet.datasets.idx_folder(tmp_path / "data")
    options = {"optimizer": xpnet.Adam(0.001), "batch_size": 64, "data": data, "test": test, "epochs": 2000}
    options |= {"backend": backend, "model": xpnet.mlp(64, 256, 4)}
    folder = tmp_path / "checkpoints"
    whole = train(checkpoint=Checkpoint(folder, every=20, keep=12), **options)
    for done in range(1780, 2000, 20):
        continued = train(resume=folder / f"epoch-{done}.safetensors", **options)
        assert continued.report == ""
        assert seal_of(continued, tmp_path) == seal_of(whole, tmp_path), done
