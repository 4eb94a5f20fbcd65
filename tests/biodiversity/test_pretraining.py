"""Pretraining: it finds what modalities say of each other where they do, says so where they do not, and hands over."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from embedding_world import WIDTHS, World, world_recipe

from groundswell.core.errors import InputError, RefusedError
from groundswell.data.table import SampleTable
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.biodiversity import pretraining
from groundswell.pipelines.biodiversity.models.classifiers import FusionClassifier
from groundswell.pipelines.biodiversity.pretrained import Pretrained, init_from
from groundswell.pipelines.biodiversity.pretraining import make_task, pretrain, seen_by
from groundswell.pipelines.biodiversity.reconstruction import RIVALS, Loading, measure, summarise
from groundswell.splits.manifest import TEST, TRAIN, VALIDATION, SplitManifest
from groundswell.train.fit import load_best
from groundswell.train.weights import read_weights


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A pretraining of two folds on related modalities, and its sentences."""
    out = tmp_path_factory.mktemp("pretrained") / "run"
    return out, pretrain(two_folds(), out, workflow=World(), quiet=True)


def two_folds():
    return world_recipe(split={"regime": "kfold", "folds": 2})


def facts_of(out):
    return json.loads((out / "reconstruction.json").read_text())


def test_related_modalities_predict_each_other(finished):
    out, sentences = finished
    facts = facts_of(out)
    assert facts["passed"] and facts["simulated"] and facts["tested"] == 240 and facts["groups"] == 60
    assert facts["modalities"].keys() == {"vision", "language"}
    for score in facts["modalities"].values():
        for rival in RIVALS:
            below = score[f"below_{rival}"]
            assert 0.2 < below["low"] < below["value"] < below["high"] < 1, rival
            assert below["value"] == pytest.approx(1 - score["error"] / score[rival])
        assert score["constant"] <= score["mean"] + 1e-9 and score["pairing"] > score["mean"]
    # Noise of 0.5 on class vectors of unit spread: a fifth of the variance of vision cannot be known.
    assert facts["modalities"]["language"]["error"] < 0.2 < 0.15 + facts["modalities"]["vision"]["error"]
    assert "simulated" in sentences[0] and any("predicted from language" in line for line in sentences)
    assert any("telling species apart" in line for line in sentences)


def test_the_page_and_the_rows_say_the_same(finished):
    out, _ = finished
    page = (out / "reconstruction.html").read_text()
    assert "Simulated data." in page and "passed" in page and "<script" not in page and "://" not in page
    rows = pd.read_parquet(out / "reconstruction.parquet")
    assert len(rows) == 480 and rows.columns.tolist() == ["sample_id", "modality", "error", *RIVALS, "fold"]
    facts = facts_of(out)
    for name, score in facts["modalities"].items():
        assert rows.loc[rows["modality"] == name, "error"].mean() == pytest.approx(score["error"])


def test_unrelated_modalities_are_said_to_be_so(tmp_path):
    world = World(related=False, marked=False)
    sentences = pretrain(world_recipe(train={"epochs": 4}), tmp_path / "run", workflow=world, quiet=True)
    facts = facts_of(tmp_path / "run")
    assert not facts["passed"] and not facts["simulated"]
    for score in facts["modalities"].values():
        assert score["below_constant"]["value"] < 0.1
    assert not any("simulated" in line for line in sentences) and any("which is not 20%" in line for line in sentences)
    page = (tmp_path / "run" / "reconstruction.html").read_text()
    assert "Simulated data." not in page and "not passed" in page


def test_the_test_part_is_looked_at_once_and_never_in_training(finished, monkeypatch):
    out, sentences = finished
    names = ("reconstruction.json", "reconstruction.parquet", "fold-1/weights/best.safetensors")
    times = {name: (out / name).stat().st_mtime_ns for name in names}
    monkeypatch.setattr(pretraining, "measure", None)
    monkeypatch.setattr(pretraining, "fit", None)
    assert pretrain(two_folds(), out, workflow=World(), quiet=True) == sentences
    assert times == {name: (out / name).stat().st_mtime_ns for name in times}
    with pytest.raises(InputError, match=r"another recipe: train.epochs was 25 and is 3"):
        pretrain(world_recipe(split={"regime": "kfold", "folds": 2}, train={"epochs": 3}), out, workflow=World())
    with pytest.raises(InputError, match="not empty"):
        pretrain(two_folds(), out.parent, workflow=World())


