"""The figures that plots return: what they show, that notebooks show them, and that they are written."""

import dataclasses
import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest

import xpnet
from xpnet import Conv2d, Dataset, Flatten, Linear, MaxPool2d, ReLU, Residual, Sequential, plots

PNG = b"\x89PNG\r\n"
EPOCHS = [xpnet.Epoch(1, 0.5, 0.6, 0.8, 0.1), xpnet.Epoch(2, 0.4, 0.5, 0.9, 0.1)]


def epoch(number, **figures):
    """Return an epoch that has only some figures."""
    return dataclasses.replace(xpnet.Epoch(number, 1 / number, None, None, 0.1), **figures)


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda part: hasattr(part, "get_text"))]


def curves(axes):
    return {line.get_label(): line.get_ydata().tolist() for line in axes.lines}


def fitted(xp, data, model, **options):
    options = {"optimizer": xpnet.SGD(0.01), "epochs": 1, "progress": False} | options
    return xpnet.fit(xp, model, data, **options)


@pytest.fixture
def images():
    """Return 40 images of 9 x 12 pixels with 3 channels, in 4 classes."""
    random = np.random.default_rng(0)
    labels = np.arange(40) % 4
    return Dataset(random.random((40, 9, 12, 3)), labels, classes=["cat", "dog", "$5$", "bird"])


@pytest.fixture
def run(numpy_xp, images):
    return fitted(numpy_xp, images, Sequential(Flatten(), Linear(9 * 12 * 3, 4)))


# Histories


def test_history_has_a_curve_for_each_set():
    history = [epoch(i, test_loss=1.0, test_accuracy=0.5, validation_loss=2.0) for i in (1, 2)]
    losses, accuracies = plots.plot_history(history).axes
    assert curves(losses) == {"training": [1.0, 0.5], "validation": [2.0, 2.0], "test": [1.0, 1.0]}
    assert curves(accuracies) == {"test": [50.0, 50.0]}


def test_accuracies_of_both_sets_are_told_apart():
    history = [epoch(i, validation_accuracy=0.25, test_accuracy=0.5) for i in (1, 2)]
    _, axes = plots.plot_history(history).axes
    assert curves(axes) == {"validation": [25.0, 25.0], "test": [50.0, 50.0]}
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"validation", "test"}


def test_history_without_accuracy_has_one_panel():
    assert len(plots.plot_history([epoch(1, test_loss=1.0)]).axes) == 1
    assert "Training loss: 1 after epoch 1" in texts(plots.plot_history([epoch(1)]))


def test_changing_learning_rate_is_drawn():
    _, axes = plots.plot_history([epoch(1, lr=0.2), epoch(2, lr=0.1)]).axes
    assert axes.lines[0].get_ydata().tolist() == [0.2, 0.1]
    assert axes.get_title() == "Learning rate"
    assert len(plots.plot_history([epoch(1, lr=0.1), epoch(2, lr=0.1)]).axes) == 1


def test_run_plots_its_history_in_the_unit_of_its_loss(run):
    assert "nats per example" in texts(run.plot())


def test_loss_that_falls_below_0_is_drawn_whole():
    assert plots.plot_history([epoch(1, test_loss=-3.0)]).axes[0].get_ylim()[0] < -3


# Confusion matrices


def test_confusion_of_a_run_is_that_of_its_evaluation(run, images):
    assert texts(plots.plot_confusion(run, images)) == texts(plots.plot_confusion(run.evaluate(images)))


def test_correct_answers_are_blue_and_their_counts_black():
    evaluation = xpnet.Evaluation(0.5, 0.75, np.array([[300, 9], [1, 5]]))
    axes = plots.plot_confusion(evaluation).axes[0]
    drawn = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_array_equal(drawn, [[np.nan, 9], [1, np.nan]])
    red, green, blue = axes.get_facecolor()[:3]
    assert red < green < blue < 1
    assert {text.get_text(): text.get_color() for text in axes.texts} == {
        "300": "black",
        "9": "white",
        "1": "black",
        "5": "black",
    }


def test_confusion_of_a_run_needs_a_data_set(run):
    with pytest.raises(
        ValueError, match=r"a run was passed without a `dataset`: pass `plot_confusion\(run, d"
    ):
        plots.plot_confusion(run)


# Mistakes


