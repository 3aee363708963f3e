"""The site of the documentation: built strictly, complete, and without anything from elsewhere."""

import html
import html.parser
import os
import pathlib
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

import xpnet
from xpnet.cli.app import app

pytest.importorskip("mkdocs", reason="the site needs `pip install -e '.[docs]'`")
ROOT = pathlib.Path(__file__).parents[1]
HEADINGS = re.compile(r'<h[2-4] id="([^"]+)"')


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def headings(site, pages):
    return {name for page in site.glob(pages) for name in HEADINGS.findall(page.read_text(encoding="utf-8"))}


class Assets(html.parser.HTMLParser):
    """Collects what a browser loads with a page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "link" and attrs.get("rel") not in {"canonical", "next", "prev"}:
            self.found.append(attrs.get("href"))
        elif tag != "a":
            self.found += [attrs[name] for name in ("src", "srcset", "poster", "data") if attrs.get(name)]


def test_pages_load_nothing_from_elsewhere(site):
    assets = Assets()
    for page in site.rglob("*.html"):
        assets.feed(page.read_text(encoding="utf-8"))
    assert [path for path in assets.found if re.match(r"(?!data:)([a-z]+:|//)", path)] == []
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert [url for text in styles for url in re.findall(r"url\(\s*[\"']?((?:https?:)?//[^)]*)", text)] == []


def test_formulas_are_mathml(site):
    pages = [page.read_text(encoding="utf-8") for page in site.glob("course/*.html")]
    assert sum(page.count("<math ") for page in pages) > 20
    assert [page for page in pages if 'class="arithmatex"' in page] == []


def test_each_notebook_has_a_page_and_can_be_downloaded(site):
    names = {path.stem for path in (ROOT / "docs" / "course").glob("*.ipynb")}
    assert len(names) == 14
    assert names <= {path.stem for path in site.glob("course/*.html")}
    assert names == {path.stem for path in site.glob("course/*.ipynb")}
    index = (site / "course" / "index.html").read_text(encoding="utf-8")
    for name in names:
        assert f'href="{name}.html"' in index
        assert f'<a href="{name}.ipynb" download>' in (site / "course" / f"{name}.html").read_text(
            encoding="utf-8"
        )


def test_pictures_have_a_text_for_those_who_cannot_see_them(site):
    pages = "".join(page.read_text(encoding="utf-8") for page in site.rglob("*.html"))
    assert [tag for tag in re.findall(r"<img [^>]*>", pages) if not re.search(r'alt="[^"]{4}', tag)] == []


def test_reference_has_every_function_of_nn(site):
    found = {name.rpartition(".")[2] for name in headings(site, "reference/nn.html")}
    assert set(xpnet.nn.FUNCTIONS) <= found
    text = (site / "reference" / "nn.html").read_text(encoding="utf-8")
    assert text.count("Declaration: <code>") == len(xpnet.nn.FUNCTIONS)


def test_reference_has_every_public_name(site):
    pages = "\n".join(page.read_text(encoding="utf-8") for page in site.glob("reference/*.html"))
    modules = {"lessons", "nn"}
    missing = [
        name
        for name in set(xpnet.__all__) - modules
        if not re.search(rf'id="xpnet(\.\w+)?\.{name}"|id="xpnet\.{name}[."]', pages)
    ]
    assert missing == []


def test_reference_has_the_help_of_every_command(site):
    assert {f"xpnet-{name}" for name in app.commands} <= headings(site, "reference/command-line.html")
    page = html.unescape(
        re.sub(r"<[^>]*>", "", (site / "reference" / "command-line.html").read_text("utf-8"))
    )
    helped = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["evaluate", "--help"], prog_name="xpnet").output
    assert helped.strip() in page


def test_reference_says_which_backends_have_a_kernel(site):
    text = (site / "reference" / "nn.html").read_text(encoding="utf-8")
    sections = dict(re.findall(r'<h3 id="xpnet\.nn\.\w+\.(\w+)"(.*?)(?=<h3|$)', text, re.DOTALL))
    for name in xpnet.nn.FUNCTIONS:
        kernels = re.search(r"Kernels: (.*?)</li>", sections[name], re.DOTALL).group(1)
        assert ("numba" in kernels) == (name in xpnet.backend("numba").fused)


def test_link_to_a_file_of_the_repository_leads_to_its_page_or_a_copy(site):
    method = (site / "benchmarks" / "method.html").read_text(encoding="utf-8")
    assert 'href="notes.html"' in method
    assert 'href="../files/benchmarks/xpnet_bench/schema.json"' in method
    assert (site / "files" / "benchmarks" / "xpnet_bench" / "schema.json").exists()
