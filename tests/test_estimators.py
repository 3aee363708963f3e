"""The estimators for scikit-learn: data, parameters, training in parts, copies, and what a run keeps."""

import copy
import io
import os
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import xpnet
from xpnet.sklearn import XPClassifier, XPRegressor
from xpnet.sklearn.holding_out import held_out

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"
)

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(90, 4))
CLASS = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
NAMES = np.array(["left", "middle", "right"])[CLASS]
NUMBER = X[:, 0] - 2 * X[:, 1]
IMAGES = RANDOM.integers(0, 256, size=(60, 6, 6), dtype=np.uint8)
BRIGHT = (IMAGES[:, :3].mean(axis=(1, 2)) > IMAGES[:, 3:].mean(axis=(1, 2))).astype(int)
QUICK = {"hidden_layer_sizes": (8,), "max_iter": 60, "learning_rate_init": 0.02, "random_state": 0}


def classifier(**options):
    return XPClassifier(**QUICK | options)


def regressor(**options):
    return XPRegressor(**QUICK | options)


def same(one, other, data=X):
    return np.array_equal(one.predict(data), other.predict(data))


# Fitted as scikit-learn's estimators are.


@pytest.mark.parametrize("backend", ["numpy", "numba", xpnet.backend("numpy"), None])
def test_classifier_learns_on_each_backend(backend):
    fitted = classifier(backend=backend).fit(X, NAMES)
    assert fitted.score(X, NAMES) > 0.9
    assert [*fitted.classes_] == ["left", "middle", "right"]
    assert fitted.run_.xp is xpnet.backend(backend if isinstance(backend, str) else None)


def test_regressor_learns():
    fitted = regressor().fit(X, NUMBER)
    assert fitted.score(X, NUMBER) > 0.9
    assert fitted.predict(X).shape == (90,)


def test_default_backend_is_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("XPNET_BACKEND", "numba")
    assert classifier(max_iter=1).fit(X, CLASS).run_.xp.name == "numba"


def test_parameters_of_scikit_learns_network_mean_the_same():
    theirs = XPClassifier(hidden_layer_sizes=(64,), random_state=0)
    ours = XPClassifier((64,), "relu", batch_size="auto", max_iter=200, tol=1e-4, n_iter_no_change=10)
    for name in ("hidden_layer_sizes", "activation", "batch_size", "max_iter", "tol", "n_iter_no_change"):
        assert getattr(theirs, name) == getattr(ours, name)


def test_run_is_that_of_fit_with_the_same_seed():
    fitted = classifier(standardize=False, max_iter=5, tol=0).fit(X, CLASS)
    model = xpnet.mlp(4, 8, 3, activation="relu", initializer="glorot_uniform")
    assert fitted.run_.model == model
    run = xpnet.fit(
        xpnet.backend(),
        model,
        xpnet.Dataset(X, CLASS),
        optimizer=xpnet.Adam(0.02),
        epochs=5,
        batch_size=200,
        dtype="float64",
        seed=0,
        progress=False,
    )
    assert all(np.array_equal(run.params[name], p) for name, p in fitted.run_.params.items())


def test_history_has_scikit_learns_names():
    fitted = classifier(max_iter=7, tol=0, n_iter_no_change=9).fit(X, CLASS)
    assert fitted.n_iter_ == 7 == len(fitted.loss_curve_)
    assert fitted.loss_ == fitted.loss_curve_[-1] == fitted.run_.history[-1].train_loss
    assert fitted.best_loss_ == min(fitted.loss_curve_)
    assert fitted.validation_scores_ is fitted.best_validation_score_ is None


def test_training_that_could_go_on_warns():
    text = (
        "^the training took all 3 epochs of `max_iter` before the loss had stopped falling by `tol` for "
        "`n_iter_no_change` epochs; raise `max_iter`, or `tol` if that is good enough$"
    )
    with pytest.warns(ConvergenceWarning, match=text):
        classifier(max_iter=3).fit(X, CLASS)


def test_training_ends_when_the_loss_no_longer_becomes_less_by_tol():
    fitted = classifier(tol=0.05, n_iter_no_change=3, max_iter=500).fit(X, CLASS)
    losses, least = fitted.loss_curve_, np.minimum.accumulate(fitted.loss_curve_)
    better = [losses[i] < least[i - 1] - 0.05 for i in range(1, len(losses))]
    assert fitted.n_iter_ < 500
    assert better[-3:] == [False] * 3
    assert all(any(better[i : i + 3]) for i in range(len(better) - 3))


