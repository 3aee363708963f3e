"""Real data sets with each kind of target, against scikit-learn's networks with the same settings."""

import warnings

import numpy as np
import pytest
from sklearn import datasets
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPClassifier, MLPRegressor

import xpnet
from xpnet import Dataset, Linear, ReLU, Sequential, Standardize

HIDDEN, BATCH, FOLDS = 32, 32, 5
STEPS = 800  # about so many in each training, so that both have learned
POINT = 0.01


def names(data):
    return np.array(data.target_names)[data.target].astype(str)


def one_hot(data):
    return np.eye(10)[data.target]


def several(data):
    """Return for each digit whether it is even, whether it is above 4, and whether it is 3."""
    return np.stack([data.target % 2 == 0, data.target > 4, data.target == 3], axis=1)


def standard(data):
    return (data.target - data.target.mean()) / data.target.std()


CASES = {
    "labels of digits": (datasets.load_digits, lambda data: data.target, 10, "softmax_cross_entropy"),
    "one-hot digits": (datasets.load_digits, one_hot, 10, "softmax_cross_entropy"),
    "several labels of digits": (datasets.load_digits, several, 3, "sigmoid_cross_entropy"),
    "names of wines": (datasets.load_wine, names, 3, "softmax_cross_entropy"),
    "names of two tumours": (datasets.load_breast_cancer, names, 2, "softmax_cross_entropy"),
    "one output for two tumours": (
        datasets.load_breast_cancer,
        lambda data: data.target,
        1,
        "sigmoid_cross_entropy",
    ),
    "progression of diabetes": (datasets.load_diabetes, standard, 1, "squared_error"),
}


def theirs(inputs, targets, test, epochs, *, values):
    kind = MLPRegressor if values else MLPClassifier
    options = {"alpha": 0, "tol": 0, "n_iter_no_change": epochs, "random_state": 0}
    network = kind(hidden_layer_sizes=(HIDDEN,), batch_size=BATCH, max_iter=epochs, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It has not converged.
        return network.fit(inputs, targets).predict(test)


def ours(xp, inputs, targets, test, epochs, outputs, loss):
    features = inputs.shape[1]
    model = Sequential(
        Standardize(features), Linear(features, HIDDEN, "he_normal"), ReLU(), Linear(HIDDEN, outputs)
    )
    options = {"epochs": epochs, "batch_size": BATCH, "loss": loss, "progress": False}
    run = xpnet.fit(xp, model, Dataset(inputs, targets), optimizer=xpnet.Adam(), **options)
    assert run.report == ""
    found = run.predict(test)
    return np.eye(outputs)[found] if targets.ndim == 2 and loss == "softmax_cross_entropy" else found


@pytest.mark.parametrize("case", CASES)
def test_real_data_are_learned_as_well(backend, case):
    load, make_targets, outputs, loss = CASES[case]
    data = load()
    inputs, targets = data.data.astype("float32"), make_targets(data)
    values = loss == "squared_error"
    epochs = max(40, STEPS * BATCH // len(inputs))
    score = r2_score if values else accuracy_score
    scores = []
    for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(inputs):
        mean, deviation = inputs[train].mean(axis=0), inputs[train].std(axis=0)
        scaled = (inputs - mean) / np.where(deviation > 0, deviation, 1)
        mine = ours(backend, inputs[train], targets[train], inputs[test], epochs, outputs, loss)
        other = theirs(scaled[train], targets[train], scaled[test], epochs, values=values)
        scores.append([score(targets[test], predicted) for predicted in (mine, other)])
    mine, other = np.mean(scores, axis=0)
    assert mine >= other - POINT
