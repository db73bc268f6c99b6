"""The report in a real browser: legible on a phone, in the dark and on paper, without a network."""

from __future__ import annotations

import io
import os
import shutil

import pandas as pd
import pytest
from PIL import Image
from support import STUDY, fxsim

playwright = pytest.importorskip("playwright.sync_api")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
# what a page must say of itself, in the browser
FACTS = """() => ({
  width: document.documentElement.scrollWidth,
  wider: [...document.querySelectorAll('body *')]
    .filter(e => !e.closest('.scroll') && !e.closest('svg') && !e.closest('pre')
                 && e.getBoundingClientRect().right > innerWidth + 1)
    .map(e => e.outerHTML.slice(0, 80)),
  empty: [...document.querySelectorAll('figure svg, .frame')]
    .filter(e => { const r = e.getBoundingClientRect(); return r.width < 50 || r.height < 4 })
    .length,
  figures: document.querySelectorAll('figure').length,
  outside: performance.getEntriesByType('resource').map(e => e.name)
    .filter(n => !n.startsWith('data:')),
  smallest: Math.min(...[...document.querySelectorAll('figure svg text')]
    .map(e => e.getBoundingClientRect().height)),
  ink: getComputedStyle(document.body).color,
  paper: getComputedStyle(document.body).backgroundColor,
  axis: getComputedStyle(document.querySelector('figure svg text')).fill,
})"""

NAMES = "[...document.querySelectorAll('figure[id]')].map(f => f.id.replace('figure-', ''))"


@pytest.fixture(scope="module")
def browser():
    """Chromium, as the system has it."""
    path = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if path is None:
        pytest.skip("needs Chromium, which is absent")
    quiet = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
    ]
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=quiet)
        yield opened
        opened.close()


@pytest.fixture
def looked_at(browser):
    """Opens a page at a size; (facts, complaints, screenshot, page)."""
    pages = []

    def look(path, size, **media):
        context = browser.new_context(viewport=size, offline=True, **media)
        page = context.new_page()
        complaints = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        pages.append(context)
        shot = page.screenshot(full_page=True)
        if place := os.environ.get("FXSIM_SCREENSHOTS"):  # to be looked at
            name = "-".join([path.parent.name, str(size["width"]), *map(str, media.values())])
            os.makedirs(place, exist_ok=True)
            with open(os.path.join(place, f"{name}.png"), "wb") as file:
                file.write(shot)
        return page.evaluate(FACTS), complaints, Image.open(io.BytesIO(shot)), page

    yield look
    for context in pages:
        context.close()


def test_a_study_on_a_phone_and_at_a_desk(study, looked_at):
    path = study[0] / "reports" / "small" / "report.html"
    for size in (PHONE, DESK):
        facts, complaints, shot, page = looked_at(path, size)
        assert complaints == []
        assert facts["outside"] == []
        assert facts["width"] <= size["width"]
        assert facts["wider"] == []
        assert facts["empty"] == 0
        assert facts["smallest"] >= 8  # pixels of a line of text
        assert shot.width == size["width"]
        assert len(shot.convert("L").getcolors() or range(257)) > 20  # it is no blank sheet
    figures = sorted((path.parent / "figures").glob("*.png"))
    drawn = page.locator("figure > svg").count()
    assert drawn == len(figures) > 20
    shown = page.evaluate(NAMES)
    assert {p.stem for p in figures} == set(shown)


def test_every_section_is_there_and_the_answer_comes_first(study, looked_at):
    path = study[0] / "reports" / "small" / "report.html"
    _, _, _, page = looked_at(path, DESK)
    sections = page.evaluate("[...document.querySelectorAll('h2')].map(h => h.id)")
    assert sections == [
        "accuracy",
        "bits",
        "blocks",
        "cost",
        "roofline",
        "utilisation",
        "numbers",
        "pareto",
        "papers",
        "seeds",
        "assumed",
        "repeat",
    ]
    answer = page.locator(".answer")
    assert answer.bounding_box()["y"] < 300
    text = answer.inner_text()
    summary = pd.read_csv(path.parent / "tables" / "summary.csv")
    best = summary.loc[(summary["speedup"] * summary["energy_saving"]).idxmax()]
    assert f"{best.speedup:.2f}x faster" in text
    assert f"{best.energy_saving:.2f}x less energy" in text
    assert f"{best.accuracy_change:+.2f} points" in text
    names = {f.rsplit("_", 1)[0] for f in page.evaluate(NAMES)}
    assert {
        "bits_dynasty",
        "blocks_dynasty",
        "distribution",
        "noise_db",
        "roofline",
        "cycles_by_layer",
        "cycles_by_layer_int8",
        "energy_by",
        "pareto",
    } <= names


