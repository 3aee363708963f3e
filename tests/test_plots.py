"""The plots of a training and of an evaluation: how they label what they show."""

import re

import numpy as np
import pytest

from xpnet import Epoch, Evaluation, plots
from xpnet.losses import LOSSES

EPOCHS = [Epoch(1, 0.5, 0.6, 0.8, 0.1), Epoch(2, 0.4, 0.5, 0.9, 0.1)]


@pytest.fixture
def drawn(tmp_path):
    def draw(**options):
        import matplotlib

        # Keeps text as text, not as outlines of its letters.
        with matplotlib.rc_context({"svg.fonttype": "none"}):
            plots.history(EPOCHS, tmp_path / "picture.svg", **options)
        return (tmp_path / "picture.svg").read_text(encoding="utf-8")

    return draw


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_axis_has_the_unit_of_the_loss(drawn, loss):
    picture = drawn(loss=loss)
    assert LOSSES[loss].unit in picture
    assert ("nats" in picture) == loss.endswith("cross_entropy")


def test_loss_axis_of_an_unknown_loss_names_no_unit(drawn):
    assert "nats" not in drawn()


def test_unknown_loss_is_refused(drawn):
    with pytest.raises(ValueError, match="unknown loss 'hinge': choose one of softmax_cross_entropy"):
        drawn(loss="hinge")


@pytest.fixture
def confusion(tmp_path):
    def draw(counts, classes=None):
        import matplotlib

        counts = np.array(counts)
        evaluation = Evaluation(0.5, np.trace(counts) / counts.sum(), counts, classes)
        with matplotlib.rc_context({"svg.fonttype": "none"}):
            plots.confusion(evaluation, tmp_path / "confusion.svg")
        picture = (tmp_path / "confusion.svg").read_text(encoding="utf-8")
        return re.findall(r"<text [^>]*>([^<]*)</text>", picture)

    return draw


def test_confusion_has_the_names_of_the_classes_at_both_axes(confusion):
    texts = confusion([[40, 2], [3, 15]], ("cat", "$5 bills$"))
    assert texts.count("cat") == texts.count("$5 bills$") == 2
    assert {"40", "15", "Test accuracy 91.67%", "true class", "predicted class"} < {*texts}


def test_confusion_without_names_has_numbers(confusion):
    assert {"0", "1", "20", "30"} < {*confusion([[20, 0], [0, 30]])}


def test_confusion_of_many_classes_has_no_counts_and_few_labels(confusion):
    texts = confusion(np.full((100, 100), 77777), tuple(f"class {i}" for i in range(100)))
    assert "77777" not in texts
    assert texts.count("class 3") == 2
    assert "class 4" not in texts