# Labels and targets.


@pytest.mark.parametrize(
    "labels", [np.array([5, -3, 7]), np.array([1.0, 2.0, 4.0]), np.array(["a", "b", "c"], object)]
)
def test_labels_are_returned_as_they_were(labels):
    y = labels[CLASS]
    fitted = classifier().fit(X, y)
    assert set(fitted.predict(X)) <= set(y)
    assert fitted.classes_.dtype == y.dtype
    assert [*fitted.classes_] == sorted(labels)


def test_truth_values_are_labels():
    assert classifier().fit(X, CLASS > 0).predict(X).dtype == bool


def test_probabilities_are_in_the_order_of_the_classes():
    fitted = classifier().fit(X, NAMES)
    p = fitted.predict_proba(X)
    assert np.array_equal(fitted.classes_[p.argmax(axis=1)], fitted.predict(X))
    assert np.allclose(p.sum(axis=1), 1)
    assert np.allclose(np.exp(fitted.predict_log_proba(X)), p)


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_of_sigmoids_add_up_to_one(classes):
    y = np.minimum(CLASS, classes - 1)
    fitted = classifier(loss="sigmoid_cross_entropy", max_iter=200).fit(X, y)
    assert fitted.run_.model.n_out == (1 if classes == 2 else 3)
    assert np.allclose(fitted.predict_proba(X).sum(axis=1), 1)
    assert fitted.score(X, y) > 0.9


@pytest.mark.parametrize("last", [[], [xpnet.Sigmoid()]])
def test_probabilities_of_sigmoids_that_underflow_are_finite(last):
    model = xpnet.Sequential(xpnet.Linear(4, 3), *last)
    fitted = classifier(model=model, loss="sigmoid_cross_entropy").fit(X, CLASS)
    fitted.run_.params["0.bias"] = fitted.run_.params["0.bias"] - 2000
    p = fitted.predict_proba(X)
    assert np.allclose(p.sum(axis=1), 1)
    assert np.array_equal(p.argmax(axis=1), fitted.predict(X))


def test_loss_without_probabilities_says_so():
    fitted = classifier(loss="squared_error").fit(X, CLASS)
    assert fitted.score(X, CLASS) > 0.8
    with pytest.raises(ValueError, match="are not probabilities; call `predict`"):
        fitted.predict_proba(X)


def test_several_labels_at_once():
    y = np.stack([X[:, 0] > 0, X[:, 1] > 0, X[:, 0] > X[:, 1]], axis=1).astype(int)
    fitted = classifier(max_iter=200).fit(X, y)
    assert fitted.predict(X).shape == (90, 3)
    assert fitted.score(X, y) > 0.7
    assert fitted.predict_proba(X).shape == (90, 3)
    assert same(fitted, classifier(max_iter=200).fit(X, csr_array(y)))
    assert classifier(class_weight="balanced").fit(X, y).predict(X).shape == (90, 3)


@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy"])
@pytest.mark.parametrize("early_stopping", [True, False])
def test_several_labels_need_a_loss_of_labels(loss, early_stopping):
    y = np.stack([X[:, 0] > 0, X[:, 0] <= 0], axis=1).astype(int)
    with pytest.raises(ValueError, match=r'^`y` has several labels .* pass loss="sigmoid_cross_entropy"$'):
        classifier(loss=loss, early_stopping=early_stopping).fit(X, y)


def test_several_numbers_at_once():
    y = np.stack([NUMBER, -NUMBER], axis=1)
    fitted = regressor().fit(X, y)
    assert fitted.predict(X).shape == (90, 2)
    assert fitted.score(X, y) > 0.9
    with pytest.warns(DataConversionWarning):
        assert regressor(max_iter=1).fit(X, NUMBER[:, None]).predict(X).shape == (90,)


@pytest.mark.parametrize("loss", ["absolute_error", "huber_error", xpnet.losses.HuberError(0.5)])
def test_regressor_takes_other_losses(loss):
    fitted = regressor(loss=loss, early_stopping=True, max_iter=100).fit(X, NUMBER)
    assert fitted.score(X, NUMBER) > 0.8
    assert fitted.best_validation_score_ > 0.7


# Weights.