class Watched:
    """A source that notes the rows that are read."""

    def __init__(self, source, seen):
        self.source, self.seen, self.fields, self.close = source, seen, source.fields, source.close

    def __len__(self):
        return len(self.source)

    def read(self, rows, out):
        self.seen.update(rows.tolist())
        self.source.read(rows, out)


def test_fitting_reads_no_tested_observation(tmp_path, monkeypatch):
    seen, world, source = set(), World(), World.source
    monkeypatch.setattr(World, "source", lambda *args, **more: Watched(source(*args, **more), seen))
    monkeypatch.setattr(pretraining, "_judge", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    recipe = world_recipe(train={"epochs": 2})
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, tmp_path / "run", workflow=world, quiet=True)
    archive = load_archive(tmp_path / "run")
    manifest = SplitManifest.read(tmp_path / "run", archive.table)
    assert seen == {*manifest.rows(TRAIN).tolist(), *manifest.rows(VALIDATION).tolist()}
    assert not (tmp_path / "run" / "pretrained.json").exists()
    with pytest.raises(InputError, match="not finished"):
        Pretrained.open(tmp_path / "run")
    monkeypatch.undo()
    pretrain(recipe, tmp_path / "run", workflow=world, quiet=True)
    assert Pretrained.open(tmp_path / "run").folds == 1


def test_place_is_predicted_too(tmp_path):
    recipe = world_recipe(pretrain={"modalities": ["vision", "language", "place"]}, train={"epochs": 2})
    pretrain(recipe, tmp_path / "run", workflow=World(), quiet=True)
    facts = facts_of(tmp_path / "run")
    assert facts["modalities"].keys() == {"vision", "language", "place"}
    assert Pretrained.open(tmp_path / "run").widths == {**WIDTHS, "place": 7}
    network = FusionClassifier(6, ("place", "vision"), encoder_dim=32, place_size="tiny", widths=WIDTHS)
    # A linear layer and a normalisation with two tensors each, mean and scale; and the table of the grid.
    assert init_from(network, tmp_path / "run").tensors == 6 + 7


def test_what_cannot_be_pretrained_is_refused_before_anything_is_written(tmp_path):
    for more, complaint in (({"pretrain": {"modalities": ["vision", "sound"]}}, "no modality 'sound'"),
                            ({"split": {"regime": "kfold", "folds": 90}}, "needs at least 90 groups")):
        with pytest.raises(InputError, match=complaint):
            pretrain(world_recipe(**more), tmp_path / "run", workflow=World(), quiet=True)
    with pytest.raises(RefusedError, match="The split leaks"):
        pretrain(world_recipe(split={"regime": "ungrouped"}), tmp_path / "run", workflow=World(), quiet=True)
    assert not (tmp_path / "run").exists()


# -- handing over ----------------------------------------------------------------------------------------------------


def classifier(**more):
    torch.manual_seed(1)
    return FusionClassifier(6, more.pop("modalities", ("vision",)), **{"encoder_dim": 32, "widths": WIDTHS, **more})


@pytest.mark.parametrize("fold", [0, 1])
def test_a_classifier_starts_from_the_fold_that_saw_the_same_observations(finished, fold):
    out, _ = finished
    archive = load_archive(out)
    manifest = SplitManifest.read(out, archive.table)
    network = classifier(modalities=("vision", "place"), place_size="tiny")
    place = {key: value.clone() for key, value in network.place_encoder.state_dict().items()}
    done = init_from(network, out, table=archive.table, rows=manifest.rows(TRAIN, fold))
    assert (done.tensors, done.modalities, done.fresh, done.fold) == (6, ("vision",), ("place",), fold)
    tensors, _ = read_weights(out / f"fold-{fold + 1}" / "weights" / "best.safetensors")
    own = network.vision_encoder.state_dict()
    assert len(own) == 6 and all(torch.equal(own[key], tensors[f"network.vision_encoder.{key}"]) for key in own)
    assert all(torch.equal(network.place_encoder.state_dict()[key], value) for key, value in place.items())
    assert all(p.requires_grad for p in network.parameters())