def test_the_slider_moves_through_the_steps(study, looked_at):
    path = study[0] / "reports" / "small" / "report.html"
    _, complaints, _, page = looked_at(path, PHONE)
    film = page.locator(".film").first
    before = film.locator(".frame").first.screenshot()
    slider = film.locator("input")
    slider.fill(slider.get_attribute("max"))
    assert film.locator("output").inner_text() == slider.get_attribute("data-steps").split(",")[-1]
    assert film.locator(".frame").first.screenshot() != before
    assert complaints == []


def test_in_the_dark_and_on_paper(study, looked_at):
    path = study[0] / "reports" / "small" / "report.html"
    light, _, _, _ = looked_at(path, DESK)
    dark, _, shot, page = looked_at(path, DESK, color_scheme="dark")
    assert dark["ink"] != light["ink"]
    assert dark["paper"] != light["paper"]
    assert dark["axis"] == dark["ink"]  # figures follow the page
    corner = shot.convert("L").getpixel((5, 5))
    assert corner < 64
    page.emulate_media(media="print")
    printed = page.evaluate(FACTS)
    assert printed["paper"] in ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)")
    assert printed["ink"] == "rgb(0, 0, 0)"
    assert not page.locator(".film").first.is_visible()
    assert len(page.pdf()) > 10_000


def test_a_sweep_on_a_phone(tmp_path, looked_at):
    (tmp_path / "s.yaml").write_text(
        "kind: sweep\nname: s\ntitle: A sweep\nworkload: digits_cnn\nepochs: 1\n"
        "accelerator: dynasty\naxes:\n  policy.weight: [4, 8]\n"
        "  accelerator.pe_array.columns: [2, 4]\nobjectives: [accuracy, energy, area]\n"
    )
    fxsim("sweep", "s.yaml", "--jobs", 1, at=tmp_path)
    path = tmp_path / "reports" / "s" / "report.html"
    facts, complaints, _, page = looked_at(path, PHONE)
    assert (complaints, facts["outside"], facts["wider"], facts["empty"]) == ([], [], [], 0)
    assert facts["width"] <= 390
    assert "lie on the Pareto front" in page.locator(".answer").inner_text()
    drawn = page.locator("figure > svg").count()
    assert drawn == 3 + 2 * 3  # each pair of objectives; each axis against each objective


def test_other_forms(study):
    """Markdown, PNG at 300 dots an inch, SVG, a manifest, and what it was made of."""
    place = study[0] / "reports" / "small"
    text = (place / "report.md").read_text()
    assert text.startswith("## A small study\n")
    assert "| policy | accelerator |" in text
    assert "| ---: |" in text
    for line in text.splitlines():
        if line.startswith("!["):
            assert (place / line.split("](")[1].rstrip(")")).is_file()
    with Image.open(place / "figures" / "pareto_energy.png") as image:
        assert round(image.info["dpi"][0]) == 300
        assert image.width == 1410  # 4.7 inches
    assert (place / "figures" / "pareto_energy.svg").read_text().startswith("<?xml")


def test_a_study_says_what_to_report(study, tmp_path):
    text = STUDY + "report: {sections: [pareto, accuracy], figures: [pdf]}\n"
    (tmp_path / "small.yaml").write_text(text)
    shutil.copytree(study[0] / "reports", tmp_path / "reports")
    shutil.rmtree(tmp_path / "reports" / "small" / "figures")
    fxsim("report", "small.yaml", at=tmp_path)
    figures = tmp_path / "reports" / "small" / "figures"
    assert {p.name for p in figures.iterdir()} == {
        "accuracy.pdf",
        "loss.pdf",
        "pareto_cycles.pdf",
        "pareto_energy.pdf",
    }
    (tmp_path / "small.yaml").write_text(text.replace("pareto", "paretto"))
    done = fxsim("report", "small.yaml", at=tmp_path, code=2)
    assert "report.sections.0 must be one of accuracy, bits" in done.stderr