def test_weight_is_how_often_a_sample_counts():
    weights = RANDOM.integers(0, 4, size=len(X))
    again = np.repeat(np.arange(len(X)), weights)
    for kind, y in ((classifier, CLASS), (regressor, NUMBER)):
        for options in ({}, {"early_stopping": True, "n_iter_no_change": 60}):
            weighted = kind(batch_size=400, **options).fit(X, y, sample_weight=weights)
            repeated = kind(batch_size=400, **options).fit(X[again], y[again])
            outputs = weighted.run_.predict_outputs(X), repeated.run_.predict_outputs(X)
            assert np.allclose(*outputs, rtol=1e-6, atol=1e-9)


def test_class_weight_is_by_label():
    y = np.where(X[:, 0] + RANDOM.normal(size=90) > 0, "yes", "no")
    rates = [
        (classifier(class_weight=weight).fit(X, y).predict(X) == "yes").mean()
        for weight in ({"yes": 1, "no": 50}, None, {"yes": 50})
    ]
    assert rates[0] < rates[1] < rates[2]


def test_class_weight_may_name_classes_that_a_part_lacks():
    weights = {"left": 1, "right": 3}
    by_label, by_sample = classifier(class_weight=weights), classifier()
    for part in (NAMES != "left", NAMES != "right"):
        own = [weights.get(name, 1) for name in NAMES[part]]
        by_label.partial_fit(X[part], NAMES[part], classes=np.unique(NAMES))
        by_sample.partial_fit(X[part], NAMES[part], classes=np.unique(NAMES), sample_weight=own)
    assert np.allclose(by_label.predict_proba(X), by_sample.predict_proba(X))


def test_balanced_classes_have_the_same_weight_in_all():
    weights = RANDOM.uniform(0.5, 2, size=90)
    totals = np.bincount(CLASS, weights=weights)
    by_hand = classifier().fit(X, CLASS, sample_weight=weights / totals[CLASS])
    balanced = classifier(class_weight="balanced").fit(X, CLASS, sample_weight=weights)
    assert np.allclose(by_hand.predict_proba(X), balanced.predict_proba(X))


def test_score_counts_weights():
    fitted, weights = classifier(max_iter=3).fit(X, CLASS), np.arange(90)
    right = fitted.predict(X) == CLASS
    assert fitted.score(X, CLASS, sample_weight=weights) == pytest.approx(
        weights[right].sum() / weights.sum()
    )


# Early stopping.


@pytest.mark.parametrize(("kind", "y"), [(classifier, NAMES), (regressor, NUMBER)])
def test_early_stopping_keeps_the_best_epoch(kind, y):
    fitted = kind(early_stopping=True, max_iter=500, learning_rate_init=0.1).fit(X, y)
    losses = [epoch.validation_loss for epoch in fitted.run_.history]
    assert fitted.n_iter_ == len(fitted.validation_scores_) < 500
    assert fitted.best_validation_score_ == max(fitted.validation_scores_)
    assert fitted.best_loss_ is None
    epochs = int(np.argmin(losses)) + 1
    assert epochs < fitted.n_iter_
    shorter = kind(early_stopping=True, max_iter=epochs, learning_rate_init=0.1).fit(X, y)
    assert same(fitted, shorter)


def test_score_of_a_regressor_on_the_part_held_out_is_r2():
    weights = RANDOM.uniform(0.5, 2, size=90)
    fitted = regressor(early_stopping=True, max_iter=3).fit(X, NUMBER, sample_weight=weights)
    data = xpnet.Dataset(X, NUMBER, sample_weight=weights)
    _, validation = held_out(data, 0.1, seed=0)
    score = fitted.score(validation.inputs, validation.targets[:, 0], sample_weight=validation.sample_weight)
    assert fitted.validation_scores_[-1] == pytest.approx(score)


# Images.


def test_images_become_rows_for_the_usual_network():
    fitted = classifier().fit(IMAGES, BRIGHT)
    assert fitted.image_shape_ == (6, 6)
    assert fitted.n_features_in_ == 36
    assert fitted.run_.inputs.dtype == "uint8"
    assert fitted.score(IMAGES, BRIGHT) > 0.9
    assert same(fitted, classifier(dtype="float32").fit(IMAGES / np.float32(255), BRIGHT), IMAGES / 255)
    assert np.array_equal(fitted.predict(IMAGES.reshape(60, 36)), fitted.predict(IMAGES))
    assert cross_val_score(fitted, IMAGES, BRIGHT, cv=2).shape == (2,)


