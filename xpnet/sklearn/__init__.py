"""Estimators for scikit-learn: `XPClassifier` and `XPRegressor`."""

try:
    import sklearn  # noqa: F401
except ImportError as e:
    raise ImportError(
        f"the estimators need scikit-learn: {e}; install it with `pip install 'xpnet[sklearn]'`"
    ) from e

from xpnet.sklearn.classifier import XPClassifier
from xpnet.sklearn.regressor import XPRegressor

__all__ = ["XPClassifier", "XPRegressor"]
