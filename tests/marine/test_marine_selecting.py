"""What is worth annotating next is told from raw scores, spread in feature space, and never twice the same picture."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_detector import CLASSES, IDS, SIZE, Scripted, looker_of, pool_of, taught, wrong_boxes

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.core.run import RunFolder
from groundswell.pipelines.marine.images import ImageSet, ImageWriter
from groundswell.pipelines.marine.prepare.recipe import PrepareRecipe
from groundswell.pipelines.marine.prepare.underwater import underwater
from groundswell.pipelines.marine.recipe import DetectRecipe, SelectRecipe
from groundswell.pipelines.marine.selecting import choosing
from groundswell.pipelines.marine.selecting.choosing import choose_images, select_images
from groundswell.pipelines.marine.selecting.diversity import clusters_of, deal
from groundswell.pipelines.marine.selecting.uncertainty import (
    CRITERIA,
    Places,
    criteria_of,
    entropy_of,
    places_of,
    ranked,
    rare_classes,
)
from groundswell.pipelines.marine.simulate.simulating import read_truth, simulate_set

A, B, C = (4, 4, 20, 20), (40, 4, 60, 24), (8, 40, 30, 60)
NOTHING = dict.fromkeys(CRITERIA, 0.0)
NO_RARE = np.zeros(3)
NONE_CRITICAL = np.zeros(3, bool)


def recipe_of(count: int = 100, clusters: int = 1, **weights: Any) -> SelectRecipe:
    return SelectRecipe(num_samples=count, clusters=clusters, **(NOTHING | weights if weights else {}))


def chosen(out: Path) -> list[str]:
    return pd.read_csv(out / "selection.csv")["image"].tolist()


def places(*found: tuple[Any, Any]) -> Places:
    classes = len(found[0][1]) if found else 3
    return Places(np.array([box for box, _ in found], np.float32).reshape(-1, 4),
                  np.array([score for _, score in found], np.float32).reshape(-1, classes))


def judged(*found: tuple[Any, Any], views: tuple[Places, ...] = (), band: tuple[float, float] = (0.3, 0.7),
           critical: Any = NONE_CRITICAL, rare: Any = NO_RARE) -> dict[str, float]:
    return criteria_of(places(*found), views, band=band, critical=critical, rare=rare)


# -- criteria ----------------------------------------------------------------------------------------------------------

def test_entropy_is_of_each_class_on_its_own_and_not_over_boxes() -> None:
    assert entropy_of(np.array([0.5, 0.0, 1.0])) == pytest.approx([1, 0, 0], abs=1e-6)
    half = judged((A, (0.5, 0, 0)))["entropy"]
    assert half == pytest.approx(1, abs=1e-6)
    # Normalised over boxes, one box alone would have none, and a sure box beside it would change it.
    assert judged((A, (0.5, 0, 0)), (B, (0.99, 0, 0)))["entropy"] == pytest.approx(half)
    assert judged((A, (0.5, 0.5, 0)))["entropy"] == pytest.approx(2, abs=1e-6)


@settings(max_examples=40)
@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=4), st.integers(2, 5))
def test_an_image_does_not_win_by_the_number_of_its_boxes(scores: list[tuple[float, ...]], times: int) -> None:
    facts: dict[str, Any] = {"critical": np.array([True, False, False]), "rare": np.array([0.2, 0.5, 1])}
    found = [((20 * k, 0, 20 * k + 10, 10), score) for k, score in enumerate(scores)]
    again = [((20 * k, 40 * n, 20 * k + 10, 40 * n + 10), score) for n in range(times)
             for k, score in enumerate(scores)]
    dark = tuple((box, [value / 2 for value in score]) for box, score in found)
    darker = tuple((box, [value / 2 for value in score]) for box, score in again)
    assert judged(*again, views=(places(*darker),), **facts) == pytest.approx(
        judged(*found, views=(places(*dark),), **facts), abs=1e-6)


def test_the_band_is_seen_from_raw_scores_whatever_the_detector_shows() -> None:
    shown = DetectRecipe().confidence
    low = judged((A, (0.15, 0, 0)), band=(0.1, 0.2))
    assert shown > 0.15 and low["entropy"] > 0.5 and low["least_confidence"] == pytest.approx(0.85)
    assert judged((A, (0.15, 0, 0)))["entropy"] == 0


def test_least_confidence_is_of_the_surest_box_and_an_empty_image_is_not_unsure() -> None:
    assert judged((A, (0.9, 0, 0)), (B, (0.4, 0, 0)))["least_confidence"] == pytest.approx(0.1)
    assert judged((A, (0.4, 0, 0)))["least_confidence"] == pytest.approx(0.6)
    assert judged((A, (0.05, 0, 0)))["least_confidence"] == 0
    assert judged() == NOTHING


def test_the_margin_is_between_the_two_likeliest_classes_of_a_box() -> None:
    assert judged((A, (0.6, 0.1, 0.55)))["margin"] == pytest.approx(0.95)
    assert judged((A, (0.9, 0.1, 0.05)))["margin"] == pytest.approx(0.2)
    one = criteria_of(places((A, (0.5,))), (), band=(0.3, 0.7), critical=np.zeros(1, bool), rare=np.zeros(1))
    assert one["margin"] == 0


def test_variation_matches_boxes_and_compares_their_classes() -> None:
    moved = (5, 4, 21, 20)
    before = ((A, (0.9, 0.1, 0)), (B, (0.5, 0, 0)))
    assert judged(*before, views=(places(*before[::-1]),))["variation"] == 0
    changed = places((moved, (0.2, 0.8, 0)), (B, (0.5, 0, 0)))
    assert judged(*before, views=(changed,))["variation"] == pytest.approx((0.7 + 0) / 2)
    # The same score with another class is a change; a box that goes or comes changes by all of its score.
    assert judged((A, (0.9, 0, 0)), views=(places((A, (0, 0.9, 0))),))["variation"] == pytest.approx(0.9)
    assert judged((A, (0.8, 0, 0)), views=(places((C, (0.6, 0, 0))),))["variation"] == pytest.approx(0.7)
    assert judged((A, (0.2, 0, 0)), views=(places(),))["variation"] == 0


def test_two_answers_about_one_animal_are_one_box_with_two_likely_classes() -> None:
    boxes = np.array([A, (4, 4, 20, 21), B], np.float32) / SIZE
    scores = np.array([[0.6, 0.1, 0], [0, 0.55, 0], [0, 0, 0.005]], np.float32)
    found = places_of(boxes, scores, size=SIZE, overlap=0.7, most=300)
    assert found.boxes == pytest.approx(np.array([A], np.float32))
    assert found.scores == pytest.approx(np.array([[0.6, 0.55, 0]], np.float32))


def test_ranks_keep_one_heavy_tail_from_deciding() -> None:
    assert ranked(np.array([0, 0, 1, 1000.0, 2])).tolist() == [0, 0, 0.5, 1, 0.75]
    assert ranked(np.zeros(4)).tolist() == [0] * 4 and ranked(np.ones(1)).tolist() == [0]


def test_rare_classes_have_few_boxes_so_far() -> None:
    rare = rare_classes(np.array([99, 0, 24]))
    assert rare == pytest.approx([0.1, 1, 0.2])


# -- the choice --------------------------------------------------------------------------------------------------------

def test_known_scores_give_the_known_ranking(tmp_path: Path) -> None:
    pool = pool_of(tmp_path / "pool", 6, annotated=(5,))
    detector = Scripted([[(A, (score, 0, 0))] for score in (0.95, 0.31, 0.5, 0.65, 0.02, 0.5)])
    lines = choose_images(detector.looker(), pool, recipe_of(entropy=1.0), tmp_path / "out", quiet=True)
    assert chosen(tmp_path / "out") == ["image02", "image03", "image01", "image00", "image04"]
    assert "5 images without annotations" in lines[0] and "there are no more" in lines[1]


STRONG: dict[str, tuple[Any, ...]] = {
    "entropy": ((A, (0, 0.5, 0)), (B, (0, 0.95, 0))), "least_confidence": ((A, (0, 0.32, 0)),),
    "margin": ((A, (0, 0.8, 0.79)),), "variation": ((A, (0, 0.97, 0)),), "critical": ((A, (0.29, 0, 0)),),
    "rarity": ((A, (0, 0, 0.285)),)}
"""An image for each criterion that has more of it than the others have."""


@pytest.mark.parametrize("criterion", CRITERIA)
def test_each_criterion_can_change_the_choice(criterion: str, tmp_path: Path) -> None:
    plain = [*STRONG.values(), ((A, (0, 0.9, 0)),)]
    dark = [found if k != list(STRONG).index("variation") else ((A, (0, 0, 0.28)),) for k, found in enumerate(plain)]
    facts = {"critical": np.array([True, False, False]), "rare": np.array([0.0, 0.0, 1.0])}
    if criterion == "rarity":  # the class that is rare is also what the margin's image has
        facts["rare"] = np.array([0.0, 0.0, 1.0])
        plain[list(STRONG).index("margin")] = dark[list(STRONG).index("margin")] = ((A, (0, 0.8, 0.2)),)
    pool = pool_of(tmp_path / "pool", len(plain))
    choose_images(Scripted(plain, dark=dark).looker(**facts), pool, recipe_of(1, **{criterion: 1.0}), tmp_path / "out",
                  quiet=True)
    assert chosen(tmp_path / "out") == [f"image{list(STRONG).index(criterion):02d}"]


def test_variety_is_of_features_and_not_of_the_coordinates_of_boxes(tmp_path: Path) -> None:
    pool = pool_of(tmp_path / "pool", 6)
    same_boxes = [[(A, (score, 0, 0))] for score in (0.5, 0.51, 0.52, 0.35, 0.34, 0.33)]
    groups = [[k * 0.01, 0] for k in range(3)] + [[50 + k * 0.01, 0] for k in range(3)]
    choose_images(Scripted(same_boxes, features=groups).looker(), pool, recipe_of(2, 2, entropy=1.0), tmp_path / "one",
                  quiet=True)
    assert chosen(tmp_path / "one") == ["image00", "image03"]
    # Boxes at different places, or none at all, and the same features: one cluster.
    other_boxes = [[(box, (0.5, 0, 0))] for box in (A, B, C)] + [[], [], []]
    choose_images(Scripted(other_boxes, features=[[1, 1]] * 6).looker(), pool, recipe_of(6, 2, entropy=1.0),
                  tmp_path / "two", quiet=True)
    assert pd.read_csv(tmp_path / "two" / "selection.csv")["cluster"].nunique() == 1


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4)), min_size=1, max_size=40), st.integers(1, 45),
       st.integers(0, 9))
def test_no_cluster_comes_twice_before_all_others_had_their_turn(rows: list[tuple[float, int]], count: int,
                                                                 seed: int) -> None:
    score, cluster = np.array([s for s, _ in rows]), np.array([c for _, c in rows])
    hashes = np.random.default_rng(seed).integers(0, 2**63, len(rows)).astype(np.uint64)
    choice = deal(score, cluster, hashes, np.eye(len(rows), dtype=np.float32), count)
    assert len(choice.order) == len(set(choice.order.tolist())) == min(count, len(rows))
    left = dict(zip(*np.unique(cluster, return_counts=True), strict=True))
    turns = dict.fromkeys(left, 0)
    for row in choice.order:
        mine = cluster[row]
        assert turns[mine] <= min(turns[c] for c in left if turns[c] < left[c])
        better = [k for k in np.flatnonzero(cluster == mine) if score[k] > score[row]]
        assert set(better) <= set(choice.order.tolist())
        turns[mine] += 1


def test_copies_of_a_frame_are_not_all_chosen(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [np.repeat(np.repeat(rng.integers(0, 255, (8, 8, 3)), 8, 0), 8, 1).astype(np.uint8) for _ in range(4)]
    with ImageWriter(tmp_path / "pool", classes=CLASSES, species=IDS) as writer:
        for k in range(8):  # five copies of frame 0, but for noise
            noise = rng.integers(0, 6, (SIZE, SIZE, 3))
            writer.add(f"image{k:02d}", np.clip(frames[max(0, k - 4)] + noise, 0, 255).astype(np.uint8),
                       clip="one", annotated=False)
    looker = Scripted([[]] * 8).looker(
        raw=lambda batch: (np.zeros((len(batch), 1, 4), np.float32) + np.array([0, 0, 0.5, 0.5], np.float32),
                           np.full((len(batch), 1, 3), 0.5, np.float32)),
        features=lambda batch: batch.reshape(len(batch), 3, 8, 8, 8, 8).mean((3, 5)).reshape(len(batch), -1))
    lines = choose_images(looker, writer.set, recipe_of(4), tmp_path / "four", quiet=True)
    assert sum(name <= "image04" for name in chosen(tmp_path / "four")) == 1
    assert any("passed over" in line for line in lines)
    lines = choose_images(looker, writer.set, recipe_of(6), tmp_path / "six", quiet=True)
    assert len(chosen(tmp_path / "six")) == 6 and any("nothing else was left" in line for line in lines)


def test_frames_that_look_alike_are_both_chosen_where_the_detector_sees_something_else_in_them() -> None:
    hashes = np.array([0, 0b111111, 0b11], np.uint64)  # six bits are near, two all but the same
    score, cluster = np.array([0.9, 0.8, 0.7]), np.zeros(3, np.int64)
    apart = np.array([[0, 0], [9, 0], [0, 9]], np.float32)
    assert deal(score, cluster, hashes, apart, 2).order.tolist() == [0, 1]
    assert deal(score, cluster, hashes[[0, 2, 1]], apart, 2).order.tolist() == [0, 2]
    together = np.array([[0, 0], [0.1, 0], [9, 9]], np.float32)
    choice = deal(score, cluster, np.array([0, 0b111111, 2**64 - 1], np.uint64), together, 2)
    assert choice.order.tolist() == [0, 2] and choice.passed_over == 1


def test_clusters_are_of_the_seed_and_never_more_than_there_are_features() -> None:
    features = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    assert (clusters_of(features, 6, 1) == clusters_of(features, 6, 1)).all()
    assert len(np.unique(clusters_of(features, 6, 1))) == 6
    assert (clusters_of(np.ones((5, 3), np.float32), 4, 1) == 0).all()


# -- what is written ---------------------------------------------------------------------------------------------------

def answers(count: int) -> list[Any]:
    rng = np.random.default_rng(3)
    return [[(box, rng.uniform(0, 0.8, 3)) for box in (A, B, C)[:k % 4]] for k in range(count)]


def test_a_killed_call_goes_on_and_ends_in_the_same_bytes(tmp_path: Path) -> None:
    pool, recipe = pool_of(tmp_path / "pool", 14), SelectRecipe(num_samples=5, clusters=3)
    whole = Scripted(answers(14))
    choose_images(whole.looker(), pool, recipe, tmp_path / "whole", quiet=True)
    killed = Scripted(answers(14))

    def raw(batch: np.ndarray) -> Any:
        if len(killed.looked) >= 8:  # in the second batch: its plain view is looked at, its mirrored one is not
            raise KeyboardInterrupt
        return killed.raw(batch)

    with pytest.raises(KeyboardInterrupt):
        choose_images(killed.looker(raw=raw), pool, recipe, tmp_path / "killed", quiet=True)
    assert not (tmp_path / "killed" / "selection.csv").exists()
    resumed = Scripted(answers(14))
    choose_images(resumed.looker(), pool, recipe, tmp_path / "killed", quiet=True)
    assert sorted(resumed.looked) == list(range(4, 14))
    for name in ("selection.csv", "package.zip", "scores.parquet", "selection.html"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_other_weights_look_at_no_image_again_and_another_detector_at_all(tmp_path: Path) -> None:
    pool, detector = pool_of(tmp_path / "pool", 6), Scripted(answers(6))
    choose_images(detector.looker(), pool, recipe_of(3), tmp_path / "out", quiet=True)
    before = chosen(tmp_path / "out")
    choose_images(detector.looker(), pool, recipe_of(3, critical=1.0), tmp_path / "out", quiet=True)
    assert len(detector.looked) == 6 and chosen(tmp_path / "out") != before
    choose_images(detector.looker(identity="another"), pool, recipe_of(3), tmp_path / "out", quiet=True)
    assert len(detector.looked) == 12


def test_the_page_stands_alone_and_the_package_has_no_boxes(tmp_path: Path) -> None:
    pool = pool_of(tmp_path / "pool", 6, note={"simulated": True})
    lines = choose_images(Scripted(answers(6)).looker(), pool, recipe_of(4), tmp_path / "out", quiet=True)
    page = (tmp_path / "out" / "selection.html").read_text()
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert page.count("data:image/jpeg") == 4 and "Simulated data." in page and "simulated" in lines[0]
    with zipfile.ZipFile(tmp_path / "out" / "package.zip") as package:
        coco = json.loads(package.read("annotations.json"))
    assert coco["annotations"] == []
    assert [Path(one["file_name"]).stem for one in coco["images"]] == chosen(tmp_path / "out")


def test_a_pool_is_corrected_as_the_set_was_that_the_run_learnt_from(tmp_path: Path) -> None:
    pool = pool_of(tmp_path / "pool", 1)
    image, told = pool.read("image00"), PrepareRecipe(strength=0.3, omega=0.0, clip=0.0)
    facts = {"prepare": True, "correction": told.model_dump(mode="json")}
    assert np.array_equal(choosing._preparation(facts, pool)(image), underwater(image, told))
    assert not np.array_equal(underwater(image, told), underwater(image))
    assert choosing._preparation({**facts, "prepare": False}, pool) is None


# -- bad input ---------------------------------------------------------------------------------------------------------

def test_bad_input_is_refused_in_one_paragraph(tmp_path: Path) -> None:
    done = pool_of(tmp_path / "done", 2, annotated=(0, 1))
    looker = Scripted(answers(2)).looker()
    with pytest.raises(InputError, match="Every image of the pool is annotated"):
        choose_images(looker, done, recipe_of(1), tmp_path / "out")
    with pytest.raises(InputError, match="smaller to a larger"):
        build_recipe(SelectRecipe, {"band": (0.7, 0.3)})
    assert not (tmp_path / "out").exists()


def test_images_that_cannot_be_read_are_told_and_the_others_are_chosen(tmp_path: Path) -> None:
    pool, detector = pool_of(tmp_path / "pool", 6), Scripted(answers(6))
    pool.file("image01").write_bytes(b"")
    lines = choose_images(detector.looker(), pool, recipe_of(6), tmp_path / "out", quiet=True)
    assert sorted(chosen(tmp_path / "out")) == [f"image{k:02d}" for k in (0, 2, 3, 4, 5)]
    assert any("1 images cannot be read" in line and "image01.png" in line for line in lines)
    for name in pool.images["image"]:
        pool.file(name).write_bytes(b"")
    with pytest.raises(InputError, match="None of the 6 images can be read"):
        choose_images(detector.looker(identity="another"), pool, recipe_of(6), tmp_path / "out", quiet=True)


# -- trained detectors -------------------------------------------------------------------------------------------------

def test_a_run_chooses_from_its_pool_what_is_not_annotated(small_detector: RunFolder, tmp_path: Path) -> None:
    pool = simulate_set(tmp_path / "pool", seed=9, clips=4, frames=3, size=(96, 96), unlabelled_share=0.5)
    recipe = SelectRecipe(num_samples=4, clusters=2)
    lines = select_images(small_detector, pool, recipe, tmp_path / "out", quiet=True)
    free = set(pool.images.loc[~pool.images["annotated"], "image"])
    assert set(chosen(tmp_path / "out")) <= free and len(chosen(tmp_path / "out")) == 4
    assert "6 simulated images" in lines[0]
    scores = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    features = np.stack(scores["feature"].tolist())
    assert features.shape[0] == 6 and np.ptp(features, axis=0).max() > 0
    with pytest.raises(InputError, match="tells other classes apart"):
        select_images(small_detector, pool_of(tmp_path / "other", 2), recipe, tmp_path / "refused", quiet=True)
    assert not (tmp_path / "refused").exists()


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ImageSet]:
    """A detector taught briefly on simulated images, and a simulated pool that is harder; its truth is known."""
    folder = tmp_path_factory.mktemp("learnt")
    knobs: dict[str, Any] = {"size": (96, 96), "classes": ("lionfish", "jellyfish", "shark"), "imbalance": 4,
                             "scale": (1, 1.5), "noise": 1, "frames": 1}
    images = simulate_set(folder / "images", seed=1, clips=120, animals=(1, 3), hard=0, turbidity=(0, 0.3),
                          distractors=(0, 2), snow=(0, 0.2), **knobs)
    pool = simulate_set(folder / "pool", seed=2, clips=160, animals=(0, 2), hard=0.1, turbidity=(0, 0.4),
                        distractors=(1, 6), snow=(0, 0.6), unlabelled_share=1.0, **knobs)
    boxes = np.bincount(images.boxes["label"], minlength=3)
    return looker_of(taught(images, 96, 160), images, 96, (True, False, False), rare_classes(boxes)), pool


def by_chance(counts: np.ndarray, size: int) -> float:
    """The 95 % quantile of the sum of so many counts drawn by chance."""
    rng = np.random.default_rng(0)
    return float(np.quantile([rng.permutation(counts)[:size].sum() for _ in range(500)], 0.95))


def test_chosen_images_hold_more_boxes_that_the_detector_gets_wrong(learnt: Any, tmp_path: Path) -> None:
    looker, pool = learnt
    choose_images(looker, pool, SelectRecipe(num_samples=32, clusters=6), tmp_path / "out", quiet=True)
    wrong = wrong_boxes(looker, pool)
    assert sum(wrong[name] for name in chosen(tmp_path / "out")) > by_chance(np.array(list(wrong.values())), 32)


def test_critical_and_rare_classes_are_found_more_often_than_by_chance(learnt: Any, tmp_path: Path) -> None:
    looker, pool = learnt
    choose_images(looker, pool, recipe_of(32, 4, critical=0.5, rarity=0.5), tmp_path / "out", quiet=True)
    truth = read_truth(pool)
    rare = truth[truth["label"] == 0].groupby("image").size().reindex(pool.images["image"]).fillna(0)
    assert rare[chosen(tmp_path / "out")].sum() > by_chance(rare.to_numpy(), 32)
