"""marine: whether pretraining taught the backbone anything: a linear classifier on its features, beside one on the
features of the same network by chance."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from groundswell.core.errors import InputError
from groundswell.core.files import write_json
from groundswell.core.recipe import load_recipe
from groundswell.core.seeds import derive_seed
from groundswell.evaluate.intervals import Estimate, bootstrap, sums_by_group
from groundswell.pipelines.marine.detector import Engine, load_start
from groundswell.pipelines.marine.engines import build_detector
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.labels import class_map
from groundswell.pipelines.marine.moco.crops import Crops, crops_of
from groundswell.pipelines.marine.moco.learnt import learnt_from
from groundswell.pipelines.marine.moco.pretrained import Pretrained
from groundswell.pipelines.marine.moco.pretraining import RECIPE
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.splits.manifest import EXCLUDED, TRAIN

FILE = "probe.json"
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Of the classifier's coefficients (C), one of which is chosen by a third of the clips that it learns from."""
_BATCH = 64


@dataclass(frozen=True)
class Probe:
    """What a probe found: mean recall of the classes on clips that the backbone has not seen.

    Attributes:
        pretrained, chance, difference: estimates, intervals by a bootstrap of clips, paired for the difference.
        learnt, tested: animals that the classifier learnt from and was tested on.
        clips: that it was tested on.
        classes: their names.
        note: facts that stand beside the numbers.
    """

    pretrained: Estimate
    chance: Estimate
    difference: Estimate
    learnt: int
    tested: int
    clips: int
    classes: tuple[str, ...]
    note: dict[str, Any]

    def sentences(self) -> list[str]:
        """The same in words."""
        ends = ("no interval" if self.difference.low is None else
                f"{_points(self.difference.low)} to {_points(self.difference.high)}")
        lines = [f"A linear classifier on pooled features of animals cut out of images recalls "
                 f"{_percent(self.pretrained.value)} of {len(self.classes)} classes on average with the pretrained "
                 f"backbone and {_percent(self.chance.value)} with the same network by chance: "
                 f"{_points(self.difference.value)} points ({ends}; bootstrap of {self.clips} clips that the backbone "
                 f"has not seen; {self.learnt} animals to learn from, {self.tested} tested)."]
        return lines + (["The images are simulated."] if self.note.get("simulated") else [])


def probe(path: Path, *, fold: int = 0, resamples: int = 2000) -> Probe:
    """Probe a finished pretraining on the annotated images of its own recipe, and write ``probe.json`` beside it.

    The classifier learns from animals of the detector's training clips, and is tested on those of its validation and
    test clips, which neither it nor the backbone has seen. The rival is the network that the pretraining began with.
    Both normalise by statistics of the animals that the classifier learns from, so that the random network is not
    handicapped by never having seen an image.

    Args:
        path: folder of the pretraining.
        fold: of its split.
        resamples: of the bootstrap.

    Raises:
        InputError: it is not finished, its images have changed, or there are too few annotated animals.
    """
    found = Pretrained.open(path)
    recipe = load_recipe(MarineRecipe, path / RECIPE)
    labelled = learnt_from(recipe).labelled
    if labelled is None:
        raise InputError("No image is annotated, so that there are no classes to probe with", where=path,
                         fix="Annotate some images first")
    table, manifest = labelled
    images = ImageSet.open(recipe.data.images)
    told = class_map(images, recipe.data.classes)
    part = manifest.assignment[:, fold]
    found.fold_for(table, np.flatnonzero(part == TRAIN))
    names = table.column("sample_id").to_numpy(object)
    learn, test = (crops_of(images, told, names[rows], recipe)
                   for rows in (part == TRAIN, (part != TRAIN) & (part != EXCLUDED)))
    classes = np.intersect1d(learn.label, test.label)
    if len(classes) < 2:
        raise InputError(f"Animals of {len(classes)} classes are in both parts, and a probe needs two", where=path,
                         fix="Annotate more clips")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.train.seed, "weights"))
        network = build_detector(found.engine, found.name, 1)
    taught = copy.deepcopy(network)
    load_start(taught, found.state(fold), kind="backbone")
    right = {name: _answers(engine, learn, test, recipe.train.seed) == test.label
             for name, engine in (("pretrained", taught), ("chance", network))}
    scores = _compare(right, test, classes, resamples, recipe.split.seed)
    result = Probe(**scores, learnt=len(learn.label), tested=len(test.label), clips=len(np.unique(test.clip)),
                   classes=tuple(told.names[label] for label in classes), note=found.note)
    write_json(path / FILE, {**{name: estimate.to_dict() for name, estimate in scores.items()},
                             "learnt": result.learnt, "tested": result.tested, "clips": result.clips,
                             "classes": list(result.classes), "note": result.note, "sentences": result.sentences()})
    return result


