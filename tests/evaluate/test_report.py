"""The report is one valid page that loads nothing, escapes what it was given and leads with what matters."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
from event_world import logistic_fit, make_split, make_table, validation_fit
from report_page import Page

from groundswell.evaluate.controls import MAJORITY, PERMUTED, majority, permuted_labels, run_controls
from groundswell.evaluate.evaluation import evaluate
from groundswell.evaluate.figures import panels, png_of
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.evaluate.report import Picture, ReportContext, estimate_text, write_report

QUICK = EvaluateRecipe(bootstrap=200)
NASTY = '"><script>alert("boo")</script>'
LOG = "epoch,train_loss,val_loss,learning_rate\n1,1.0,1.1,0.001\n2,0.5,0.8,0.0005\n"


def report_of(tmp_path, *, simulated=True, controls=True, folds=5, note=None, **context):
    table = make_table(40, skill=1.5, simulated=simulated)
    manifest = make_split(table, folds)
    named = [(MAJORITY, majority), (PERMUTED, permuted_labels(logistic_fit))] if controls else []
    found = evaluate(logistic_fit(table, manifest), table, QUICK, validation=validation_fit(table, manifest),
                     controls=run_controls(named, table, manifest), note=note)
    text = write_report(tmp_path, ReportContext("A run", found, manifest, **context)).read_text()
    return text, Page(text), found


def test_the_page_is_whole_and_loads_nothing(tmp_path):
    (tmp_path / "epochs.csv").write_text(LOG)
    png = png_of(panels([lambda axes: axes.plot([0, 1])], 1, 1))
    text, page, _ = report_of(tmp_path, logs={"fold 1": tmp_path / "epochs.csv", "fold 2": tmp_path / "none.csv"},
                              pictures=[Picture(png, "A window", "Strain rate along the fibre")])
    assert text.lstrip().startswith("<!DOCTYPE html>")
    sources = [a[name] for _, a in page.elements for name in ("src", "href", "srcset", "data", "action") if name in a]
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert not page.all("script") and not page.all("link") and "url(" not in text and "@import" not in text
    for image in page.all("img"):
        assert len(image["alt"]) > 10
        data = base64.b64decode(image["src"].split(",", 1)[1])
        loads = re.findall(rb'(?:href|src)="(?!#|data:)([^"]*)"', data)
        assert not loads, loads
    assert len(page.all("img")) == 9 and len(text) < 6_000_000
    assert page.elements[0] == ("html", {"lang": "en"}) and page.all("title") and page.all("h1")
    assert any("width=device-width" in (m.get("content") or "") for m in page.all("meta"))
    assert all("scope" in heading for heading in page.all("th"))


def test_the_headline_comes_first_with_its_interval_and_controls(tmp_path):
    _, page, found = report_of(tmp_path)
    accuracy, words = found.units.accuracy, " ".join(page.text.split())
    places = [words.index(part) for part in (
        "Simulated data.", f"{100 * accuracy.value:.1f} %",
        f"interval {100 * accuracy.low:.1f} to {100 * accuracy.high:.1f} %", found.conclusion[0],
        "What each control is", "Who saw what", "Every event", "Scores", "Is a stated probability a frequency?",
        "What was not measured", "How to make it again")]
    assert places == sorted(places)
    assert "audit passed" in words and "5 folds pooled" in words
    for row in found.controls:
        assert row.verdict.sentence in words


def test_every_event_is_listed_wrong_ones_first(tmp_path):
    text, _, found = report_of(tmp_path)
    rows = re.findall(r'<tr( class="wrong")?><th scope="row">(ev\d+)</th>', text)
    assert len(rows) == 40
    marks = [bool(wrong) for wrong, _ in rows]
    assert marks == sorted(marks, reverse=True) and sum(marks) == sum(not row["right"] for row in found.answers)
    assert {name for wrong, name in rows if wrong} == {row["name"] for row in found.answers if not row["right"]}


def test_real_data_have_no_banner_and_a_leak_has_one_with_its_reason(tmp_path):
    text, _, _ = report_of(tmp_path, simulated=False, controls=False)
    assert "Simulated data." not in text and "The split leaks" not in text and "Controls: none was run" in text
    text, page, _ = report_of(tmp_path, note={"allow_leakage": f"because {NASTY}"})
    assert "The split leaks, and that was allowed." in text and f"because {NASTY}" in page.text


def test_text_from_files_is_escaped(tmp_path):
    table = make_table(10, skill=3.0)
    table = table.replaced(event=[f"{NASTY} {name}" for name in table.column("event")])
    manifest = make_split(table, 5)
    found = evaluate(logistic_fit(table, manifest), table, QUICK, not_measured=[NASTY])
    path = write_report(tmp_path, ReportContext(
        NASTY, found, manifest, recipe_yaml=NASTY, provenance={NASTY: NASTY}, subtitle=NASTY,
        pictures=[Picture(b"", NASTY, NASTY)]))
    page = Page(path.read_text())
    assert not page.all("script") and page.text.count("alert(") >= 15
    assert any(image["alt"] == NASTY for image in page.all("img"))


def test_one_fold_and_no_manifest_make_a_page_too(tmp_path):
    table = make_table(30)
    found = evaluate(logistic_fit(table, make_split(table, 5)).take(np.arange(60)), table, QUICK)
    page = Page(write_report(tmp_path, ReportContext("A run", found)).read_text())
    assert "Who saw what" not in page.text and "folds pooled" not in page.text
    nothing = evaluate(logistic_fit(table, make_split(table, 5)).take(np.arange(0)), table, QUICK)
    page = Page(write_report(tmp_path, ReportContext("A run", nothing)).read_text())
    assert "No event was tested." in page.text and "There is no score" in page.text


@pytest.mark.parametrize(("name", "expected"), [("accuracy", r"0\.\d{3} \(0\.\d{3} to [01]\.\d{3}\)")])
def test_numbers_read_as_sentences(tmp_path, name, expected):
    _, _, found = report_of(tmp_path)
    assert re.fullmatch(expected, estimate_text(found.units.metrics[name]))
