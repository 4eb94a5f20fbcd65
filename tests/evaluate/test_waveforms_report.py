"""The report of waveforms is one page that loads nothing and escapes what it was given; the one beside it loads nothing
either, though it runs a script."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from report_page import Page
from wave_world import DT, NT, T0, World, sources

from groundswell.data.waveforms import WaveformPredictions
from groundswell.evaluate import waveform_report
from groundswell.evaluate.controls import ControlRun
from groundswell.evaluate.figures import read_epochs, training_history
from groundswell.evaluate.report import ReportContext
from groundswell.evaluate.waveform_examples import example, worst_first
from groundswell.evaluate.waveform_recipe import WaveformEvaluateRecipe
from groundswell.evaluate.waveform_report import write_waveform_report
from groundswell.evaluate.waveform_rivals import WAVEFORM_CONTROLS
from groundswell.evaluate.waveforms import evaluate_waveforms

QUICK = WaveformEvaluateRecipe(bootstrap=100, n_min=4)
NASTY = '</script><script>alert("boo")</script>'
LOG = "epoch,train_loss,val_loss,train_path_loss,val_path_loss,val_correlation,learning_rate\n1,2,3,1,1,0.5,0.1\n"


def evaluated(world=None, truth=True, **options):
    world = world or World(16, unrecoverable=2)
    runs = [world.run("iccs_stack", world.guess(0.5, spread=False)),
            world.run("oracle", world.guess(0.1, spread=False)),
            ControlRun(WAVEFORM_CONTROLS["stack_only"], None, "it was not trained")]
    return evaluate_waveforms(world.guess(), world.table, world.truth if truth else None, QUICK, controls=runs,
                              unit="bag", manifest=world.split(), **options), world


def words_of(page):
    return " ".join(page.text.split())


def test_the_page_is_whole_and_loads_nothing(tmp_path):
    found, world = evaluated()
    (tmp_path / "epochs.csv").write_text(LOG)
    text = write_waveform_report(tmp_path, ReportContext(
        "A run", found, world.split(), "seed: 1", {"commit": "abc"}, {"fit": tmp_path / "epochs.csv"})).read_text()
    page = Page(text)
    sources_of = [a[name] for tag, a in page.elements for name in ("src", "href", "srcset") if name in a]
    assert sources_of.count("sources.html") <= 1
    assert all(s == "sources.html" or s.startswith("data:image/") for s in sources_of)
    assert not page.all("script") and not page.all("link") and "url(" not in text and "@import" not in text
    assert "default-src 'none'; img-src data:" in text
    assert len(page.all("img")) == 8 and all(len(image["alt"]) > 10 for image in page.all("img"))
    assert all("scope" in heading for heading in page.all("th"))
    words = words_of(page)
    assert re.findall(r"<h2>(.*?)</h2>", text) == [
        "The model and its rivals", "Each kind of test", "What cannot be recovered", "Examples", "Shifts",
        "Who saw what", "Every bag", "Training", "What was not measured", "How to make it again"]
    places = [words.index(part) for part in (
        "Simulated data.", f"{found.whole.scores['correlation'].value:.3f}", found.conclusion[0],
        "The model and its rivals")]
    assert places == sorted(places)
    assert all(line in words for line in (*found.conclusion, *found.not_measured))
    assert "Not run: it was not trained" in words


def test_every_sample_is_listed_the_worst_first(tmp_path):
    found, _ = evaluated()
    text = write_waveform_report(tmp_path, ReportContext("A run", found)).read_text()
    rows = re.findall(r'<tr(?: class="wrong")?><th scope="row">(event \d+/\d)', text)
    by_name = {row["name"]: row for row in found.answers}
    assert sorted(rows) == sorted(by_name)
    numbers = [by_name[name]["correlation"] for name in rows if by_name[name]["recoverable"]]
    assert numbers == sorted(numbers) and not by_name[rows[-1]]["recoverable"]


def test_text_from_files_is_escaped_on_both_pages(tmp_path):
    pytest.importorskip("plotly")
    found, world = evaluated(World(8, prefix=NASTY, worlds=(NASTY, "b")), not_measured=[NASTY],
                             note={"marks": [NASTY]})
    write_waveform_report(tmp_path, ReportContext(NASTY, found, world.split(), NASTY, {NASTY: NASTY}, subtitle=NASTY))
    page = Page((tmp_path / "report.html").read_text())
    assert not page.all("script") and page.text.count("alert(") >= 12
    text = (tmp_path / "sources.html").read_text()
    assert text.count("<script") - text.count("<script>!function") <= 4 and NASTY not in text
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert {sample["name"] for sample in json.loads(data)["samples"]} == set(world.ids)
    assert f"<title>{NASTY}" not in text


def test_the_interactive_page_loads_nothing(tmp_path):
    pytest.importorskip("plotly")
    found, _ = evaluated()
    write_waveform_report(tmp_path, ReportContext("A run", found))
    text = (tmp_path / "sources.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'") and "http" not in policy and "form-action 'none'" in policy
    ours = text.split("<script>")[0] + text.rpartition("</script>")[2]
    assert not re.findall(r'<(?:script|link|img|iframe)[^>]*\b(?:src|href)="?(?!data:)[^">]+', ours)
    assert "Simulated data." in text and "<noscript>" in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    first = data["samples"][0]
    assert {"model", "true", "ICCS stack"} == set(first["waves"]) and len(first["low"]) == NT
    assert first["start"] == pytest.approx(T0) and first["step"] == pytest.approx(DT)


def test_without_plotly_there_is_one_page_and_no_link(tmp_path, monkeypatch):
    monkeypatch.setattr(waveform_report, "available", lambda module: False)
    found, _ = evaluated()
    text = write_waveform_report(tmp_path, ReportContext("A run", found)).read_text()
    assert "sources.html" not in text and not (tmp_path / "sources.html").exists()


def test_real_records_without_truth_make_a_page_that_says_so(tmp_path):
    found, world = evaluated(World(8, simulated=False, worlds=None), truth=False)
    page = Page(write_waveform_report(tmp_path, ReportContext("A run", found, world.split())).read_text())
    words = words_of(page)
    assert "Simulated data." not in words and "The true waveform is not known here" in words
    assert "split-half correlation, median" in words and "What cannot be recovered" not in words


def test_one_sample_and_none_make_pages_too(tmp_path):
    world = World(4)
    for rows, said in ((np.arange(1), "without an interval"), (np.arange(0), "No sample was tested.")):
        found = evaluate_waveforms(world.guess().take(rows), world.table, world.truth, QUICK)
        assert said in words_of(Page(write_waveform_report(tmp_path, ReportContext("A run", found)).read_text()))
        assert (tmp_path / "metrics.json") in found.write(tmp_path)
        json.loads((tmp_path / "metrics.json").read_text())
    bare = WaveformPredictions.of(world.ids, sources(4), dt=DT, t0=T0)
    found = evaluate_waveforms(bare, world.table, None, QUICK)
    assert "There is no score" in found.conclusion[0]
    write_waveform_report(tmp_path, ReportContext("A run", found))


def test_pictures_are_written_beside_the_numbers(tmp_path):
    found, _ = evaluated()
    written = found.write(tmp_path)
    assert {path.name for path in written} == {
        "metrics.json", "rivals.png", "shift_errors.png", "scatter.png", "shifts.png", "envelope_correlations.png",
        "coverage.png", "examples.png"}
    assert all(path.stat().st_size > 500 for path in written)


def test_examples_are_in_one_frame():
    found, world = evaluated(World(6))
    for place in worst_first(found):
        one = example(found, place, 1.645)
        at = world.ids.index(one.name)
        assert np.corrcoef(one.model, one.true)[0, 1] == pytest.approx(one.score, abs=0.01)
        assert np.corrcoef(one.model, one.others["ICCS stack"])[0, 1] > 0.8 and "oracle stack" not in one.others
        assert np.abs(one.model - one.true).mean() < 0.5 and one.band.mean() == pytest.approx(1.645 * 0.2, rel=0.15)
        assert one.true.std() == pytest.approx(world.source[at].std(), rel=0.05)


def test_a_history_without_accuracy_shows_every_term(tmp_path):
    (tmp_path / "epochs.csv").write_text(LOG)
    figure = training_history({"fit": read_epochs(tmp_path / "epochs.csv")})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Loss", "Path loss", "Correlation", "Learning rate"]
