"""biodiversity: what the shared chain needs to know of this pipeline: its archive, its source, its task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.core.run import RunFolder
from groundswell.core.seeds import derive_seed
from groundswell.data.embeddings.source import MEMORY_BYTES
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.data.source import Source
from groundswell.data.table import SampleTable
from groundswell.evaluate.controls import Control, Fit, Runner
from groundswell.evaluate.evaluation import Evaluation
from groundswell.evaluate.report import Picture
from groundswell.pipelines.archive import Archive
from groundswell.pipelines.biodiversity.controls import biodiversity_controls
from groundswell.pipelines.biodiversity.models.modalities import get_modalities
from groundswell.pipelines.biodiversity.observations import observation_table, read_observations
from groundswell.pipelines.biodiversity.pretrained import Pretrained, init_from
from groundswell.pipelines.biodiversity.published_json import divide_by_file, read_split_json
from groundswell.pipelines.biodiversity.recipe import BiodiversityRecipe
from groundswell.pipelines.biodiversity.source import observation_source
from groundswell.pipelines.biodiversity.task import SpeciesTask
from groundswell.pipelines.workflow import Workflow
from groundswell.splits.cells import cells_of
from groundswell.splits.manifest import SplitManifest
from groundswell.train.imbalance import class_weights
from groundswell.train.task import Task

LOOK_UP = ("Skill from language: a language vector is a function of the species' name, so that a classifier that sees "
           "it looks the answer up. Its score says nothing of places, times or pictures.")
_MARK = ("A look-up: A language vector is a function of the species' name, so that a classifier that sees it looks the "
         "answer up: its score says nothing of places, times or pictures.")
_REGIMES_WITH_FUTURE = ("temporal", "spatiotemporal", "published")


def observations_of(recipe: BiodiversityRecipe) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The recipe's observations that have what its modalities need, and facts about them.

    Raises:
        InputError: there are none, or the table or the store cannot be used.
    """
    data, modalities = recipe.data, recipe.model.modalities
    stored = {"vision", "language"} & set(modalities)
    store = EmbeddingStore.open(Path(data.store)) if stored or not data.observations else None
    frame = read_observations(Path(data.observations or data.store))
    origin: dict[str, Any] = dict(store.note) if store is not None else {}
    left_out: dict[str, str] = {}
    if store is not None and "vision" in modalities:
        if data.vision not in store.tables:
            raise InputError(f"The store has no table '{data.vision}'", where=data.store,
                             fix=f"It has: {', '.join(store.tables) or 'none'}. Pool or import it, or set data.vision")
        there = store.present(data.vision, frame["gbif_id"].to_numpy(np.int64))
        if not there.any():
            first = ", ".join(frame["observation_id"].iloc[:5])
            raise InputError(f"None of {len(frame)} observations has a vector in the table '{data.vision}': {first}"
                             f"{', ...' if len(frame) > 5 else ''}", where=data.store,
                             fix="Give the observations that the store was made of, or another store")
        if not there.all():
            left_out["observations without a vision vector"] = f"{int((~there).sum())} of {len(frame)}"
        frame = frame[there]
    counts = frame["taxon_name"].map(frame["taxon_name"].value_counts())
    rare = (counts < data.least_observations).to_numpy()
    if rare.any():
        species = frame["taxon_name"][rare].nunique()
        left_out["rare species"] = (f"{int(rare.sum())} observations of {species} species with fewer than "
                                    f"{data.least_observations} (data.least_observations)")
    frame = frame[~rare].reset_index(drop=True)
    if frame["taxon_name"].nunique() < 2:
        raise InputError("Fewer than two species are left, so that there is nothing to tell apart",
                         where=data.observations or data.store, fix="Look at what the store and the table hold")
    return frame, {**origin, "left_out": left_out} if left_out else origin


