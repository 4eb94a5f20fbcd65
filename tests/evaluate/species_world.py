"""A simulated world of many species for tests: places, months, embeddings with known effects, and a fit that learns."""

from __future__ import annotations

import numpy as np
import pandas as pd

from groundswell.data.predictions import Predictions
from groundswell.data.table import SampleTable
from groundswell.splits.manifest import EXCLUDED, TEST, TRAIN, VALIDATION, SplitManifest


def species_table(samples: int = 1500, species: int = 40, *, seed: int = 0, places: int = 60, cluster: bool = True,
                  place_holds: float = 0.0) -> SampleTable:
    """Observations at ``places`` far-apart places; ``place_holds`` is the share whose species is the place's own."""
    rng = np.random.default_rng(seed)
    place = rng.integers(0, places, samples)
    weight = rng.dirichlet(np.full(species, 12.0))
    label = rng.choice(species, samples, p=weight)
    own = rng.choice(species, places, p=weight)
    label = np.where(rng.uniform(size=samples) < place_holds, own[place], label)
    centre = rng.uniform((25, -83), (30, -80), (places, 2))
    where = centre[place] + rng.normal(0, 0.003, (samples, 2))
    frame = pd.DataFrame({
        "sample_id": [f"{4_000_000_000 + i}_1" for i in range(samples)],
        "record": [str(4_000_000_000 + i) for i in range(samples)], "label": label,
        "group": [f"{p}:{i % 40}" for i, p in enumerate(place)], "latitude": where[:, 0], "longitude": where[:, 1],
        "place": [f"place {p}" for p in place], "month": rng.integers(1, 13, samples)})
    if cluster:
        frame["cluster"] = frame["place"]
    names = [f"Species {k:03d}" for k in range(species)]
    return SampleTable(frame, names, pipeline="biodiversity", origin={"unit": "sample", "simulated": True})


def split_by(table: SampleTable, *, new_places: float = 0.25, unseen: tuple[int, ...] = (), seed: int = 0,
             strata: bool = True) -> SplitManifest:
    """Some places wholly tested ("unseen place"), and a fifth of all other samples ("seen place"). Training keeps no
    sample of the species in ``unseen``."""
    rng = np.random.default_rng(seed)
    names, place = np.unique(table.column("place"), return_inverse=True)
    new = (rng.permutation(len(names)) < new_places * len(names))[place]
    groups, group = np.unique(table.groups(), return_inverse=True)
    draw = rng.uniform(size=len(groups))[group]
    part = np.where(new | (draw < 0.2), TEST, np.where(draw < 0.35, VALIDATION, TRAIN)).astype(np.int8)
    part[(part != TEST) & np.isin(table.labels(), unseen)] = EXCLUDED
    kind = np.where(part != TEST, "", np.where(new, "unseen place", "seen place")).astype(object)
    settings = {"stratum": kind} if strata else {}
    return SplitManifest.of(table, part, "spatiotemporal", seed, {}, **settings)


def skilled(table: SampleTable, manifest: SplitManifest, skill: float, *, part: int = TEST, seed: int = 1,
            only: str = "") -> Predictions:
    """Predictions that know the class by ``skill`` beside noise; ``only`` in that stratum, if one is named."""
    rng = np.random.default_rng(seed)
    rows, folds = np.nonzero(manifest.assignment == part)
    truth = table.labels()[rows]
    logits = rng.normal(size=(len(rows), len(table.classes)))
    known = np.ones(len(rows), bool) if not only else manifest.stratum[rows] == only
    logits[known, truth[known]] += skill
    probability = np.exp(logits)
    names = table.column("sample_id").to_numpy(object)[rows]
    made = [Predictions.of(names[folds == k], truth[folds == k],
                           (probability / probability.sum(1, keepdims=True))[folds == k], table.classes, fold=k)
            for k in range(manifest.folds)]
    return Predictions.concatenate(made)
