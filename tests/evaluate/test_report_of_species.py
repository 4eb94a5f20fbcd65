"""The report of hundreds of classes is one small page that folds what is long away and says what is not known."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from report_page import Page
from species_world import skilled, species_table, split_by

from groundswell.evaluate.controls import MAJORITY, Control, ControlRun, Outcome, majority
from groundswell.evaluate.evaluation import evaluate
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.evaluate.report import ReportContext, write_report
from groundswell.splits.manifest import VALIDATION

NASTY = '"><script>alert("boo")</script>'
RIVAL = Control("probe", "linear probe", "rival", "A straight line.", "A straight line")


@pytest.fixture(scope="module")
def world():
    table = species_table(2500, 232, places=150)
    return table, split_by(table, unseen=(3, 5))


@pytest.fixture(scope="module")
def written(world, tmp_path_factory):
    table, manifest = world
    runs = [ControlRun(MAJORITY, majority(table, manifest)),
            ControlRun(RIVAL, Outcome(skilled(table, manifest, 2.0, seed=4), table))]
    found = evaluate(skilled(table, manifest, 3.0, only="seen place"), table, EvaluateRecipe(bootstrap=200, n_min=8),
                     validation=skilled(table, manifest, 3.0, part=VALIDATION), controls=runs, manifest=manifest)
    path = write_report(tmp_path_factory.mktemp("report"), ReportContext("Species", found, manifest))
    return found, path.read_text()


def test_the_page_is_whole_and_stays_small(written):
    found, text = written
    page = Page(text)
    assert not page.all("script") and len(text) < 1_500_000
    assert all(len(image["alt"]) > 10 for image in page.all("img")) and all("scope" in th for th in page.all("th"))
    words = " ".join(page.text.split())
    places = [words.index(part) for part in (
        "Simulated data.", found.conclusion[0], "What each control is", "Where the score comes from", "Who saw what",
        "Every sample", "Scores", "Classes that training had none of", "Each class", "Is a stated probability",
        "What was not measured")]
    assert places == sorted(places)
    assert "windows" not in words and "p(Species" not in words and "ROC curve" not in text


def test_strata_stand_beside_their_controls_and_chance(written):
    found, text = written
    words = " ".join(Page(text).text.split())
    assert "no skill shown where the place is new" in words
    for name, stratum in found.strata.items():
        accuracy = stratum.scores.accuracy
        cells = (f"{stratum.samples:,}", f"{stratum.groups:,}", f"{accuracy.value:.3f}",
                 f"{accuracy.low:.3f} to {accuracy.high:.3f}", f"{stratum.skill.chance:.4f}")
        assert re.search(rf"{name}.*?" + r"\s*".join(map(re.escape, cells)), words), name
        gap = f"{stratum.controls[1].difference.value:.3f}".replace("-", "−")
        assert f"model − it: {gap}" in words


def test_species_are_listed_folded_and_refused_where_few(written):
    found, text = written
    folded = "".join(re.findall(r"<details>.*?</details>", text, flags=re.S))
    tested = [row for row in found.by_class if row.tested]
    rows = re.findall(r'<tr><th scope="row">(Species \d+)', folded)
    assert rows == [row.name for row in tested]
    refused = [row for row in tested if row.why]
    assert 0 < len(refused) < len(tested) and folded.count("no number: ") == len(refused)
    assert "unseen in training" in folded and "top-5 accuracy" in text and "prevalence-weighted accuracy" in text


def test_the_page_of_a_few_classes_of_samples_keeps_its_curves(tmp_path):
    table = species_table(400, 4)
    manifest = dataclasses.replace(split_by(table), stratum=None)
    found = evaluate(skilled(table, manifest, 1.0), table, EvaluateRecipe(bootstrap=200), manifest=manifest)
    text = write_report(tmp_path, ReportContext("Species", found, manifest)).read_text()
    page = Page(text)
    assert "ROC curve" in text and "Where the score comes from" not in page.text and "p(Species 000)" in page.text


def test_names_of_species_and_strata_are_escaped(world, tmp_path):
    table, manifest = world
    classes = tuple(f"{NASTY} {name}" for name in table.classes)
    table = type(table)(table.frame, classes, origin=table.origin)
    strange = dataclasses.replace(manifest, table_fingerprint=table.fingerprint,
                                  stratum=np.array([NASTY if s else "" for s in manifest.stratum], object))
    found = evaluate(skilled(table, strange, 1.0), table, EvaluateRecipe(bootstrap=100, n_min=2), manifest=strange)
    found.write(tmp_path)
    page = Page(write_report(tmp_path, ReportContext("Species", found, strange)).read_text())
    assert not page.all("script") and page.text.count("alert(") > 50