def test_images_stay_images_for_a_network_of_images():
    model = xpnet.Sequential(xpnet.Conv2d(1, 2, 3), xpnet.ReLU(), xpnet.GlobalAvgPool2d(), xpnet.Linear(2, 2))
    fitted = classifier(model=model).fit(IMAGES, BRIGHT)
    assert (
        fitted.predict(IMAGES[..., None]).shape == (60,) if IMAGES.ndim == 4 else fitted.predict(IMAGES).shape
    )
    coloured = classifier(model=xpnet.Sequential(xpnet.Conv2d(3, 2, 3), xpnet.Flatten(), xpnet.Linear(72, 2)))
    assert coloured.fit(np.stack([IMAGES] * 3, axis=-1), BRIGHT).image_shape_ == (6, 6, 3)


def test_other_images_than_those_of_training_are_refused():
    fitted = classifier(max_iter=1).fit(IMAGES, BRIGHT)
    with pytest.raises(
        ValueError, match=r"`X` has images of shape \(4, 9\), but the network is trained on \(6, 6\)$"
    ):
        fitted.predict(IMAGES.reshape(60, 4, 9))
    with pytest.raises(ValueError, match="pass images that are stored and scaled in the same way"):
        fitted.predict(IMAGES.astype(float))


@pytest.mark.parametrize(("first", "later"), [(IMAGES, 1.0 * IMAGES), (1.0 * IMAGES, IMAGES / 255)])
def test_later_images_are_to_be_stored_as_the_first_ones(first, later):
    fitted = classifier(warm_start=True, max_iter=1).fit(first, BRIGHT)
    parts = classifier().partial_fit(first, BRIGHT, classes=[0, 1])
    for train in (fitted.fit, fitted.partial_fit, parts.partial_fit):
        train(first, BRIGHT)
        with pytest.raises(ValueError, match=r"^`X` holds float64 .*stored and scaled in the same way$"):
            train(later, BRIGHT)


def test_images_are_refused_by_a_network_of_rows():
    fitted = classifier(warm_start=True).fit(IMAGES.reshape(60, 36), BRIGHT)
    calls = [
        lambda: fitted.predict(IMAGES),
        lambda: fitted.score(IMAGES, BRIGHT),
        lambda: fitted.partial_fit(IMAGES, BRIGHT),
        lambda: fitted.fit(IMAGES, BRIGHT),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"^`X` has images, but the network was trained on rows"):
            call()


def test_rows_of_small_whole_numbers_are_no_pixels():
    rows = RANDOM.integers(0, 3, size=(90, 4), dtype=np.uint8)
    y = (rows[:, 0] > 0).astype(int)
    assert np.array_equal(
        classifier().fit(rows, y).predict(rows), classifier().fit(rows.astype(float), y).predict(rows)
    )


def test_row_far_from_those_of_training_is_predicted():
    assert regressor().fit(X, NUMBER).predict(np.full((1, 4), 1e6)).shape == (1,)


# A network of one's own.


def test_model_may_be_a_function_of_the_numbers_of_features_and_outputs():
    def wide(n_in, n_out):
        return xpnet.Sequential(
            xpnet.Standardize(n_in), xpnet.Linear(n_in, 20), xpnet.Tanh(), xpnet.Linear(20, n_out)
        )

    fitted = classifier(model=wide).fit(100 + X, CLASS)
    assert fitted.run_.model == wide(4, 3)
    assert np.allclose(fitted.run_.params["0.mean"], 100 + X.mean(axis=0))
    assert fitted.score(100 + X, CLASS) > 0.9


def test_model_with_one_output_tells_two_classes_apart():
    fitted = classifier(model=xpnet.Sequential(xpnet.Linear(4, 1))).fit(X, CLASS > 0)
    assert fitted.run_.loss == "sigmoid_cross_entropy"
    assert fitted.predict_proba(X).shape == (90, 2)


