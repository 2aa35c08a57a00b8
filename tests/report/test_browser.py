"""The page in a real browser: pictures are there, controls work, the console is silent."""

import json

import pytest

from personae.report import write_report
from tests.report.chromium import Browser, find_browser
from tests.report.runs import CASES, rows_of, write_run

pytestmark = pytest.mark.browser

HOSTILE = '</script><script>window.ran=1</script><img src=x onerror="window.ran=2"> {ann}'


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = find_browser()
    if program is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on PATH")
    with Browser(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_report(write_run(tmp_path_factory.mktemp("run"), prompt=HOSTILE))


@pytest.fixture(scope="module")
def long_report(tmp_path_factory):
    """Sixty pictures: the six cases, ten seeds each."""
    folder = write_run(tmp_path_factory.mktemp("long"))
    rows = [row | {"seed": seed} for case in CASES for seed in range(10) for row in rows_of(case)]
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return write_report(folder)


def count(browser, selector="article"):
    return browser.js(f"document.querySelectorAll('{selector}').length")


@pytest.mark.parametrize("width", [390, 820, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_pictures_show_and_the_console_is_silent(browser, report, width, dark):
    browser.open(report.as_uri(), width=width, dark=dark)
    assert count(browser) == len(CASES)
    assert browser.js("document.documentElement.dataset.pictures") == str(len(CASES))
    assert browser.js("document.documentElement.dataset.errors") == "0"
    loaded = "[...document.images].every((image) => image.complete && image.naturalWidth > 0)"
    assert browser.js(loaded)
    assert browser.js("document.documentElement.scrollWidth") <= width
    shade = browser.js("getComputedStyle(document.body).backgroundColor")
    assert (sum(json.loads(shade[3:].replace("(", "[").replace(")", "]"))) < 150) is dark
    assert browser.problems() == []


def test_hostile_text_does_not_run(browser, report):
    browser.open(report.as_uri())
    assert browser.js("window.ran") is None
    prompt = browser.js("document.querySelector('.prompt').textContent")
    assert prompt == HOSTILE.replace("{ann}", "woman")
    assert "<x>.jpg" in browser.js("document.querySelector('#gallery').textContent")


def test_boxes_and_matrix_agree(browser, report):
    browser.open(report.as_uri())
    card = "document.querySelectorAll('article')[1]"
    tags = browser.js(f"[...{card}.querySelectorAll('.tag')].map((tag) => tag.textContent)")
    assert tags == ["1 ann", "2 bob", "3 bob again"]
    cells = browser.js(f"[...{card}.querySelectorAll('.heat')].map((cell) => cell.textContent)")
    assert cells == ["0.70 (matched)", "0.10", "0.05", "0.15", "0.80 (matched)", "0.66"]
    assert browser.js(f"{card}.querySelectorAll('.heat.matched').length") == 2
    left = browser.js(f"{card}.querySelector('rect').getAttribute('x')")
    assert float(left) == 20


def test_filter_find_and_order(browser, long_report):
    browser.open(long_report.as_uri())
    assert count(browser) == 24
    browser.js("document.querySelector('[data-filter=absent]').click()")
    assert count(browser) == 10
    browser.js("document.querySelector('[data-filter=stranger]').click()")
    assert count(browser) == 0
    browser.js("document.getElementById('clear').click()")
    set_value = "(id, value, kind) => { const at = document.getElementById(id);"
    set_value += " at.value = value; at.dispatchEvent(new Event(kind)); }"
    browser.js(f"({set_value})('find', 'STRANGER', 'input')")
    browser.js("new Promise((done) => setTimeout(done, 200))")
    assert browser.js("document.documentElement.dataset.shown") == "10"
    browser.js("document.getElementById('clear').click()")
    browser.js(f"({set_value})('way', 'best', 'change')")
    browser.js(f"({set_value})('sort', '0', 'change')")
    assert "good" in browser.js("document.querySelector('h3').textContent")
    assert browser.problems() == []


def test_pages_turn_by_button_and_key_and_are_remembered(browser, long_report):
    browser.open(long_report.as_uri())
    browser.js(
        "[...document.querySelectorAll('nav button')].find((b) => b.textContent === 'Next').click()"
    )
    assert "25 to 48 of 60" in browser.js("document.querySelector('[role=status]').textContent")
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", code="ArrowRight")
    assert "49 to 60 of 60" in browser.js("document.querySelector('[role=status]').textContent")
    assert count(browser) == 12
    address = browser.js("location.href")
    browser.open(address)
    assert count(browser) == 12
    assert browser.problems() == []


def test_the_theme_can_be_chosen(browser, report):
    browser.open(report.as_uri(), dark=True)
    shade = "getComputedStyle(document.body).backgroundColor"
    dark = browser.js(shade)
    browser.js("document.getElementById('theme').click()")
    light = browser.js(shade)
    browser.js("document.getElementById('theme').click()")
    assert light != dark == browser.js(shade)
    browser.js("document.getElementById('theme').click()")


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_two_runs_stand_side_by_side(browser, tmp_path, width):
    new = write_run(tmp_path / "new", lift=0.1)
    old = write_run(tmp_path / "old", cases=CASES[:-1])
    out = write_report(new, tmp_path / "pair.html", against=old)
    browser.open(out.as_uri(), width=width)
    assert count(browser) == len(CASES)
    assert count(browser, ".side") == 2 * len(CASES)
    assert count(browser, "article .delta") == len(CASES)
    assert browser.js("document.querySelector('article .delta').textContent") == "+0.100"
    assert browser.js("document.documentElement.scrollWidth") <= width
    assert browser.problems() == []


def test_without_scripts_the_summary_is_there(browser, report):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(report.as_uri())
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert count(browser, ".summary tbody tr") == 4
    assert count(browser) == 0
    assert browser.js("document.querySelector('noscript').offsetHeight") > 0