def test_the_encoder_computes_what_it_computed_in_pretraining(finished):
    out, _ = finished
    recipe, archive = two_folds(), load_archive(out)
    task = make_task(recipe, World(), archive)
    load_best(task, out / "fold-1")
    network = classifier()
    init_from(network, out)
    x = torch.randn(5, 2, 24)
    assert torch.equal(network.vision_encoder(x), task.network.vision_encoder(x))


def test_pretraining_that_saw_other_observations_is_refused(finished):
    out, _ = finished
    table, network = load_archive(out).table, classifier()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(InputError, match="could know some that the classifier is tested on"):
        init_from(network, out, table=table, rows=np.arange(100))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_observations_without_a_label_may_have_been_seen(finished):
    out, _ = finished
    archive = load_archive(out)
    rows = SplitManifest.read(out, archive.table).rows(TRAIN, 1)
    labels = archive.table.column("label")
    labels[rows[:5]] = pd.NA
    assert init_from(classifier(), out, table=archive.table.replaced(label=labels), rows=rows[5:]).fold == 1


@pytest.mark.parametrize(("network", "complaint"), [
    (lambda: classifier(encoder_dim=0), "has no encoders"),
    (lambda: classifier(modalities=("place",), place_size="tiny"), "has encoders of place"),
    (lambda: classifier(encoder_dim=16), r"another one: layers.0.weight is \(32, 24\) there and \(16, 24\) here"),
    (lambda: classifier(widths={"vision": 8}), "is another one: mean is")])
def test_nothing_or_half_of_an_encoder_is_never_copied(finished, network, complaint):
    made = network()
    before = {key: value.clone() for key, value in made.state_dict().items()}
    with pytest.raises(InputError, match=complaint):
        init_from(made, finished[0])
    assert all(torch.equal(value, before[key]) for key, value in made.state_dict().items())


def test_what_is_no_pretraining_is_refused(finished, tmp_path):
    with pytest.raises(InputError, match="not the folder of a pretraining"):
        init_from(classifier(), tmp_path)
    with pytest.raises(InputError, match="no fold 3"):
        init_from(classifier(), finished[0], fold=2)
    (tmp_path / "pretrained.json").write_text('{"format": 1, "widths": 3}')
    with pytest.raises(InputError, match="cannot be read"):
        Pretrained.open(tmp_path)
    (tmp_path / "pretrained.json").write_text('{"format": 7}')
    with pytest.raises(InputError, match="format 7"):
        Pretrained.open(tmp_path)


# -- what the numbers are --------------------------------------------------------------------------------------------