def test_mistakes_have_true_and_predicted_names_and_probabilities(run, images):
    predicted, probabilities = run.predict(images), run.predict_proba(images)
    wrong = np.flatnonzero(predicted != images.labels)
    first = wrong[np.argmax(probabilities[wrong].max(axis=1))]
    figure = plots.plot_mistakes(run, images, n=10)
    caption = figure.axes[0].get_title().replace("\\", "")
    true, found = (images.classes[labels[first]] for labels in (images.labels, predicted))
    assert caption == f"true: {true}\npredicted: {found} ({probabilities[first].max():.1%})"
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, images.images[first], atol=0.01)  # random numbers that fill [0, 1)
    assert f"{len(wrong)} mistakes in 40 samples; shown are the most probable 10" in texts(figure)
    assert sum(bool(axes.images) for axes in figure.axes) == 10


def test_mistakes_without_probabilities_have_the_order_of_the_data(numpy_xp, images):
    run = fitted(numpy_xp, images, Sequential(Flatten(), Linear(324, 4)), loss="squared_error")
    wrong = np.flatnonzero(run.predict(images) != images.labels)
    figure = plots.plot_mistakes(run, images, n=1)
    assert figure.axes[0].get_title().startswith(f"true: {images.classes[images.labels[wrong[0]]]}\n")
    assert "%" not in figure.axes[0].get_title()


def test_model_without_mistakes_gets_a_figure_that_says_so(run, images):
    right = Dataset(images.images, run.predict(images))
    figure = plots.plot_mistakes(run, right)
    assert texts(figure) == ["0 mistakes in 40 samples"]
    assert figure._repr_png_().startswith(PNG)


def test_rows_of_square_images_are_shown_as_images(numpy_xp):
    data = Dataset(np.eye(64, dtype=np.uint8), np.arange(64) % 2)
    figure = plots.plot_mistakes(fitted(numpy_xp, data, xpnet.mlp(64, 2)), data)
    assert figure.axes[0].images[0].get_array().shape == (8, 8, 3)


def test_tabular_samples_are_no_images(numpy_xp):
    data = Dataset(np.random.default_rng(0).random((6, 30)), np.arange(6) % 2)
    run = fitted(numpy_xp, data, xpnet.mlp(30, 2))
    message = r"rows of 30 features, which cannot be shown as images; .* pass `shape=\(height, width\)`"
    with pytest.raises(ValueError, match=message):
        plots.plot_mistakes(run, data)
    with pytest.raises(ValueError, match=message):
        plots.plot_filters(run)
    assert "0.weight of Linear(30, 2): 2 pictures of 5 x 6" in texts(plots.plot_filters(run, shape=(5, 6)))
    with pytest.raises(
        ValueError, match=r"images of shape \(5, 5, 1\) have 25 features, but samples have 30"
    ):
        plots.plot_filters(run, shape=(5, 5))
    with pytest.raises(ValueError, match=r"`shape` must be \(height, width\) or .*, got \(30,\)"):
        plots.plot_filters(run, shape=30)


def test_images_of_two_channels_cannot_be_shown(numpy_xp, images):
    data = Dataset(images.images[..., :2], images.labels)
    run = fitted(numpy_xp, data, Sequential(Flatten(), Linear(216, 4)))
    with pytest.raises(ValueError, match="images of 2 channels cannot be shown"):
        plots.plot_mistakes(run, data)


@pytest.mark.parametrize("targets", ["names", "one-hot", "other order"])
def test_classes_of_any_kind_can_be_mistaken(numpy_xp, images, targets):
    names, one_hot = np.array(images.classes)[images.labels], np.eye(4)[images.labels]
    data = Dataset(images.inputs, one_hot if targets == "one-hot" else names)
    run = fitted(numpy_xp, data, Sequential(Flatten(), Linear(324, 4)), seed=3)
    other = (
        data if targets != "other order" else Dataset(images.inputs, images.labels, classes=images.classes)
    )
    wrong = round((1 - run.evaluate(other).accuracy) * 40)
    assert wrong > 0
    figure = plots.plot_mistakes(run, other, n=40)
    assert f"{wrong} mistakes in 40 samples" in texts(figure)
    captions = [axes.get_title() for axes in figure.axes if axes.images]
    assert len(captions) == wrong
    if targets != "one-hot":
        assert re.match(
            r"true: (cat|dog|\\\$5\\\$|bird)\npredicted: (cat|dog|\\\$5\\\$|bird) \(", captions[0]
        )


def test_values_have_neither_mistakes_nor_a_confusion_matrix(numpy_xp):
    data = Dataset(np.random.default_rng(0).random((20, 64)), np.linspace(0, 1, 20))
    run = fitted(numpy_xp, data, xpnet.mlp(64, 1), loss="squared_error", test=data)
    assert len(run.plot().axes) == 1
    assert "squared error per output" in texts(run.plot())
    with pytest.raises(ValueError, match="this run predicts values; only predicted classes can be mistakes"):
        plots.plot_mistakes(run, data)
    with pytest.raises(ValueError, match="only predictions of classes have a confusion matrix; this evaluat"):
        plots.plot_confusion(run, data)


