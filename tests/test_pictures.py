"""Images as characters and as pictures."""

import numpy as np
import pytest

from xpnet import pictures


@pytest.fixture
def figure():
    from matplotlib.figure import Figure

    return Figure(layout="constrained")


def shown(figure):
    """Return the panels that show an image."""
    return [axes.images[0] for axes in figure.axes if axes.images]


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (1, 4), (5, 3), (6, 6), (7, 2), (16, 8)])
def test_every_image_has_a_panel_and_other_panels_are_empty(figure, n, columns):
    images = [np.full((3, 2), i) for i in range(n)]
    pictures.draw_images(figure, images, "title", columns=columns)
    assert [float(panel.get_array()[0, 0]) for panel in shown(figure)] == list(range(n))
    assert len(figure.axes) == -(-n // columns) * columns
    assert not any(axes.axison for axes in figure.axes)


def test_images_share_one_scale(figure):
    pictures.draw_images(figure, [[[1.0]], [[4.0]], [[0.0]]], "title", columns=2, bar="output")
    assert {panel.get_clim() for panel in shown(figure)} == {(0.0, 4.0)}


def test_zero_is_the_middle_of_numbers_with_a_sign(figure):
    pictures.draw_images(figure, [[[1.0, -3.0]]], "title", columns=1, signed=True, bar="weight")
    assert shown(figure)[0].get_clim() == (-3.0, 3.0)
    assert figure.axes[-1].get_ylabel() == "weight"


def test_images_of_zeros_are_drawn(figure):
    pictures.draw_images(figure, [np.zeros((2, 2))], "title", columns=1, signed=True, bar="weight")
    figure.canvas.draw()
    assert shown(figure)[0].get_clim() == (-1.0, 1.0)


def test_captions_are_above_the_first_images(figure):
    pictures.draw_images(figure, [[[1.0]]] * 3, "title", columns=2, captions=["a", "b"])
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "", ""]


def test_text_of_an_image_is_darker_where_it_is_brighter():
    assert pictures.as_text([[0, 255], [1, 128], [-3, 255]]) == [" @", ".+", " @"]


def test_text_of_a_signed_image_shows_signs_and_large_magnitudes():
    assert pictures.as_text([[4.0, 1.0, 0.1], [-4.0, -1.0, 0.0]], signed=True) == ["#+ ", "=- "]


def test_text_of_an_image_of_zeros_is_blank():
    assert pictures.as_text(np.zeros((1, 3))) == pictures.as_text(np.zeros((1, 3)), signed=True) == ["   "]


def test_texts_stand_side_by_side():
    assert pictures.side_by_side(["ab", "c "], ["1", " "]) == "ab   1\nc"