def test_errors_are_what_they_are_called(finished):
    out, _ = finished
    recipe, archive = two_folds(), load_archive(out)
    task = make_task(recipe, World(), archive)
    load_best(task, out / "fold-2")
    manifest = SplitManifest.read(out, archive.table)
    source = World().source(seen_by(recipe), archive, training=False)
    rows, train = manifest.rows(TEST, 1), manifest.rows(TRAIN, 1)
    found = measure(task, Loading(source, 50), rows, seed=0)
    vectors = {}
    for which, chosen in (("test", rows), ("train", train)):
        buffers = {name: field.allocate(len(chosen)) for name, field in source.fields.items()}
        source.read(chosen, buffers)
        vectors[which] = buffers
    for name, axes in (("vision", 1), ("language", ())):
        train_x, test_x = (vectors[which][name].astype(float).mean(axis=axes) for which in ("train", "test"))
        z = (test_x - train_x.mean(0)) / train_x.std(0)
        part = found[found["modality"] == name]
        assert part["row"].tolist() == rows.tolist()
        np.testing.assert_allclose(part["mean"], (z**2).mean(1), rtol=1e-3)
        np.testing.assert_allclose(part["constant"], ((z - z.mean(0)) ** 2).mean(1), rtol=1e-3)
        outputs = task.predict({key: torch.from_numpy(value) for key, value in vectors["test"].items()})
        zhat = (outputs[f"{name}_reconstruction"].detach().numpy() - train_x.mean(0)) / train_x.std(0)
        np.testing.assert_allclose(part["error"], ((z - zhat) ** 2).mean(1), rtol=1e-3, atol=1e-5)
    again = measure(task, Loading(source, 7), rows, seed=0)
    np.testing.assert_allclose(found["pairing"], again["pairing"], rtol=1e-4)
    assert not np.allclose(found["pairing"], measure(task, Loading(source, 50), rows, seed=1)["pairing"])
    assert measure(task, Loading(source, 50), rows[:1], seed=0)["pairing"].isna().all()


def hand_made(error, *, groups=40, constant=0.8):
    count = 200
    draw = np.random.default_rng(0)
    table = SampleTable(pd.DataFrame({"sample_id": [str(k) for k in range(count)], "record": "r", "label": 0,
                                      "group": [str(k % groups) for k in range(count)]}), ["a"])
    rows = np.arange(count)
    errors = pd.concat([pd.DataFrame({"row": rows, "modality": name, "error": error + 0.1 * draw.random(count),
                                      "mean": 1.0, "constant": constant, "pairing": 1.2})
                        for name in ("vision", "language")])
    return errors, table


@pytest.mark.parametrize(("error", "passed"), [(0.3, True), (0.62, False), (1.5, False)])
def test_the_verdict(error, passed):
    errors, table = hand_made(error)
    facts = summarise(errors, table, EvaluateRecipe(bootstrap=200), seed=0)
    assert facts["passed"] is passed
    below = facts["modalities"]["vision"]["below_constant"]
    assert below["low"] < below["value"] < below["high"] and below["method"] == "bootstrap"
    assert facts["all"]["below_mean"]["value"] == pytest.approx(1 - (error + 0.05), abs=0.02)
    wanted = "which is what was asked for" if passed else "which is not 20% below"
    assert all(wanted in line for line in facts["sentences"])


def test_intervals_are_drawn_over_clusters_where_there_are_some():
    errors, table = hand_made(0.3)
    errors["error"] += (errors["row"] % 4 == 0) * 0.2
    clustered = table.replaced(cluster=[str(k % 4) for k in range(len(table))])
    width = {}
    for name, of in (("group", table), ("cluster", clustered)):
        facts = summarise(errors, of, EvaluateRecipe(bootstrap=400), seed=0)
        width[name] = facts["all"]["below_mean"]["high"] - facts["all"]["below_mean"]["low"]
        assert facts["groups"] == {"group": 40, "cluster": 4}[name]
    assert width["cluster"] > 1.5 * width["group"]


def test_one_group_gives_no_interval_and_does_not_pass():
    facts = summarise(*hand_made(0.3, groups=1), EvaluateRecipe(bootstrap=200), seed=0)
    below = facts["modalities"]["vision"]["below_mean"]
    assert below["low"] is None and "one group" in below["why"] and not facts["passed"]


def test_small_kinds_of_test_are_not_given_a_number():
    errors, table = hand_made(0.3)
    stratum = np.array(["future"] * 20 + ["unseen place"] * 170 + [""] * 10, dtype=object)
    facts = summarise(errors, table, EvaluateRecipe(bootstrap=200), seed=0, stratum=stratum)
    assert facts["strata"].keys() == {"future", "unseen place"}
    assert facts["strata"]["future"] == {"tested": 20, "why": "fewer than 30 observations"}
    assert facts["strata"]["unseen place"]["vision"]["below_mean"]["value"] > 0.5
