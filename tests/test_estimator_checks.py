"""scikit-learn's own suite for estimators; array-API arrays need a variable set before SciPy is imported."""

import os
import subprocess
import sys
import unittest

import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import estimator_checks_generator

import xpnet
from xpnet.sklearn import XPClassifier, XPRegressor

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"
)

ESTIMATORS = [
    XPClassifier(backend="numpy", early_stopping=True, max_iter=50),
    XPClassifier(backend="numpy", class_weight="balanced", max_iter=50),
    XPClassifier(backend="numba", max_iter=50),
    XPRegressor(backend="numpy", max_iter=50, standardize=False, dtype="float64"),
    XPRegressor(backend="numba", early_stopping=True, max_iter=50),
]


# Not by `parametrize_with_checks`, whose generators pytest 9 refuses in scikit-learn 1.7.
CASES = [
    pytest.param(estimator, check, id=f"{estimator!r}-{check.func.__name__}-{number}")
    for given in ESTIMATORS
    for number, (estimator, check) in enumerate(estimator_checks_generator(given))
    if "array_api" not in check.func.__name__
]


@pytest.mark.parametrize(("estimator", "check"), CASES)
def test_estimator_passes_the_suite_of_scikit_learn(estimator, check):
    try:
        check(estimator)
    except unittest.SkipTest as e:
        pytest.skip(str(e))


ARRAY_API = """
import unittest, warnings
from sklearn.utils.estimator_checks import estimator_checks_generator
from xpnet.sklearn import XPClassifier, XPRegressor

warnings.simplefilter("ignore")
for kind in (XPClassifier, XPRegressor):
    ran = 0
    for estimator, check in estimator_checks_generator(kind(max_iter=5)):
        if "array_api" in str(check):
            try:
                check(estimator)
                ran += 1
            except unittest.SkipTest:  # of a library that is not installed
                pass
    print(ran > 1)
"""


def test_estimators_pass_the_array_api_checks():
    done = subprocess.run(
        [sys.executable, "-c", ARRAY_API],
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True\n" * 2, done.stdout + done.stderr


ON_A_GPU = """
import cupy, sklearn
from xpnet.sklearn import XPClassifier

sklearn.set_config(array_api_dispatch=True)
inputs = cupy.random.default_rng(0).normal(size=(200, 4))
labels = (inputs[:, 0] > 0).astype("int64")
fitted = XPClassifier(backend="cupy", learning_rate_init=0.01, random_state=0).fit(inputs, labels)
print(type(fitted.predict(inputs)) is type(fitted.predict_proba(inputs)) is cupy.ndarray)
print(fitted.score(inputs, labels) > 0.9)
"""


@pytest.mark.gpu
def test_predictions_of_arrays_on_a_gpu_are_there_too():
    try:
        xpnet.backend("cupy")
    except xpnet.BackendUnavailableError as e:
        pytest.skip(str(e))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ON_A_GPU],
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True\n" * 2, done.stdout + done.stderr