def _answers(engine: Engine, learn: Crops, test: Crops, seed: int) -> NDArray[np.int64]:
    """Classes that a logistic regression on an engine's features gives the tested animals."""
    _normalise_by(engine, learn.image)
    known, asked = (_features(engine, crops.image) for crops in (learn, test))
    mean, spread = known.mean(0), known.std(0)
    scale = np.where(spread > 1e-6 * max(float(spread.max()), 1e-12), spread, np.inf)  # a dead channel says nothing
    known, asked = (known - mean) / scale, (asked - mean) / scale
    strength = _strength(known, learn, seed)
    answers: NDArray[np.int64] = _classifier(strength).fit(known, learn.label).predict(asked)
    return answers


def _strength(known: NDArray[np.float64], learn: Crops, seed: int) -> float:
    """The strength that serves best on a third of the clips; without clips to spare the smallest but one."""
    clips = np.unique(learn.clip.astype(str))
    kept = np.random.default_rng(derive_seed(seed, "probe")).permutation(clips)[:len(clips) // 3]
    held = np.isin(learn.clip.astype(str), kept)
    if not held.any() or len(np.unique(learn.label[~held])) < 2:
        return STRENGTHS[1]
    scores = []
    for strength in STRENGTHS:
        said = _classifier(strength).fit(known[~held], learn.label[~held]).predict(known[held])
        right = said == learn.label[held]
        scores.append(np.mean([right[learn.label[held] == label].mean() for label in np.unique(learn.label[held])]))
    return STRENGTHS[int(np.argmax(scores))]


class _Quiet:
    """A logistic regression that stops after so many steps without a word: where it stops is good enough here."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def fit(self, x: NDArray[np.float64], label: NDArray[np.int64]) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="lbfgs failed to converge")
            return self._model.fit(x, label)


def _classifier(strength: float) -> _Quiet:
    from sklearn.linear_model import LogisticRegression

    return _Quiet(LogisticRegression(C=strength, class_weight="balanced", max_iter=300))


def _normalise_by(engine: Engine, image: NDArray[np.uint8]) -> None:
    """Take the statistics of batch normalisation from these images, all batches alike."""
    norms = [module for module in engine.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # of all batches the mean
    engine.train()
    _features(engine, image)
    engine.eval()


@torch.no_grad()
def _features(engine: Engine, image: NDArray[np.uint8]) -> NDArray[np.float64]:
    batches = torch.split(torch.from_numpy(image), _BATCH)
    return np.concatenate([engine.features(batch.float() / 255).double().numpy() for batch in batches])


def _compare(right: Mapping[str, NDArray[np.bool_]], test: Crops, classes: NDArray[np.int64], resamples: int,
             seed: int) -> dict[str, Estimate]:
    """Mean recall of the classes of both networks, and the difference, over resamples of the tested clips."""
    clip = np.unique(test.clip.astype(str), return_inverse=True)[1].astype(np.int64)
    place = np.searchsorted(classes, test.label)
    known = np.isin(test.label, classes)
    count = len(classes)
    columns = [place, count + place, 2 * count + place]
    weights = [np.ones(len(place)), right["pretrained"].astype(float), right["chance"].astype(float)]
    sums = sums_by_group(np.tile(clip[known], 3), np.concatenate([column[known] for column in columns]), 3 * count,
                         np.concatenate([weight[known] for weight in weights]))

    def scores(found: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        there = found[:, :count]
        recall = [np.divide(found[:, at:at + count], there, out=np.full(there.shape, np.nan), where=there > 0)
                  for at in (count, 2 * count)]
        # A class that a resample lacks is left out of its mean, for both networks alike.
        means = [np.nanmean(one, axis=1) for one in recall]
        return {"pretrained": means[0], "chance": means[1], "difference": means[0] - means[1]}

    return bootstrap(sums, scores, resamples=resamples, confidence=0.95, seed=seed)


def _percent(value: float | None) -> str:
    return "nothing" if value is None else f"{100 * value:.1f} %"


def _points(value: float | None) -> str:
    return "nothing" if value is None else f"{100 * value:+.1f}"