def test_inputs_are_standardised_unless_that_is_declined():
    fitted = classifier().fit(X * 1000 + 1e5, CLASS)
    assert fitted.run_.model.layers[0] == xpnet.Standardize(4)
    assert fitted.score(X * 1000 + 1e5, CLASS) > 0.9
    assert classifier(standardize=False, max_iter=1).fit(X, CLASS).run_.model.layers[0] == xpnet.Linear(
        4, 8, "glorot_uniform"
    )


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        ({"hidden_layer_sizes": (5, 6)}, 6),
        ({"hidden_layer_sizes": [5], "activation": "logistic"}, 4),
        ({"hidden_layer_sizes": 5, "activation": "identity"}, 3),
        ({"hidden_layer_sizes": ()}, 2),
        ({"activation": "gelu"}, 4),
    ],
)
def test_sizes_and_activation_make_the_network(options, layers):
    assert len(classifier(max_iter=1, **options).fit(X, CLASS).run_.model.layers) == layers


@pytest.mark.parametrize(
    "optimizer", ["sgd", "adamw", "rmsprop", xpnet.SGD(0.1, momentum=0.9, nesterov=True)]
)
def test_optimizer_is_a_name_or_an_object(optimizer):
    assert classifier(optimizer=optimizer).fit(X, CLASS).score(X, CLASS) > 0.5


def test_rate_may_follow_a_schedule():
    schedule = xpnet.schedules.Cosine(0.05, steps=60)
    fitted = classifier(optimizer=xpnet.AdamW(schedule), tol=0, n_iter_no_change=60).fit(X, CLASS)
    assert fitted.run_.history[-1].lr < fitted.run_.history[0].lr


def test_weight_decay_makes_weights_smaller():
    sizes = [
        np.abs(classifier(weight_decay=decay).fit(X, CLASS).run_.params["1.weight"]).sum()
        for decay in (None, 1.0)
    ]
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_is_that_of_the_inputs_unless_another_is_asked_for(dtype):
    assert regressor(max_iter=1).fit(X.astype(dtype), NUMBER).predict(X).dtype == dtype
    assert regressor(max_iter=1, dtype=dtype).fit(X, NUMBER).predict(X).dtype == dtype


# Randomness.


def test_seed_gives_the_same_bytes():
    first, second = (classifier().fit(X, CLASS) for _ in range(2))
    assert all(np.array_equal(first.run_.params[name], p) for name, p in second.run_.params.items())


def test_random_state_object_and_none_draw_a_seed_each_time():
    state = np.random.RandomState(0)
    first = regressor(random_state=state, max_iter=2).fit(X, NUMBER)
    assert not same(first, regressor(random_state=state, max_iter=2).fit(X, NUMBER))
    assert same(first, regressor(random_state=np.random.RandomState(0), max_iter=2).fit(X, NUMBER))
    np.random.seed(0)  # noqa: NPY002 - scikit-learn's global state
    assert same(first, regressor(random_state=None, max_iter=2).fit(X, NUMBER))


# In parts.


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_parts_that_are_all_of_the_data_are_epochs(backend):
    parts = classifier(backend=backend, batch_size=16)
    for _ in range(5):
        parts.partial_fit(X, NAMES, classes=np.unique(NAMES))
    whole = classifier(backend=backend, batch_size=16, max_iter=5).fit(X, NAMES)
    assert np.allclose(parts.predict_proba(X), whole.predict_proba(X), rtol=1e-9)
    assert parts.n_iter_ == 5


def test_parts_may_lack_classes():
    fitted = classifier()
    for _ in range(20):
        for label in np.unique(NAMES):
            own = label == NAMES
            fitted.partial_fit(X[own], NAMES[own], classes=["left", "middle", "right"])
    assert fitted.score(X, NAMES) > 0.6


def test_weighted_part_may_have_one_class():
    weights = np.linspace(1, 2, 90)
    fitted = classifier().partial_fit(X, CLASS, classes=[0, 1, 2], sample_weight=weights)
    own = CLASS == 1
    assert fitted.partial_fit(X[own], CLASS[own], sample_weight=weights[own]).n_iter_ == 2
    assert fitted.partial_fit(X, CLASS, sample_weight=weights * own).n_iter_ == 3


def test_parts_of_numbers_are_learned_with_their_weights():
    fitted = regressor()
    for begin in range(0, 900, 30):
        part = slice(begin % 90, begin % 90 + 30)
        fitted.partial_fit(X[part], NUMBER[part], sample_weight=np.arange(1, 31))
    assert fitted.score(X, NUMBER) > 0.5


def test_copy_goes_on_with_parts_by_itself():
    first = regressor().partial_fit(X, NUMBER)
    copies = [copy.deepcopy(first), pickle.loads(pickle.dumps(first)), copy.copy(first)]
    before = first.predict(X)
    for twin in copies:
        assert not same(twin.partial_fit(X, NUMBER), first)
    assert np.array_equal(first.predict(X), before)
    assert np.allclose(copies[0].predict(X), copies[1].predict(X))


