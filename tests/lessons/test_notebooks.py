"""The notebooks of the course are what their sources make of them, and run as they are shown."""

import inspect
import json
import os
import pathlib
import re

import chunks
import formulas
import make_notebooks
import nbformat
import pytest

from xpnet.lessons import LESSONS, find_lesson

# An event loop of Jupyter's own, and how it finds its folders.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
MOST_BYTES = 300_000
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?")


def committed(name):
    return nbformat.read(make_notebooks.path_of(name), as_version=4)


@pytest.fixture(scope="module", params=LESSONS)
def pair(request):
    """Return the name of a lesson, its notebook as committed, and as it is made and executed now."""
    os.environ.pop("XPNET_BACKEND", None)
    return request.param, committed(request.param), make_notebooks.build(request.param)


def tolerance(name):
    """Return how much numbers may differ: rounding in trainings on images depends on the machine."""
    is_training = "limit" in inspect.signature(find_lesson(name).run).parameters
    return {"rel": 0.1, "abs": 0.03} if is_training else {"rel": 1e-6, "abs": 1.1e-3}


def assert_same_text(found, expected, **tolerance):
    assert NUMBER.sub("#", found) == NUMBER.sub("#", expected)
    numbers = ([float(number) for number in NUMBER.findall(text)] for text in (found, expected))
    assert next(numbers) == pytest.approx(next(numbers), **tolerance)


def is_solution(cell):
    return cell.cell_type == "markdown" and cell.source.startswith("<details>")


def test_notebook_is_made_of_its_sources_and_prints_what_it_says(pair):
    name, expected, found = pair
    assert [cell.cell_type for cell in found.cells] == [cell.cell_type for cell in expected.cells]
    for now, then in zip(found.cells, expected.cells, strict=True):
        if is_solution(now):
            assert_same_text(now.source, then.source, **tolerance(name))
            continue
        assert now.source == then.source, f"run `python course/make_notebooks.py {name}`"
        if now.cell_type == "code":
            outputs = (make_notebooks.outputs.printed(cell) for cell in (now, then))
            assert_same_text(*(re.sub(" +", " ", text) for text in outputs), **tolerance(name))


def test_notebook_shows_no_error_and_as_many_pictures_as_it_says(pair):
    _, expected, found = pair
    kinds = [
        [(o.output_type, *o.get("data", {})) for cell in notebook.cells for o in cell.get("outputs", ())]
        for notebook in (expected, found)
    ]
    assert kinds[0] == kinds[1]
    assert not any(kind in ("error", "stderr") for kind, *_ in kinds[0])
    assert any("image/png" in kind for kind in kinds[0])


@pytest.mark.parametrize("name", LESSONS)
def test_notebook_is_small_and_names_no_place_of_a_machine(name):
    text = make_notebooks.path_of(name).read_text(encoding="utf-8")
    assert len(text) < MOST_BYTES
    for place in (str(pathlib.Path(__file__).parents[2]), "/home/", "/root/", "/tmp/", " to go"):
        assert place not in text


@pytest.mark.parametrize("name", LESSONS)
def test_notebook_ends_with_an_exercise_whose_solution_is_hidden(name):
    *_, exercise, solution = committed(name).cells
    assert exercise.source.startswith("## Exercise\n")
    assert re.fullmatch(
        r"<details>\n<summary>Solution</summary>\n\n```python\n.*</details>", solution.source, re.S
    )


@pytest.mark.parametrize("name", LESSONS)
def test_every_picture_of_a_notebook_is_described_in_words(name):
    for cell in committed(name).cells:
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", ())):
            assert len(cell.metadata["alt"]) > 20


@pytest.mark.parametrize("name", LESSONS)
def test_every_formula_of_a_lesson_can_be_drawn(name):
    from matplotlib.mathtext import MathTextParser

    for cell in committed(name).cells:
        if cell.cell_type == "markdown":
            for formula in re.findall(r"\$\$(.*?)\$\$|\$([^$]+)\$", cell.source, re.DOTALL):
                lines = re.sub(r"\\(begin|end)\{aligned\}", "", "".join(formula)).replace(
                    r"\text", r"\mathrm"
                )
                for part in re.split(r"\\\\\[0.5em\]\n|&", lines.replace(r"\top", "T")):
                    MathTextParser("agg").parse(f"${part.strip() or 'x'}$")