# Filters


def filters(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


def test_filters_of_a_linear_layer_are_maps_of_the_images(run):
    weight = run.params["1.weight"].reshape(9, 12, 3, 4)
    figure = plots.plot_filters(run)
    found = filters(figure)
    assert len(found) == 12
    np.testing.assert_array_equal(found[4], weight[:, :, 1, 1])
    assert figure.axes[4].get_title() == "1, channel 1"
    assert "1.weight of Linear(324, 4): 12 pictures of 9 x 12" in texts(figure)


def test_filters_of_a_convolution_are_its_kernels(backend):
    model = Sequential(Residual(ReLU()), Sequential(Conv2d(2, 5, (3, 4)), ReLU()), Flatten())
    params = model.init(backend, 0)
    figure = plots.plot_filters(model, {name: backend.to_host(p) for name, p in params.items()}, n=7)
    np.testing.assert_array_equal(filters(figure)[3], backend.to_host(params["1.0.weight"])[:, :, 1, 1])
    assert "1.0.weight of Conv2d(2, 5, (3, 4)): first 7 of 10 pictures of 3 x 4" in texts(figure)


def test_filters_behind_pooling_are_maps_of_what_enters_them(numpy_xp):
    model = Sequential(xpnet.Unflatten(6, 4), MaxPool2d(2), Flatten(), Linear(6, 5))
    found = filters(plots.plot_filters(model, model.init(numpy_xp, 0)))
    assert [image.shape for image in found] == [(3, 2)] * 5


def test_colours_of_filters_are_white_at_0(run):
    image = plots.plot_filters(run).axes[0].images[0]
    assert image.norm.vmin == -image.norm.vmax
    assert image.cmap(0.5)[:3] == pytest.approx((1, 1, 1), abs=0.05)


@dataclasses.dataclass(frozen=True)
class Bias:
    """A layer of one's own whose weight is a row."""

    n: int

    @property
    def shapes(self):
        return {"weight": (self.n,)}

    def init(self, xp, seed, *, dtype="float32"):
        return {"weight": xp.zeros((self.n,), dtype=getattr(xp, dtype))}

    def __call__(self, xp, params, x, *, stream=None):
        raise NotImplementedError


def test_filters_are_refused_where_there_are_none(numpy_xp):
    model = Sequential(ReLU(), xpnet.BatchNorm(4))
    with pytest.raises(ValueError, match="the model has no layer with a `weight`, so there are no filters"):
        plots.plot_filters(model, model.init(numpy_xp, 0))
    with pytest.raises(ValueError, match=r"pass `plot_filters\(model, params\)`, or a run"):
        plots.plot_filters(model)
    own = Sequential(Bias(4))
    with pytest.raises(
        ValueError, match=r"`0.weight` has shape \(4,\), which is no linear layer and no conv"
    ):
        plots.plot_filters(own, own.init(numpy_xp, 0))


# Showing and writing


def test_every_figure_is_shown_by_a_notebook_and_written(run, images, tmp_path):
    from matplotlib.figure import Figure

    draws = {
        "history": run.plot,
        "confusion": lambda **save: plots.plot_confusion(run, images, **save),
        "mistakes": lambda **save: plots.plot_mistakes(run, images, **save),
        "filters": lambda **save: plots.plot_filters(run, **save),
    }
    for name, draw in draws.items():
        path = tmp_path / f"{name}.png"
        figure = draw(save=path)
        assert isinstance(figure, Figure)
        assert path.read_bytes().startswith(PNG)
        assert figure._repr_png_().startswith(PNG)
        assert pickle.loads(pickle.dumps(figure))._repr_png_().startswith(PNG)
        with pytest.raises(ValueError, match=r"cannot draw 'x.xyz': its suffix is 'xyz'; choose one of"):
            draw(save="x.xyz")


def test_display_of_ipython_gets_a_picture():
    formatters = pytest.importorskip("IPython.core.formatters")
    found, _ = formatters.DisplayFormatter().format(plots.plot_history(EPOCHS))
    assert found["image/png"].startswith(PNG)


def test_figures_open_no_window_and_need_no_pyplot():
    program = (
        "import sys, xpnet; from xpnet import plots\n"
        "plots.plot_history([xpnet.Epoch(1, 0.5, 0.6, 0.8, 0.1)])._repr_png_()\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    environment = os.environ | {"MPLBACKEND": "TkAgg"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert re.fullmatch("False", done.stdout.strip())