def test_parts_go_on_after_fit():
    fitted = regressor().fit(X, NUMBER)
    epochs, loss = fitted.n_iter_, fitted.loss_
    assert fitted.partial_fit(X, NUMBER).n_iter_ == epochs + 1
    assert fitted.loss_ < 2 * loss


def test_warm_start_begins_where_the_last_training_ended():
    fitted = classifier(warm_start=True, max_iter=30).fit(X, CLASS)
    loss = fitted.loss_
    assert fitted.fit(X, CLASS).loss_curve_[0] < 1.1 * loss
    assert classifier(max_iter=30).fit(X, CLASS).loss_curve_[0] > 1.5 * loss


def test_first_part_needs_the_classes():
    with pytest.raises(ValueError, match=r"^classes must be passed in the first call to partial_fit"):
        classifier().partial_fit(X, CLASS)
    fitted = classifier().partial_fit(X, CLASS, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="pass the same ones"):
        fitted.partial_fit(X, CLASS, classes=[0, 1])
    with pytest.raises(ValueError, match="unseen labels"):
        fitted.partial_fit(X, CLASS + 1)


# With other parts of scikit-learn.


def test_grid_search_in_processes():
    grid = {"hidden_layer_sizes": [(2,), (8,)], "backend": ["numpy", xpnet.backend("numba")]}
    search = GridSearchCV(classifier(max_iter=5), grid, cv=2, n_jobs=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONWARNINGS", "ignore")
        search.fit(X, NAMES)
    assert search.best_params_.keys() == grid.keys()
    assert search.predict(X).shape == (90,)


def test_pipeline_of_columns_of_a_data_frame():
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"]).assign(colour=np.array(["red", "green"])[CLASS % 2])
    columns = ColumnTransformer(
        [("n", StandardScaler(), ["a", "b"]), ("c", OneHotEncoder(sparse_output=False), ["colour"])]
    )
    model = make_pipeline(columns, classifier()).fit(frame, pd.Series(NAMES))
    assert model.score(frame, NAMES) > 0.9
    assert model[-1].n_features_in_ == 4


def test_names_of_columns_are_kept_and_checked():
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    fitted = classifier(max_iter=1).fit(frame, CLASS)
    assert [*fitted.feature_names_in_] == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(frame[["b", "a", "c", "d"]])
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        fitted.predict(X)


def test_copies_predict_the_same():
    for fitted in (classifier().fit(X, NAMES), regressor().fit(X, NUMBER)):
        file = io.BytesIO()
        joblib.dump(fitted, file)
        file.seek(0)
        for twin in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted), joblib.load(file)):
            assert same(fitted, twin)
        assert not hasattr(clone(fitted), "run_")


