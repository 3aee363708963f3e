"""The lessons reproduce the course's results on every namespace."""

import inspect
import itertools
import json
import pathlib
import re

import numpy as np
import pytest

import xpnet
from xpnet import plots
from xpnet.lessons import LESSONS, cnn, deep, find_lesson, mnist_softmax
from xpnet.lessons.pace import Pace

NAMES = ("w1", "w2", "w3", "w4", "w5", "w6", "b1", "b2", "b3")


def run(xp, name, **options):
    lines = []
    figures = find_lesson(name).run(xp, say=lines.append, **options)
    assert lines
    return figures


def test_sigmoid_is_a_half_at_zero(xp64):
    figures = run(xp64, "sigmoid")
    assert figures["output"] == 0.5
    x, y, slope = (np.array(figures[name]) for name in ("x", "y", "slope"))
    np.testing.assert_allclose(x, np.linspace(-10, 10, 100), atol=1e-14)
    np.testing.assert_allclose(y, 1 / (1 + np.exp(-x)), rtol=1e-14)
    np.testing.assert_allclose(slope, np.gradient(y, x), atol=2e-3)


def test_neuron(xp64):
    assert run(xp64, "neuron")["output"] == 0.9990889488055994


def test_feedforward(xp64):
    figures = run(xp64, "feedforward")
    assert figures["output"] == pytest.approx(0.7216325609518421, abs=1e-16)
    assert round(figures["h"], 4) == 0.9526


def test_loss(xp64):
    figures = run(xp64, "loss")
    assert figures["loss"] == 0.5
    y, p = np.array([1, 0, 0, 1]), np.array([0.9, 0.2, 0.1, 0.6])
    expected = -np.log(np.where(y == 1, p, 1 - p)).mean()
    assert figures["binary_cross_entropy"] == pytest.approx(expected, rel=1e-14)
    assert figures["categorical_cross_entropy"] == pytest.approx(-np.log([0.7, 0.1]).mean(), rel=1e-14)


def test_chain_rule(xp64):
    figures = run(xp64, "chain-rule")
    # The course rounds y_hat to 0.524 in between, hence its last digits.
    assert figures["dL_dy_hat"] == pytest.approx(-0.952, abs=1e-3)
    assert figures["dy_hat_dh1"] == pytest.approx(0.249, abs=1e-3)
    assert figures["dh1_dw1"] == pytest.approx(-0.0904, abs=1e-4)
    assert figures["dL_dw1"] == pytest.approx(0.0214, abs=1e-4)
    assert figures["pullback"] == pytest.approx(figures["dL_dw1"], rel=1e-13)
    assert figures["finite_difference"] == pytest.approx(figures["dL_dw1"], rel=1e-8)