class BiodiversityWorkflow(Workflow):
    """Observations to species."""

    name = "biodiversity"

    def open(self, recipe: Any) -> Archive:
        """See :meth:`Workflow.open`."""
        get_modalities(recipe.model.modalities)
        frame, origin = observations_of(recipe)
        table = with_clusters(observation_table(frame, group=recipe.data.group, origin=origin), recipe.data.cluster_km)
        model = recipe.model
        if "language" in model.modalities:
            table.origin["marks"] = [*table.origin.get("marks", []), _MARK]
        facts: dict[str, Any] = {"store": str(Path(recipe.data.store).resolve()), "tables": {},
                                 "init_from": str(Path(model.init_from).resolve()) if model.init_from else ""}
        if model.init_from:
            Pretrained.open(Path(model.init_from))
        if {"vision", "language"} & set(recipe.model.modalities):
            store = EmbeddingStore.open(Path(recipe.data.store))
            wanted = [recipe.data.vision] if "vision" in recipe.model.modalities else []
            wanted += ["language"] if "language" in recipe.model.modalities else []
            facts["tables"] = {name: store.fingerprint(name) for name in wanted if name in store.tables}
            store.verify(list(facts["tables"]))
        # Opened once here, so that an unknown species or a missing date is found before anything is written.
        observation_source(Path(recipe.data.store), recipe.data.vision, recipe.model.modalities, table).close()
        return Archive(table, [facts])

    def divide(self, recipe: Any, archive: Archive) -> SplitManifest:
        """See :meth:`Workflow.divide`: by a file where the recipe names one."""
        if not recipe.data.split_file:
            return super().divide(recipe, archive)
        division = divide_by_file(archive.table, read_split_json(Path(recipe.data.split_file)), recipe.split)
        return SplitManifest.of(archive.table, division.assignment, "file", recipe.split.seed, division.settings,
                                division.stratum)

    def source(self, recipe: Any, archive: Archive, *, training: bool) -> Source:
        """See :meth:`Workflow.source`."""
        return source_of(recipe, archive)

    def task(self, recipe: Any, archive: Archive, rows: NDArray[np.int64]) -> Task:
        """See :meth:`Workflow.task`: class weights and scaling come from the training ``rows``."""
        table, weights = archive.table, None
        if recipe.train.use_class_weights:
            found = class_weights(table.labels()[rows], len(table.classes), recipe.train.class_weight_method)
            weights = torch.as_tensor(found, dtype=torch.float32)
        source = source_of(recipe, archive)
        shapes = {name: field.shape for name, field in source.fields.items()}
        # The network's first weights depend on the seed alone, not on what was drawn before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(recipe.train.seed, "weights"))
            task = SpeciesTask(recipe, shapes=shapes, classes=table.classes, class_weights=weights)
        task.standardise.fit(reader_of(source), rows)
        source.close()
        if archive.records[0]["init_from"] and Path(archive.records[0]["init_from"]).exists():
            # What is loaded to predict has its own weights already; that a fit finds these is seen to before it begins.
            init_from(task, Path(archive.records[0]["init_from"]), table=table, rows=rows)
        return task

    def controls(self, recipe: Any, archive: Archive, fit_of: Callable[[str], Fit]) -> list[tuple[Control, Runner]]:
        """See :meth:`Workflow.controls`."""
        return biodiversity_controls(recipe.evaluate.controls, fit_of, vector_reader(recipe, archive),
                                     recipe.split.seed)

    def check_unchanged(self, archive: Archive) -> None:
        """See :meth:`Workflow.check_unchanged`: the manifests of the store's tables, and the pretraining."""
        facts = archive.records[0]
        if facts["init_from"]:
            Pretrained.open(Path(facts["init_from"]))
        if not facts["tables"]:
            return
        store = EmbeddingStore.open(Path(facts["store"]))
        for name, was in facts["tables"].items():
            if name not in store.tables or store.fingerprint(name) != was:
                raise InputError(f"The table '{name}' of the store is not the one that the run was begun with",
                                 where=store.path, fix="Train a new run on what is there now")
        # Larger ones were looked at when the run began; reading them whole again would take longer than what is asked.
        store.verify([name for name in facts["tables"] if store.manifest(name).bytes <= MEMORY_BYTES])

    def pictures(self, recipe: Any, archive: Archive, evaluation: Evaluation) -> list[Picture]:
        """See :meth:`Workflow.pictures`: where the model was right and where it was wrong."""
        from groundswell.pipelines.biodiversity.pictures import answer_map

        return answer_map(archive, evaluation)

    def not_measured(self, recipe: Any, archive: Archive) -> list[str]:
        """See :meth:`Workflow.not_measured`."""
        lines = [LOOK_UP] if "language" in recipe.model.modalities else []
        if recipe.data.split_file:
            return lines
        if recipe.split.regime not in _REGIMES_WITH_FUTURE:
            lines.append("Years to come: the split does not keep a later period apart (split.regime=temporal).")
        if recipe.split.regime in ("grouped", "kfold", "ungrouped", "stratified", "temporal"):
            lines.append("New places: the split does not keep places apart (split.regime=spatial).")
        return lines

    def small(self, folder: Path, seed: int) -> BiodiversityRecipe:
        """See :meth:`Workflow.small`."""
        from groundswell.pipelines.biodiversity.simulate.simulating import small_store

        store = small_store(folder / "store", seed)
        return build_recipe(BiodiversityRecipe, {
            "data": {"store": str(store)}, "model": {"hidden_dim": 8, "scaling": "feature"}, "loader": {"threads": 1},
            "split": {"regime": "kfold", "folds": 2}, "evaluate": {"bootstrap": 200},
            "train": {"epochs": 2, "batch_size": 8, "threads": 1, "tensorboard": False},
        })

    def export(self, run: RunFolder, path: Path, folds: Sequence[int]) -> dict[str, Any]:
        """See :meth:`Workflow.export`."""
        from groundswell.pipelines.biodiversity.ship import export_onnx_of

        result = export_onnx_of(run, path, folds)
        return {"largest_difference": result.parity.difference, "samples": result.parity.samples,
                "exporter": result.exporter}