def test_another_process_predicts_the_same(tmp_path):
    fitted = classifier(backend="numba", class_weight="balanced").fit(X, NAMES)
    (tmp_path / "model").write_bytes(pickle.dumps((fitted, X, fitted.predict_proba(X))))
    program = (
        "import pickle, sys\n"
        "model, inputs, p = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print((model.predict_proba(inputs) == p).all())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "model"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True\n", done.stderr


def test_run_is_saved_with_the_names_of_its_classes(tmp_path):
    fitted = classifier().fit(X, NAMES)
    fitted.run_.save(tmp_path / "model.safetensors")
    run = xpnet.load(tmp_path / "model.safetensors", xpnet.backend("numpy"))
    assert run.classes == ("left", "middle", "right")
    assert np.array_equal(run.predict(X), fitted.predict(X))


# What is refused.


def test_estimator_that_is_not_fitted_says_so():
    for estimator in (classifier(), regressor()):
        with pytest.raises(NotFittedError, match="instance is not fitted yet"):
            estimator.predict(X)
    with pytest.raises(AttributeError):
        _ = classifier().n_iter_


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"hidden_layer_sizes": (0,)}, "^`hidden_layer_sizes` must be a whole number above 0, got 0$"),
        ({"hidden_layer_sizes": "big"}, "^`hidden_layer_sizes` must be a whole number above 0, got 'big'$"),
        ({"activation": "step"}, "^unknown activation 'step': choose one of "),
        ({"optimizer": "lbfgs"}, "^unknown optimizer 'lbfgs': choose one of sgd, "),
        ({"learning_rate_init": 0}, "^`learning_rate_init` must be a finite number above 0, got 0$"),
        ({"batch_size": "all"}, "^`batch_size` must be a whole number above 0, got 'all'$"),
        ({"max_iter": 0}, "^`max_iter` must be a whole number above 0, got 0$"),
        ({"tol": -1}, "^`tol` must be a finite number, 0 or above, got -1$"),
        ({"n_iter_no_change": 0}, "^`n_iter_no_change` must be a whole number above 0, got 0$"),
        ({"early_stopping": 1}, "^`early_stopping` must be True or False, got 1$"),
        (
            {"early_stopping": True, "validation_fraction": 1},
            r"^`validation_fraction` must be in \(0, 1\), got 1$",
        ),
        ({"dtype": "float16"}, "^`dtype` must be 'float32' or 'float64', got 'float16'$"),
        (
            {"random_state": -1},
            "^`random_state` must be None, a whole number from 0 on or a RandomState, got -1$",
        ),
        ({"loss": "hinge"}, "^unknown loss 'hinge': choose one of "),
        ({"backend": "abacus"}, "^unknown backend 'abacus': choose one of "),
        (
            {"class_weight": "even"},
            '^`class_weight` must be None, "balanced" or a dict by label, got .even.$',
        ),
        (
            {"class_weight": {0: 1, 1: 1, 2: 1, "a": 2}},
            r"^`class_weight` has 'a', which is none of the classes \[0, 1, 2\]$",
        ),
        ({"class_weight": {0: -1}}, "^`class_weight` must be a finite number, 0 or above, got -1$"),
        (
            {"optimizer": xpnet.Adam(), "weight_decay": 0.1},
            "^`weight_decay` is a field of the optimizer; pass it in Adam",
        ),
        ({"weight_decay": -1}, "^`weight_decay` must be a finite number, 0 or above, got -1$"),
        ({"model": xpnet.mlp(3, 3)}, "has 4 features an image, but the model takes 3"),
    ],
)
def test_parameter_that_is_wrong_is_refused_in_one_line(options, text):
    with pytest.raises(ValueError, match=text) as caught:
        classifier(**options).fit(X, CLASS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"model": "cnn"}, "^`model` must be a Sequential or a function of"),
        ({"model": lambda n_in, n_out: None}, r"^`model` must return a Sequential, got None for \(4, 3\)$"),
        ({"optimizer": None}, "^`optimizer` must be an optimizer, got None"),
        (
            {"random_state": "x"},
            "^`random_state` must be None, a whole number from 0 on or a RandomState, got 'x'$",
        ),
    ],
)
def test_parameter_of_another_kind_is_a_type_error(options, text):
    with pytest.raises(TypeError, match=text):
        classifier(**options).fit(X, CLASS)


def test_sparse_inputs_are_refused_with_the_usual_message():
    with pytest.raises(TypeError, match="Sparse data was passed for X, but dense data is required"):
        classifier().fit(csr_array(X), CLASS)


@pytest.mark.parametrize(
    ("y", "weights", "text"),
    [
        (np.zeros(90, int), None, "^`y` has only one class, '0'; pass samples of at least two classes$"),
        (CLASS, np.zeros(90), "^`sample_weight` is zero for every sample"),
        (CLASS, (CLASS == 1).astype(float), "^only one class of `y` has a weight above 0"),
        (CLASS, -np.ones(90), "^`sample_weight` must be finite and not negative"),
        (np.stack([CLASS, CLASS], axis=1), None, "^`y` has several columns of classes; pass one column"),
        (NUMBER, None, "^Unknown label type: continuous"),
    ],
)
def test_data_that_cannot_be_learned_from_are_refused(y, weights, text):
    with pytest.raises(ValueError, match=text):
        classifier().fit(X, y, sample_weight=weights)


def test_missing_scikit_learn_says_what_to_install():
    program = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import xpnet\n"
        "try: import xpnet.sklearn\n"
        "except ImportError as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("the estimators need scikit-learn: ")
    assert done.stdout.endswith("install it with `pip install 'xpnet[sklearn]'`\n")


def test_import_xpnet_does_not_import_scikit_learn():
    program = "import sys, xpnet; print('sklearn' in sys.modules, xpnet.sklearn.XPClassifier.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False XPClassifier\n"