def test_gradient_descent(xp64):
    figures = run(xp64, "gradient-descent", iterations=20)
    assert tuple(figures["gradient"]) == NAMES
    for name in NAMES:
        assert figures["gradient"][name] == pytest.approx(figures["finite_differences"][name], abs=1e-9)
    assert len(figures["loss"]) == 21
    assert all(np.diff(figures["loss"]) < 0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_full_network(backend, seed):
    figures = run(backend, "full-network", seed=seed)
    assert figures["emily"] == pytest.approx(0.95, abs=0.02)
    assert figures["frank"] == pytest.approx(0.04, abs=0.01)
    assert len(figures["loss"]) == 100
    assert figures["loss"][-1] < 0.01 < figures["loss"][0]


def test_first_network(backend):
    figures = run(backend, "first-network")
    assert figures["accuracy"] >= 0.96
    assert figures["first_five"] == [7, 2, 1, 0, 4]


@pytest.mark.parametrize(
    ("name", "iterations", "accuracy"),
    [("mnist-zero", 100, 0.985), ("mnist-zero-hidden", 40, 0.95), ("mnist-softmax", 60, 0.55)],
)
def test_full_batch_lessons_learn(backend, name, iterations, accuracy):
    figures = run(backend, name, iterations=iterations)
    assert figures["accuracy"] >= accuracy
    assert figures["cost"][-1] < figures["cost"][0] / 2
    confusion = np.array(figures["confusion"])
    assert confusion.sum() == 10000
    assert np.trace(confusion) / 10000 == pytest.approx(figures["accuracy"])
    # Rows are the true classes: 980 of the test digits are zeros.
    assert confusion.sum(axis=1)[-1 if len(confusion) == 2 else 0] == 980
    assert len(figures["mistakes"]) == confusion.sum() - np.trace(confusion)


def test_mnist_improved(backend):
    figures = run(backend, "mnist-improved", epochs=2)
    assert figures["accuracy"] >= 0.96
    assert np.array(figures["confusion"]).sum(axis=1)[0] == 980  # rows are the true classes
    final = {name: costs[-1] for name, costs in figures["test_cost"].items()}
    assert min(final, key=final.get) == "all three"
    assert set(final) == {"all three", "no mini-batches", "no momentum", "variance 1"}


def test_gradients_vanish_with_the_sigmoid_and_not_with_relu(backend, mnist):
    train, _ = mnist
    relu, sigmoid = (
        deep.gradient_sizes(backend, deep.network(name, 4), train[:1000], 138) for name in ("relu", "sigmoid")
    )
    assert len(relu) == len(sigmoid) == 5
    assert max(relu[:4]) < 2 * min(relu[:4])
    assert all(first < second / 2 for first, second in itertools.pairwise(sigmoid))


def test_deep_relu_network_reaches_the_accuracy_that_the_page_names(mnist):
    from conftest import make_namespace

    page = pathlib.Path(deep.__file__).with_name("README.md").read_text(encoding="utf-8")
    low, high = map(float, re.search(r"([\d.]+) to ([\d.]+) % with four layers of ReLU", page).groups())

    network = deep.network("relu", 4)
    accuracy = deep.learn(make_namespace("numba"), network, *mnist, deep.RATES["relu"], epochs=9, seed=138)
    assert low <= round(100 * accuracy, 2) <= high


def test_edges_are_the_sums_of_the_filter(numpy_xp, mnist):
    digit = mnist[1].images[0].reshape(28, 28) / np.float32(255)
    lines = []
    figures = cnn.find_edges(numpy_xp, digit, lines.append)
    weight = np.array([[-1, 0, 1]] * 3)
    windows = np.lib.stride_tricks.sliding_window_view(digit, (3, 3))
    np.testing.assert_allclose(figures["vertical"], (windows * weight).sum(axis=(2, 3)), atol=1e-6)
    np.testing.assert_allclose(figures["horizontal"], (windows * weight.T).sum(axis=(2, 3)), atol=1e-6)


def test_digit_and_its_edges_are_shown_as_characters(numpy_xp, mnist):
    lines = []
    cnn.find_edges(numpy_xp, mnist[1].images[0].reshape(28, 28) / np.float32(255), lines.append)
    shown = lines[1].splitlines()
    assert len(shown) == 22
    assert shown[5] == "   %@@@@@#########:        +#             -=-         -- +###########+"
    assert max(map(len, shown)) <= 72
    assert all(line.isascii() for line in lines)


def test_shapes_are_shown_on_small_numbers(numpy_xp):
    lines = []
    cnn.show_shapes(numpy_xp, lines.append)
    shown = {name: rows for _, name, rows in (line.split("\n", 2) for line in lines)}
    assert shown['padding "valid", stride 2'] == "[[0 2]\n [2 1]]"
    assert shown['padding "valid", then the largest of each 2 x 2'] == "[[2 2]\n [2 1]]"
    assert [len(rows.splitlines()) for rows in shown.values()] == [6, 4, 6, 2, 2]


def test_moved_images_come_after_those_that_stay(mnist):
    few = mnist[0][:3]
    images = cnn.moved(few).images.reshape(5, 3, 28, 28)
    still = few.images.reshape(3, 28, 28)
    np.testing.assert_array_equal(images[0], still)
    np.testing.assert_array_equal(images[1, :, 1:], still[:, :-1])  # down
    np.testing.assert_array_equal(images[2, :, :-1], still[:, 1:])  # up
    np.testing.assert_array_equal(images[3, :, :, 1:], still[:, :, :-1])  # right
    np.testing.assert_array_equal(images[4, :, :, :-1], still[:, :, 1:])  # left
    assert (images[1, :, 0] == 0).all()
    np.testing.assert_array_equal(cnn.moved(few).labels, [*few.labels] * 5)


def test_cnn_learns_from_few_images(backend):
    lines = []
    figures = cnn.run(backend, epochs=3, limit=1000, say=lines.append)
    assert figures["accuracy"] >= 0.9
    assert len(figures["mistakes"]) == round(10000 * (1 - figures["accuracy"]))
    assert all(label != predicted for _, label, predicted in figures["mistakes"])
    assert lines[-1] == f"test accuracy {figures['accuracy']:.2%}, {len(figures['mistakes'])} mistakes"
    assert [line.split()[2] for line in lines[-4:-1]] == ["0.5", "0.5", "0.05"]
    shapes = {name: np.shape(figures[name]) for name in ("filters", "mistaken")}
    assert shapes == {"filters": (6, 5, 5), "mistaken": (16, 28, 28)}
    assert [np.shape(seen) for seen in figures["seen"]] == [(6, 28, 28), (16, 10, 10)]
    assert json.loads(json.dumps(figures)) == figures


def test_cnn_reaches_the_accuracy_that_the_page_names(mnist):
    from conftest import make_namespace

    page = pathlib.Path(cnn.__file__).with_name("README.md").read_text(encoding="utf-8")
    low, high = map(float, re.search(r"\| ([\d.]+) to ([\d.]+) %, by seed", page).groups())
    figures = run(make_namespace("numba"), "cnn")
    assert low <= round(100 * figures["accuracy"], 1) <= high


@pytest.mark.parametrize("name", LESSONS)
def test_every_lesson_runs_under_the_strict_checker(name):
    from conftest import make_namespace

    few = {"epochs": 1, "iterations": 2, "limit": 300}
    keywords = inspect.signature(find_lesson(name).run).parameters
    run(make_namespace("strict"), name, **{key: value for key, value in few.items() if key in keywords})


@pytest.mark.parametrize("name", LESSONS)
def test_every_lesson_has_a_picture_with_a_title(numpy_xp, name):
    few = {"epochs": 1, "iterations": 2, "limit": 300}
    keywords = inspect.signature(find_lesson(name).run).parameters
    figures = run(numpy_xp, name, **{key: value for key, value in few.items() if key in keywords})
    figure = plots.drawn(find_lesson(name).draw, json.loads(json.dumps(figures)))
    assert any(axes.get_title() for axes in figure.axes)
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_confusion_matrix_of_a_lesson_colours_right_answers_and_has_the_truth_in_rows():
    counts = np.diag([90] * 10)
    counts[4, 9] = 7  # fours, read as nines
    figures = {"confusion": counts.tolist(), "accuracy": 0.99, "mistakes": [], "mistaken": []}
    axes, *_ = plots.drawn(mnist_softmax.draw, figures).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert ("7", (9, 4)) in [(text.get_text(), text.get_position()) for text in axes.texts]
    assert min(axes.get_facecolor()[:3]) < 0.8  # is behind the right answers
    assert np.isnan(np.ma.filled(axes.images[0].get_array(), np.nan).diagonal()).all()


def test_pace_tells_every_hundredth_of_two_thousand_iterations(numpy_xp):
    pace = Pace(numpy_xp, 2000, lambda line: None)
    for i in pace:
        pace.tell(i, numpy_xp.zeros(()))
    assert pace.told == [*range(0, 2000, 100), 1999]


@pytest.mark.parametrize("name", LESSONS)
def test_no_lesson_is_longer_than_two_screens(name):
    source = pathlib.Path(find_lesson(name).__file__).read_text(encoding="utf-8")
    assert source.count("\n") <= 120


def test_every_lesson_is_listed_once():
    folder = pathlib.Path(deep.__file__).parent
    modules = {path.stem.replace("_", "-") for path in folder.glob("*.py")}
    assert set(LESSONS) == modules - {"--init--", "catalogue", "pace"}


def test_unknown_lesson_names_the_nearest_first():
    with pytest.raises(ValueError, match=r"unknown lesson 'nuron': choose one of neuron, .*deep"):
        find_lesson("nuron")


@pytest.mark.parametrize("name", ["first-network", "mnist-improved"])
def test_return_value_of_say_does_not_stop_a_lesson(numpy_xp, name):
    lines = []

    def say(line):
        lines.append(line)
        return len(line)

    find_lesson(name).run(numpy_xp, say=say, epochs=2, limit=100)
    assert sum(line.startswith("epoch 2") for line in lines) == (1 if name == "first-network" else 4)


@pytest.mark.parametrize("name", ["chain-rule", "loss", "sigmoid", "gradient-descent"])
def test_calls_in_a_lesson_are_checked(name):
    def returned(function):
        return lambda *args, **kwargs: None

    broken = {key: returned(key) for key in ("relu", "sigmoid", "linear", "sigmoid_cross_entropy")}
    broken |= {"softmax_cross_entropy": returned("softmax_cross_entropy")}
    with pytest.raises((TypeError, ValueError), match=r"^nn\.\w+: .*result"):
        run(xpnet.Namespace("broken", np, fused=broken), name)