@pytest.mark.parametrize(
    ("formula", "latex"),
    [
        ("dL/dw1 = x1 f'(z)", r"\frac{\partial L}{\partial w_{1}} = x_{1} f'(z)"),
        ("f(x) = 1 / (1 + exp(-x))", r"f(x) = \frac{1}{1 + e^{- x}}"),
        ("(1/n) sum (y - y_hat)**2", r"\frac{1}{n} \sum (y - \hat{y})^{2}"),
        ("x^T dJ/dz", r"x^\top \frac{\partial J}{\partial z}"),
        ("p_k = exp(z_k) / sum_j exp(z_j)", r"p_{k} = \frac{e^{z_{k}}}{\sum_{j} e^{z_{j}}}"),
        ("w ~ sqrt(1/n) * normal(0, 1)", r"w \sim \sqrt{\frac{1}{n}} \cdot \mathcal{N}(0 ,\ 1)"),
        ("a / (b (c + 1))", r"\frac{a}{b (c + 1)}"),
        ("(a + b) / (c) (d)", r"\frac{a + b}{c} (d)"),
        ("y[r, c] = w . x", r"y_{r ,\ c} = w \cdot x"),
        ("two hidden neurons", r"\text{two hidden neurons}"),
    ],
)
def test_formula_of_a_terminal_is_typeset(formula, latex):
    assert formulas.typeset(formula) == latex


def test_formulas_below_each_other_are_aligned():
    assert formulas.typeset("a  = b\nc = d     e = f").splitlines() == [
        r"\begin{aligned}",
        r"a &= b \\[0.5em]",
        r"c &= d & \quad e &= f",
        r"\end{aligned}",
    ]


def test_character_without_a_meaning_is_refused():
    with pytest.raises(ValueError, match=r"'a \? b' has '\?', which no formula may have"):
        formulas.typeset("a ? b")


def test_page_that_leaves_out_a_paragraph_is_refused(tmp_path, monkeypatch):
    page = (make_notebooks.PAGES / "neuron.md").read_text(encoding="utf-8")
    (tmp_path / "neuron.md").write_text(page.replace("<<run 2>>", ""))
    monkeypatch.setattr(make_notebooks, "PAGES", tmp_path)
    with pytest.raises(ValueError, match="the page of lesson 'neuron' leaves out <<run 2>>; add it"):
        make_notebooks.make("neuron")


def test_page_that_names_an_unknown_part_is_refused(tmp_path, monkeypatch):
    (tmp_path / "neuron.md").write_text("<<nuron>>")
    monkeypatch.setattr(make_notebooks, "PAGES", tmp_path)
    with pytest.raises(
        ValueError, match=r"xpnet.lessons.neuron has no 'nuron': choose one of imports, WEIGHTS"
    ):
        make_notebooks.make("neuron")


@pytest.mark.parametrize("name", LESSONS)
def test_settings_say_where_a_notebook_does_less_than_the_command(name):
    page = (make_notebooks.PAGES / f"{name}.md").read_text(encoding="utf-8")
    changed = re.findall(r"(\w+)=", re.search("<<settings(.*?)>>", page).group(1))
    text = chunks.settings(find_lesson(name), dict.fromkeys(changed, "1"))
    assert text.count("# `xpnet lesson` takes ") == len(changed)


def test_page_that_lists_the_lessons_is_made_of_their_own_page():
    assert (make_notebooks.FOLDER / "index.md").read_text(encoding="utf-8") == make_notebooks.index()


def test_notebooks_are_one_for_each_lesson():
    found = sorted(path.name for path in make_notebooks.FOLDER.glob("*.ipynb"))
    assert found == [make_notebooks.path_of(name).name for name in LESSONS]
    assert all(json.loads((make_notebooks.FOLDER / name).read_text())["nbformat"] == 4 for name in found)
