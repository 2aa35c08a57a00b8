"""A rater with a phone: questions answered by touch and key, closed, opened again, sent back."""

from __future__ import annotations

import json
import time

import pytest

from personae.evaluation.agreement import agreement
from personae.evaluation.survey import make_survey, write_key
from personae.evaluation.survey_design import Plan
from personae.evaluation.survey_files import read_answers
from personae.report import write_agreement_report, write_survey_page
from tests.evaluation.people import answer, sheet, write_models, write_sheet
from tests.report.chromium import Browser, find_browser

pytestmark = pytest.mark.browser
PLAN = Plan(kinds=("each", "pair"), raters=3, questions=6, judges=2, checks=1, repeats=1)
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = find_browser()
    if program is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on PATH")
    with Browser(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survey")
    folders, values = write_models(folder, num_scenes=4, seeds=1)
    made = make_survey(folders, PLAN, folder / "out")
    page = write_survey_page(made, folder / "out")
    write_key(made, folder / "out")
    return folder / "out", made.key, page.as_uri(), values


def touch(browser, selector):
    """A finger on the middle of an element: what lies on top of it there gets the touch."""
    place = browser.js(
        f"(() => {{ const at = document.querySelector({json.dumps(selector)});"
        " at.scrollIntoView({block: 'center'}); const box = at.getBoundingClientRect();"
        " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    point = {"x": place[0], "y": place[1]}
    for kind, button in (("mousePressed", "left"), ("mouseReleased", "left")):
        browser.call("Input.dispatchMouseEvent", type=kind, button=button, clickCount=1, **point)


def press(browser, key):
    code = {"Enter": 13}.get(key, ord(key[0]))
    text = {"text": "\r"} if key == "Enter" else {"text": key}
    common = {"key": key, "windowsVirtualKeyCode": code}
    browser.call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
    browser.call("Input.dispatchKeyEvent", type="keyUp", **common)


def begin(browser, survey, rater, **look):
    browser.open(f"{survey[2]}#rater={rater}", **look)
    browser.js("localStorage.clear()")
    browser.open(f"{survey[2]}#rater={rater}", **look)
    touch(browser, "#begin")


def go_on(browser, address):
    """The phone is switched off and on: nothing is lost.

    The browser keeps what it was told in another process, which on a busy machine is late.
    """
    browser.js("new Promise((done) => setTimeout(done, 500))")
    deadline = time.monotonic() + 30
    words = "Begin"
    while words == "Begin" and time.monotonic() < deadline:
        browser.open(address, **PHONE)
        words = browser.js("document.getElementById('begin').textContent")
    assert words.startswith("Go on at question 4"), words
    touch(browser, "#begin")


def choose(browser, part, value):
    touch(browser, f"fieldset[data-part='{part}'] label:has([value='{value}'])")


def give(browser, said):
    """Answer the question on the screen as ``said`` says."""
    for part, value in (said.get("better") or {}).items():
        choose(browser, part, value)
    for number, subject in enumerate(said.get("subjects") or []):
        choose(browser, f"{number}-appears", subject["appears"])
        if subject.get("resembles"):
            choose(browser, f"{number}-resembles", subject["resembles"])


def test_a_sheet_is_answered_on_a_phone_and_comes_back(browser, survey, tmp_path):
    _out, key, _, values = survey
    begin(browser, survey, 1, **PHONE)
    says = lambda q: answer(key, q, lambda m, s, k: values[m][s, k])  # noqa: E731
    questions = key.sheet(1)
    for number, question in enumerate(questions):
        at = f"Question {number + 1} of {len(questions)}"
        assert browser.js("document.getElementById('count').textContent") == at
        assert browser.js("document.documentElement.scrollWidth") <= 360
        assert browser.js("[...document.images].every((i) => !i.src || i.naturalWidth > 0)")
        give(browser, says(question))
        if number == 3:
            go_on(browser, f"{survey[2]}#rater=1")
            assert browser.js("document.getElementById('count').textContent") == at
        touch(browser, "#next")
    text = browser.js("document.getElementById('text').value")
    (tmp_path / "1.json").write_text(text)
    found = read_answers(tmp_path / "1.json", key)
    expected = sheet(key, 1, says)["answers"]
    got = json.loads(text)["answers"]
    for one, other in zip(got, expected, strict=True):
        assert one.pop("ms") > 0
        other.pop("ms")
        assert one == other
    assert found.rater == 1
    assert browser.problems() == []


def test_the_answers_are_saved_as_a_file(browser, survey, tmp_path):
    _out, key, _, values = survey
    browser.call(
        "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path.resolve())
    )
    begin(browser, survey, 1, **PHONE)
    for question in key.sheet(1):
        give(browser, answer(key, question, lambda m, s, k: values[m][s, k]))
        touch(browser, "#next")
    touch(browser, "#save")
    path = tmp_path / f"answers-{key.survey}-1.json"
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, "nothing was saved"
        browser.js("1")
        time.sleep(0.05)
    assert read_answers(path, key).rater == 1
    touch(browser, "#copy")
    browser.js("new Promise((done) => setTimeout(done, 100))")
    assert "opied" in browser.js("document.getElementById('outcome').textContent")
    assert "Saved" not in browser.js("document.getElementById('outcome').textContent")


def test_an_open_question_is_pointed_at(browser, survey):
    begin(browser, survey, 2, **PHONE)
    touch(browser, "#next")
    assert "still open" in browser.js("document.getElementById('problem').textContent")
    assert browser.js("document.getElementById('count').textContent").startswith("Question 1 ")
    assert browser.js("document.activeElement.closest('fieldset').className") == "open"
    browser.js("document.activeElement.click()")
    still = len(browser.js("[...document.querySelectorAll('fieldset.open')].map((f) => f.id)"))
    assert browser.js("document.getElementById('problem').textContent").startswith(
        "One answer is" if still == 1 else f"{still} answers are"
    )


def test_a_no_takes_the_second_question_away(browser, survey):
    _out, key, _, _ = survey
    begin(browser, survey, 1, **PHONE)
    shown = "!document.querySelector('[data-part=\"0-resembles\"]').hidden"
    assert browser.js(shown) is False
    choose(browser, "0-appears", "yes")
    assert browser.js(shown) is True
    choose(browser, "0-resembles", "no")
    choose(browser, "0-appears", "no")
    assert browser.js(shown) is False
    kept = f"JSON.parse(localStorage['personae-survey-{key.survey}-1']).answers"
    assert list(browser.js(kept).values()) == [{"0": {"appears": "no"}}]
    choose(browser, "0-appears", "yes")
    assert browser.js("document.querySelector('[data-part=\"0-resembles\"] :checked')") is None


def test_keys_answer_and_go_on(browser, survey):
    _out, key, _, _ = survey
    begin(browser, survey, 1, width=1200, height=900)
    for _ in range(2):
        press(browser, "1")
        press(browser, "3")
    press(browser, "Enter")
    assert browser.js("document.getElementById('count').textContent").startswith("Question 2 ")
    (given,) = browser.js(
        f"JSON.parse(localStorage['personae-survey-{key.survey}-1']).answers"
    ).values()
    assert given == {number: {"appears": "yes", "resembles": "unclear"} for number in "01"}
    touch(browser, "#back")
    assert browser.js("document.querySelectorAll(':checked').length") == 4
    assert browser.problems() == []


def test_a_picture_is_seen_large(browser, survey):
    begin(browser, survey, 2, **PHONE)
    touch(browser, ".zoom img")
    assert browser.js("document.getElementById('large').open") is True
    assert browser.js("document.getElementById('large-picture').naturalWidth") > 0
    press(browser, "1")
    assert browser.js("document.querySelectorAll(':checked').length") == 0
    touch(browser, "#close")
    assert browser.js("document.getElementById('large').open") is False


def test_without_a_number_in_the_address_it_is_asked(browser, survey):
    browser.open(survey[2], **PHONE)
    assert "(1 to 3)" in browser.js("document.querySelector('label').textContent")
    touch(browser, "#begin")
    assert "from 1 to 3" in browser.js("document.getElementById('problem').textContent")
    touch(browser, "#rater")
    press(browser, "3")
    press(browser, "Enter")
    assert browser.js("location.hash") == "#rater=3"
    assert browser.js("document.getElementById('count').textContent").startswith("Question 1 ")


def test_sheets_are_kept_apart(browser, survey):
    begin(browser, survey, 1, **PHONE)
    choose(browser, "0-appears", "no")
    browser.open(f"{survey[2]}#rater=3", **PHONE)
    assert browser.js("document.getElementById('begin').textContent") == "Begin"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("look", [PHONE, {"width": 1200, "height": 900}])
def test_words_can_be_read_and_everything_has_a_name(browser, survey, look, dark):
    for rater in (1, 2):  # One begins with each kind of question.
        begin(browser, survey, rater, dark=dark, **look)
        assert browser.js("document.documentElement.scrollWidth") <= look["width"]
        small = "[...document.querySelectorAll('fieldset:not([hidden]) label, .turn button')]"
        assert min(browser.js(f"{small}.map((b) => b.getBoundingClientRect().height)")) >= 44
        assert browser.js("[...document.images].every((i) => i.alt || i.id === 'large-picture')")
        assert browser.js(
            "[...document.querySelectorAll('fieldset')].every((f) => f.querySelector('legend'))"
        )
        assert browser.js(CONTRAST) >= 4.5
        assert browser.problems() == []


# The least contrast (WCAG 2) of any words on the screen with the ground behind them.
CONTRAST = """
(() => {
  const numbers = (color) => (color.match(/[\\d.]+/g) || []).map(Number);
  const light = (color) => numbers(color).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      const parts = numbers(color);
      if (parts.length === 3 || parts[3] > 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const ratios = [...document.querySelectorAll("main *, .bar p")]
    .filter((node) => [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
    .filter((node) => node.offsetParent)
    .map((node) => [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => b - a))
    .map(([high, low]) => (high + 0.05) / (low + 0.05));
  return Math.min(...ratios);
})()
"""


def test_without_scripts_it_says_so(browser, survey):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(survey[2])
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.js("document.querySelector('noscript').offsetHeight") > 0


@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_of_what_people_said(browser, survey, tmp_path, width):
    out, key, _, values = survey
    says = lambda q: answer(key, q, lambda m, s, k: values[m][s, k])  # noqa: E731
    for rater in (1, 2):
        write_sheet(tmp_path / "in", key, rater, says)
    page = write_agreement_report(agreement(out, [tmp_path / "in"]), tmp_path / "said.html")
    browser.open(page.as_uri(), width=width)
    text = browser.js("document.body.innerText")
    assert "2 of 2 raters count; sheets that have not come back: 1" in " ".join(text.split())
    assert "ours against theirs" in " ".join(text.split())
    assert browser.js("document.documentElement.scrollWidth") <= width
    assert browser.problems() == []
