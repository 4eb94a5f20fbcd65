"""The report of boxes is one page that loads nothing, escapes what it was given, and says what there is no number
for."""

from __future__ import annotations

import re

import numpy as np
import pytest
from box_world import World
from report_page import Page
from test_detection_evaluation import runs_of

from groundswell.evaluate.controls import ControlRun
from groundswell.evaluate.detection import evaluate_boxes
from groundswell.evaluate.detection_controls import PERMUTED_BOXES
from groundswell.evaluate.detection_figures import figures_of
from groundswell.evaluate.detection_recipe import DetectionEvaluateRecipe
from groundswell.evaluate.detection_report import write_detection_report
from groundswell.evaluate.report import Picture, ReportContext

QUICK = DetectionEvaluateRecipe(bootstrap=100, n_min=4)
NASTY = '<script>alert("boo")</script>'
LOG = "epoch,train_loss,val_loss,val_map50,learning_rate\n1,2,3,0.1,0.1\n2,1,2,0.2,0.1\n"


def evaluated(world, **options):
    return evaluate_boxes(world.guess(), world.truth, world.table, QUICK, **options)


def words_of(page):
    return " ".join(page.text.split())


def test_the_page_is_whole_and_loads_nothing(tmp_path):
    world = World(10, 5, seed=2)
    found = evaluated(world, validation=world.guess(seed=8), manifest=world.split(),
                      controls=[*runs_of(world)[:1], ControlRun(PERMUTED_BOXES, None, "it was not trained")])
    (tmp_path / "epochs.csv").write_text(LOG)
    picture = Picture(b"\x89PNG", "Tested images", "Animals in boxes")
    text = write_detection_report(tmp_path, ReportContext(
        "A run", found, world.split(), "seed: 1", {"commit": "abc"}, {"fit": tmp_path / "epochs.csv"},
        [picture])).read_text()
    page = Page(text)
    sources = [a[name] for tag, a in page.elements for name in ("src", "href", "srcset") if name in a]
    assert sources and all(s.startswith("data:image/") for s in sources)
    assert not page.all("script") and not page.all("link") and "url(" not in text and "@import" not in text
    assert len(page.all("img")) == 9 and all(len(image["alt"]) > 10 for image in page.all("img"))
    assert all("scope" in heading for heading in page.all("th"))
    assert re.findall(r"<h2>(.*?)</h2>", text) == [
        "The model and its controls", "Boxes that are counted", "Each priority", "Each class", "Each place",
        "What it looked at", "Who saw what", "Training", "What was not measured", "How to make it again"]
    words = words_of(page)
    places = [words.index(part) for part in (
        "Simulated data.", f"{found.whole.scores['map50'].value:.3f}", found.conclusion[0],
        "The model and its controls")]
    assert places == sorted(places) and "Not run: it was not trained" in words
    assert all(line in words for line in (*found.conclusion, *found.not_measured))
    assert f"{found.chosen['level'].value:.2f} (best F1 on validation)" in words


def test_text_from_files_is_escaped(tmp_path):
    world = World(6, 3, seed=2, prefix=NASTY, classes=(NASTY, "b", "c"), priority=(NASTY, None, None))
    found = evaluated(world, not_measured=[NASTY], note={"allow_leakage": NASTY})
    text = write_detection_report(tmp_path, ReportContext(NASTY, found, None, NASTY, {"a": NASTY})).read_text()
    assert "<script" not in text and NASTY in Page(text).text


def test_few_clips_are_said_at_the_top(tmp_path):
    world = World(3, 4, seed=4, animals=(2, 4))
    words = words_of(Page(write_detection_report(tmp_path, ReportContext("A run", evaluated(world))).read_text()))
    assert words.index("Few groups.") < words.index("mAP50") and "only 3 groups" in words


@pytest.mark.parametrize("world", [
    World(6, 3, animals=(0, 0)), World(5, 3, seed=1, classes=("animal",), priority=(None,)),
    World(8, 6, seed=1, animals=(2, 6), classes=tuple(f"species {k}" for k in range(36)), priority=(None,) * 36)])
def test_no_animal_one_class_and_many_classes_have_a_page_too(world, tmp_path):
    found = evaluated(world)
    page = Page(write_detection_report(tmp_path, ReportContext("A run", found)).read_text())
    assert found.conclusion[0] in words_of(page)
    if len(world.classes) == 36:
        listed = [row.name for row in found.classes]
        assert all(name in page.text for name in listed)
    assert set(figures_of(found)) <= {"controls", "classes", "precision_recall", "levels", "reliability", "counting",
                                      "confusion"}


def test_words_for_pictures_hold_their_numbers():
    world = World(8, 5, seed=2)
    found = evaluated(world, controls=runs_of(world))
    alt = {name: text for name, (_, text) in figures_of(found).items()}
    assert f"model {found.whole.scores['map50'].value:.3f}" in alt["controls"]
    assert str(int(found.confusion[:-1, -1].sum())) in alt["confusion"]
    assert np.isfinite(found.calibration.ece.value) and f"{found.calibration.ece.value:.3f}" in alt["reliability"]
