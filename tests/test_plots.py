"""The plot of a training: how it labels its losses."""

import pytest

from xpnet import Epoch, plots
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
