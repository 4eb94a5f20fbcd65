"""A small world of embeddings with known truth, in memory: what pretraining is tried on. All of it is simulated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from groundswell.core.recipe import build_recipe
from groundswell.data.arrays import ArraySource
from groundswell.data.table import SampleTable
from groundswell.pipelines.archive import Archive
from groundswell.pipelines.biodiversity.recipe import BiodiversityRecipe
from groundswell.splits.make import make_split

SPECIES, WIDTHS = 6, {"vision": 24, "language": 32}


@dataclass(frozen=True)
class World:
    """Species with a vision and a language vector each; stands for the pipeline's workflow.

    Attributes:
        related: whether the vision of an observation is that of its species; otherwise it is another one's.
        count: observations.
        marked: whether the table says that it is simulated.
    """

    related: bool = True
    count: int = 240
    marked: bool = True
    name: str = "biodiversity"

    def truth(self):
        draw = np.random.default_rng(5)
        label = draw.integers(0, SPECIES, self.count)
        return label, draw.normal(size=(SPECIES, 24)), draw.normal(size=(SPECIES, 32)), draw

    def open(self, recipe):
        label, _, _, draw = self.truth()
        group = draw.integers(0, 60, self.count)
        frame = pd.DataFrame({
            "sample_id": [f"{1000 + k}_1" for k in range(self.count)], "label": label,
            "record": [str(1000 + k) for k in range(self.count)], "group": [f"g{k}" for k in group],
            "latitude": 28 + group / 60, "longitude": -81.0 - draw.uniform(0, 1, self.count),
            "time": pd.to_datetime("2015-01-01", utc=True) + pd.to_timedelta(draw.integers(0, 3000, self.count), "D")})
        return Archive(SampleTable(frame, [f"s{k}" for k in range(SPECIES)], pipeline="biodiversity",
                                   origin={"simulated": True} if self.marked else {}), [])

    def divide(self, recipe, archive):
        return make_split(archive.table, recipe.split)

    def source(self, recipe, archive, *, training):
        label, vision, language, draw = self.truth()
        seen = label if self.related else np.random.default_rng(9).permutation(label)
        vectors = vision[seen] + 0.5 * draw.normal(size=(self.count, 24))
        day = archive.table.column("time").dt.dayofyear.to_numpy()
        place = np.stack([*(archive.table.column(c).to_numpy() for c in ("latitude", "longitude")),
                          np.zeros(self.count), 2015 + day / 366], axis=1)
        arrays = {"vision": np.stack([vectors, vectors], axis=1).astype(np.float32),
                  "language": language[label].astype(np.float32), "place": place}
        return ArraySource({name: arrays[name] for name in recipe.model.modalities if name in arrays})

    def check_unchanged(self, archive):
        pass


def world_recipe(**more):
    values = {"pretrain": {"fusion_dim": 32, "heads": 2, "hidden_dim": 32, "layers": 1, "place_size": "tiny"},
              "loader": {"threads": 1}, "split": {"regime": "grouped"}, "evaluate": {"bootstrap": 200},
              "train": {"epochs": 25, "batch_size": 16, "learning_rate": 3e-3, "scheduler": "cosine", "threads": 1,
                        "tensorboard": False, "accelerator": "cpu", "checkpoint_every": 0}}
    for key, value in more.items():
        values[key] = {**values.get(key, {}), **value}
    return build_recipe(BiodiversityRecipe, values)
