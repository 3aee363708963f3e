"""The page in a real browser: drawn on with pointers and keys, and read as a screen reader reads it."""

import json
import pathlib
import re
import shutil

import pytest
from page_server import serving

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed; install it with `pip install 'xpnet[test]'`"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no Chromium is installed; install the system's package `chromium`", allow_module_level=True)

SEVEN = [[(0.27, 0.25), (0.72, 0.25), (0.6, 0.5), (0.45, 0.85)]]


@pytest.fixture(scope="module")
def browser():
    sync_api.expect.set_options(timeout=20_000)  # milliseconds; machines of tests are slow at times
    with sync_api.sync_playwright() as playwright:
        # Chromium's own sandbox needs a user that is not root.
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Return a function that opens a page; whatever it loads must come from its server, without errors."""
    opened = []

    def opening(address, *, is_quiet=True, **context):
        page = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **context}).new_page()
        found = []
        page.on(
            "request", lambda request: None if request.url.startswith(address) else found.append(request.url)
        )
        if is_quiet:
            page.on("console", lambda message: found.append(message.text))
        page.on("pageerror", lambda error: found.append(str(error)))
        page.goto(address)
        page.wait_for_selector("[data-ready]", state="attached")
        opened.append((page, found))
        return page

    yield opening
    for page, found in opened:
        page.context.close()
        assert found == []


def draw(page, strokes):
    """Draw strokes with the mouse; points are shares of the board."""
    box = page.locator("#board").bounding_box()
    for stroke in strokes:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=4)
        page.mouse.up()


def answered(page, text):
    sync_api.expect(page.locator("#best")).to_have_text(text)


def settled(page, word):
    """Wait until the answer to the finished drawing is announced."""
    sync_api.expect(page.get_by_role("status")).to_have_text(re.compile(rf"^{word}, \d+ percent$"))


def seven_by_keys(page):
    """Draw a seven on the board, which has the focus, with keys."""
    keys = page.keyboard
    for key, times in (("ArrowLeft", 7), ("ArrowUp", 8)):
        for _ in range(times):
            keys.press(key)
    keys.press("Space")
    for _ in range(12):
        keys.press("ArrowRight")
    for _ in range(7):
        for key in ("ArrowDown", "ArrowDown", "ArrowLeft"):
            keys.press(key)
    keys.press("Space")


def test_drawn_seven_is_seen_as_seven(trained, visit):
    page = visit(trained)
    answered(page, "Draw a digit on the board")
    draw(page, SEVEN)
    settled(page, "seven")
    answered(page, "7")
    figures = page.get_by_role("list", name="Probabilities").get_by_role("listitem")
    sync_api.expect(figures).to_have_count(10)
    shares = [float(re.search(r"([\d.]+) %$", text).group(1)) for text in figures.all_inner_texts()]
    assert shares.index(max(shares)) == 7
    assert sum(shares) == pytest.approx(100, abs=0.6)
    bar = figures.nth(7).locator(".bar span").evaluate("bar => bar.style.transform")
    assert float(re.search(r"[\d.]+", bar).group()) == pytest.approx(max(shares) / 100, abs=0.001)


def test_probabilities_move_while_one_draws(trained, visit):
    page = visit(trained)
    box = page.locator("#board").bounding_box()
    place = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in SEVEN[0]]
    page.mouse.move(*place[0])
    page.mouse.down()
    page.mouse.move(*place[1], steps=5)
    sync_api.expect(page.locator("#figures .best")).to_have_count(1)
    before = page.locator("#figures").inner_text()
    page.mouse.move(*place[2], steps=5)
    page.mouse.move(*place[3], steps=5)
    answered(page, "7")
    assert page.locator("#figures").inner_text() != before
    page.mouse.up()


def test_answer_is_announced_politely(trained, visit):
    page = visit(trained)
    status = page.get_by_role("status")
    assert status.get_attribute("aria-live") == "polite"
    draw(page, SEVEN)
    settled(page, "seven")
    page.get_by_role("button", name="Clear").click()
    sync_api.expect(status).to_have_text("Cleared")


def test_seven_can_be_drawn_with_keys_alone(trained, visit):
    page = visit(trained)
    page.keyboard.press("Tab")
    board = page.get_by_role("application", name="Board to draw a digit on")
    sync_api.expect(board).to_be_focused()
    seven_by_keys(page)
    answered(page, "7")
    settled(page, "seven")
    page.keyboard.press("Backspace")
    answered(page, "Draw a digit on the board")


def test_pen_of_the_keys_says_where_it_is(trained, visit):
    page = visit(trained)
    # The answer about the stroke may come at once, in the place of what was said of the pen.
    page.evaluate(
        "const status = document.querySelector('[role=status]');"
        "new MutationObserver(() => document.body.dataset.said += status.textContent)"
        ".observe(status, {childList: true, characterData: true, subtree: true});"
    )
    said = sync_api.expect(page.locator("body"))
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    said.to_have_attribute("data-said", re.compile("Pen down at column 15, row 14 of 28"))
    for _ in range(30):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    said.to_have_attribute("data-said", re.compile("Pen up at column 15, row 28 of 28"))


def test_undo_takes_one_stroke_back_and_clear_all(trained, visit):
    page = visit(trained)
    one = [[(0.5, 0.15), (0.5, 0.85)]]
    draw(page, one)
    answered(page, "1")
    draw(page, [[(0.15, 0.2), (0.85, 0.2)], [(0.15, 0.8), (0.85, 0.8)]])
    for _ in range(2):
        page.get_by_role("button", name="Undo").click()
    answered(page, "1")
    page.get_by_role("button", name="Undo").click()
    answered(page, "Draw a digit on the board")
    draw(page, [*one, *SEVEN])
    page.locator("#board").focus()
    page.keyboard.press("Control+z")
    answered(page, "1")
    page.get_by_role("button", name="Clear").click()
    answered(page, "Draw a digit on the board")
    assert page.locator("#figures .best").count() == 0


def test_answer_that_arrives_after_clear_is_not_shown(trained, visit):
    page = visit(trained)
    held = []
    page.route("**/drawing", lambda route: held.append(route))
    draw(page, SEVEN)
    while not held:
        page.wait_for_timeout(20)
    page.get_by_role("button", name="Clear").click()
    for route in held:
        route.continue_()
    page.wait_for_timeout(300)
    answered(page, "Draw a digit on the board")


def test_finger_draws_too(trained, visit):
    page = visit(trained, has_touch=True, viewport={"width": 360, "height": 740})
    box = page.locator("#board").bounding_box()
    session = page.context.new_cdp_session(page)

    def touch(kind, *points):
        places = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", SEVEN[0][0])
    for point in SEVEN[0][1:]:
        touch("touchMove", point)
    touch("touchEnd")
    answered(page, "7")
    assert page.evaluate("scrollY") == 0


def test_hidden_units_light_up(trained, visit):
    page = visit(trained)
    units = page.get_by_role("img", name=re.compile("^64 units"))
    bright = "box => [...box.children].filter(unit => unit.style.getPropertyValue('--share') > 0.5).length"
    assert units.evaluate(bright) == 0
    draw(page, SEVEN)
    sync_api.expect(units).to_have_accessible_name(re.compile(r"^64 units, of which [1-9]\d* are bright$"))
    assert units.evaluate(bright) >= 5


def test_page_shows_what_the_model_gets(trained, visit):
    page = visit(trained)
    draw(page, SEVEN)
    answered(page, "7")
    steps = page.locator("#steps li")
    assert steps.last.inner_text() == "centre of mass in the middle"
    size = steps.last.locator("canvas").evaluate("canvas => [canvas.width, canvas.height]")
    assert size == [28, 28]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(trained, visit, scheme):
    page = visit(trained, color_scheme=scheme)
    draw(page, SEVEN)
    answered(page, "7")
    page.locator("summary").click()
    found = page.evaluate(CONTRASTS)
    assert len(found) > 20
    assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []


# The texts of the page, and the contrast of each to what is behind it as WCAG computes it.
CONTRASTS = """() => {
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => {
        const [r, g, b] = numbers(colour).map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const colour = getComputedStyle(each).backgroundColor;
            if (numbers(colour).length === 3) return colour;
        }
        throw new Error("no background");
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (texts.nextNode()) {
        const { textContent, parentElement } = texts.currentNode;
        if (!textContent.trim() || parentElement.matches("script, noscript")) continue;
        const pair = [getComputedStyle(parentElement).color, behind(parentElement)].map(light);
        found.push([textContent.trim(), (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)]);
    }
    return found;
}"""


def test_focus_is_visible_and_in_the_order_of_the_page(trained, visit):
    page = visit(trained)
    for name in ("board", "undo", "clear", "pen", ""):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "[document.activeElement.id, getComputedStyle(document.activeElement).outlineWidth]"
        )
        assert focused == [name, "3px"]
    assert page.evaluate("document.activeElement.localName") == "summary"


def test_motion_can_be_reduced(trained, visit):
    seconds = "document.querySelector('.bar span') && getComputedStyle(document.querySelector('.bar span'))"
    seconds += ".transitionDuration"
    assert visit(trained).evaluate(seconds) == "0.12s"
    assert visit(trained, reduced_motion="reduce").evaluate(seconds) == "0s"


def test_screen_reader_finds_headings_and_controls(trained, visit):
    page = visit(trained)
    headings = page.get_by_role("heading").all_inner_texts()
    assert headings == [
        "Draw a digit",
        "Board",
        "The model\N{RIGHT SINGLE QUOTATION MARK}s answer",
        "What the model gets",
        "Inside the model",
    ]
    for role, name in (
        ("button", "Undo"),
        ("button", "Clear"),
        ("slider", "Width of the pen in percent of the board"),
    ):
        assert page.get_by_role(role, name=name).count() == 1
    description = page.locator("#board").evaluate("board => board.getAttribute('aria-describedby')")
    assert "arrows move the pen" in " ".join(page.locator(f"#{description}").text_content().split())
    assert page.locator("html").get_attribute("lang") == "en"
    nameless = "[...document.querySelectorAll('canvas, img, [role=img]')].filter(each => "
    nameless += "!each.closest('[aria-hidden], [aria-label]')).length"
    assert page.evaluate(nameless) == 0


def test_server_that_is_gone_is_said(trained, visit):
    page = visit(trained, is_quiet=False)
    page.route("**/drawing", lambda route: route.abort())
    draw(page, SEVEN)
    sync_api.expect(page.get_by_role("alert")).to_have_text(
        "The server does not answer; start `xpnet draw` again."
    )
    page.unroute("**/drawing")
    draw(page, [[(0.1, 0.1), (0.12, 0.12)]])
    sync_api.expect(page.locator("#trouble")).to_be_hidden()


@pytest.fixture(scope="module")
def convolutional(models):
    with serving(models["cnn"], "--backend", "numba") as address:
        yield address


@pytest.mark.parametrize("name", ["trained", "convolutional"])
def test_narrow_window_does_not_scroll_sideways(request, visit, name):
    page = visit(request.getfixturevalue(name), viewport={"width": 360, "height": 740})
    draw(page, SEVEN)
    sync_api.expect(page.locator("#figures .best")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.locator("#board").bounding_box()["width"] > 280
    assert page.locator("#best").bounding_box()["y"] < 740


def test_filters_of_each_convolution_show_their_maps(convolutional, visit):
    page = visit(convolutional)
    draw(page, SEVEN)
    sync_api.expect(page.locator("#figures .best")).to_have_count(1)
    first, second = page.locator(".maps").all()
    sizes = (
        "box => [...box.querySelectorAll('canvas:not(.kernel)')].map(canvas => [canvas.width, canvas.height])"
    )
    assert first.evaluate(sizes) == [[28, 28]] * 6
    assert second.evaluate(sizes) == [[10, 10]] * 16
    assert first.locator(".kernel").evaluate_all("all => all.map(each => each.width)") == [5] * 6
    brightest = """box => Math.max(...[...box.querySelectorAll('canvas:not(.kernel)')].map(canvas => {
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return Math.max(...data.filter((_, i) => i % 4 === 0));
    }))"""
    assert [first.evaluate(brightest), second.evaluate(brightest)] == [255, 255]
    assert page.locator("#layers figcaption").all_inner_texts()[2:] == [
        "Layer 3: 120 units Linear(400, 120, initializer='he_normal'), ReLU()",
        "Layer 4: 84 units Linear(120, 84, initializer='he_normal'), ReLU()",
    ]


def test_outputs_that_are_no_probabilities_are_called_outputs(models, visit):
    with serving(models["squared"]) as address:
        page = visit(address)
        draw(page, SEVEN)
        sync_api.expect(page.get_by_role("status")).to_have_text(re.compile(r"^\w+, output -?\d\.\d\d$"))
        figures = page.get_by_role("list", name="Outputs").get_by_role("listitem").all_inner_texts()
        assert len(figures) == 10
        assert "%" not in "".join(figures)


def test_classes_have_the_names_that_the_model_knows(models, visit):
    with serving(models["named"]) as address:
        page = visit(address)
        draw(page, SEVEN)
        settled(page, "[a-j]")  # so that no question is left when the server ends
        sync_api.expect(page.locator("#best")).to_have_text(re.compile("^[a-j]$"))
        assert "".join(page.locator("#figures .name").all_inner_texts()) == "abcdefghij"
        assert page.locator("#inside").is_hidden()


# In the page, because the browser takes a frame for each move of a mouse from outside.
POINTER = """(board, strokes) => {
    const box = board.getBoundingClientRect();
    const send = (type, [x, y]) => board.dispatchEvent(new PointerEvent(type, {
        pointerId: 1, pointerType: "mouse", isPrimary: true, bubbles: true, cancelable: true,
        clientX: box.left + x * box.width, clientY: box.top + y * box.height,
    }));
    for (const stroke of strokes) {
        send("pointerdown", stroke[0]);
        for (const point of stroke.slice(1)) send("pointermove", point);
        send("pointerup", stroke.at(-1));
    }
}"""


def drawn_and_read(page, digit):
    """Draw a digit of `strokes.json` with a pen of its width, and return the class that the page shows."""
    page.locator("#pen").evaluate(
        "(pen, width) => { pen.value = width; pen.dispatchEvent(new Event('input')); }", 100 * digit["width"]
    )
    page.locator("#board").evaluate(POINTER, digit["strokes"])
    page.wait_for_selector("#answering[aria-busy=false]")
    found = page.locator("#best").inner_text()
    page.get_by_role("button", name="Clear").press("Enter")
    return found


def test_hundred_drawn_digits_are_recognised(trained, visit):
    page = visit(trained)
    digits = json.loads((pathlib.Path(__file__).parents[1] / "digits" / "strokes.json").read_text())
    assert len(digits) == 100
    wrong = [
        (i, digit["digit"], found)
        for i, digit in enumerate(digits)
        if (found := drawn_and_read(page, digit)) != str(digit["digit"])
    ]
    assert len(wrong) <= 10, wrong