def with_clusters(table: SampleTable, km: float) -> SampleTable:
    """The table with the square that each observation lies in as ``cluster``: what a bootstrap draws whole."""
    cells = cells_of(table.column("latitude").to_numpy(np.float64), table.column("longitude").to_numpy(np.float64),
                     "squares", km=km, level=0)
    return table.replaced(cluster=[str(cell) for cell in cells])


def source_of(recipe: BiodiversityRecipe, archive: Archive) -> Source:
    """The source of the archive's observations."""
    return observation_source(Path(archive.records[0]["store"]), recipe.data.vision, recipe.model.modalities,
                              archive.table)


def reader_of(source: Source) -> Callable[[NDArray[np.int64]], dict[str, NDArray[Any]]]:
    """Reads rows of a source into new arrays, by name."""

    def read(rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        out = {name: field.allocate(len(rows)) for name, field in source.fields.items()}
        source.read(np.asarray(rows, np.int64), out)
        return out

    return read


def vector_reader(recipe: BiodiversityRecipe, archive: Archive) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
    """Reads what the classifier sees of observations as one vector each, pooled: float32 (rows, features)."""

    def read(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        source = source_of(recipe, archive)
        found = []
        try:
            get = reader_of(source)
            for first in range(0, len(rows), 256):
                got = get(rows[first:first + 256])
                parts = [got[name].reshape(len(got[name]), -1, got[name].shape[-1]).mean(axis=1)
                         for name in recipe.model.modalities]
                found.append(np.concatenate(parts, axis=1).astype(np.float32))
        finally:
            source.close()
        return np.concatenate(found)

    return read


WORKFLOW = BiodiversityWorkflow()
