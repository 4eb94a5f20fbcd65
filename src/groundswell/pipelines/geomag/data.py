"""geomag: what the shared chain needs to know of this pipeline: its archive, its source, its task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from groundswell.core.recipe import build_recipe
from groundswell.core.run import RunFolder
from groundswell.core.seeds import derive_seed
from groundswell.data.source import Source
from groundswell.evaluate.controls import Control, Fit, Runner
from groundswell.evaluate.evaluation import Evaluation
from groundswell.evaluate.report import Picture
from groundswell.pipelines.archive import Archive
from groundswell.pipelines.geomag.controls import geomag_controls
from groundswell.pipelines.geomag.layout import files_of, read_layout, read_windows
from groundswell.pipelines.geomag.recipe import GeomagRecipe
from groundswell.pipelines.geomag.source import GeomagSource
from groundswell.pipelines.geomag.task import GeomagTask
from groundswell.pipelines.geomag.windows import check_groups, sample_table
from groundswell.pipelines.workflow import Workflow
from groundswell.train.imbalance import class_weights
from groundswell.train.task import Task

ReadWindows = Callable[[NDArray[np.int64]], NDArray[np.float32]]


def reader_of(archive: Archive, *, placebo: bool = False) -> ReadWindows | None:
    """Reads windows of the archive, or their placebo: float32 (rows, minutes). ``None`` if there is no placebo."""
    files = files_of(archive.records, placebo=placebo)
    if not files:
        return None

    def read(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        out = np.empty((len(rows), files[0].columns - 1), np.float32)
        read_windows(files, np.asarray(rows), out)
        return out

    return read


def prepared_reader(recipe: GeomagRecipe, archive: Archive, *, placebo: bool = False) -> ReadWindows | None:
    """Reads windows with their own trend removed as the recipe says, not scaled: what MiniRocket is given."""
    from groundswell.pipelines.geomag.preprocess import Preprocess

    plain = reader_of(archive, placebo=placebo)
    if plain is None or recipe.preprocess.detrend == "none":
        return plain

    def read(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        x = torch.from_numpy(plain(rows))
        without = Preprocess(x.shape[1], recipe.preprocess.detrend, "none").without_trend(x)
        return np.asarray(without.numpy(), np.float32)

    return read


class GeomagWorkflow(Workflow):
    """Windows of minutes to classes."""

    name = "geomag"
    skip_single = True

    def open(self, recipe: Any) -> Archive:
        """See :meth:`Workflow.open`."""
        layout = read_layout(Path(recipe.data.folder), recipe.data.window)
        table = sample_table(layout, recipe.data.join_overlaps)
        if recipe.split.regime == "kfold" and recipe.split.by == "group":
            check_groups(table, recipe.split.folds)
        return Archive(table, layout.facts())

    def source(self, recipe: Any, archive: Archive, *, training: bool) -> Source:
        """See :meth:`Workflow.source`."""
        return GeomagSource(files_of(archive.records))

    def task(self, recipe: Any, archive: Archive, rows: NDArray[np.int64]) -> Task:
        """See :meth:`Workflow.task`: class weights and scaling come from the training ``rows``."""
        table, weights = archive.table, None
        if recipe.train.use_class_weights:
            found = class_weights(table.labels()[rows], len(table.classes), recipe.train.class_weight_method)
            weights = torch.as_tensor(found, dtype=torch.float32)
        # The network's first weights depend on the seed alone, not on what was drawn before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(recipe.train.seed, "weights"))
            task = GeomagTask(recipe, classes=table.classes, class_weights=weights)
        read = reader_of(archive)
        assert read is not None
        task.preprocess.fit(read, rows)
        return task

    def controls(self, recipe: Any, archive: Archive, fit_of: Callable[[str], Fit]) -> list[tuple[Control, Runner]]:
        """See :meth:`Workflow.controls`."""
        read = prepared_reader(recipe, archive)
        assert read is not None
        return geomag_controls(recipe.evaluate.controls, fit_of, read, prepared_reader(recipe, archive, placebo=True),
                               recipe.split.seed, recipe.train.threads)

    def check_unchanged(self, archive: Archive) -> None:
        """See :meth:`Workflow.check_unchanged`."""
        for file in (*files_of(archive.records), *files_of(archive.records, placebo=True)):
            file.check_unchanged()

    def pictures(self, recipe: Any, archive: Archive, evaluation: Evaluation) -> list[Picture]:
        """See :meth:`Workflow.pictures`: windows of each class."""
        from groundswell.pipelines.geomag.pictures import example_windows

        return example_windows(recipe, archive)

    def not_measured(self, recipe: Any, archive: Archive) -> list[str]:
        """See :meth:`Workflow.not_measured`."""
        lines = ["Forecasting: an association in this sample says nothing of earthquakes that are yet to come; alarms "
                 "per year and how they would fare were not measured."]
        table = archive.table
        if table.has("station") and table.column("station").nunique() < 3:
            lines.append("Other stations: the windows come from fewer than three.")
        if recipe.split.by != "station":
            lines.append("Stations never seen in training: the folds are not by station (split.by=station).")
        return lines

    def small(self, folder: Path, seed: int) -> GeomagRecipe:
        """See :meth:`Workflow.small`."""
        from groundswell.pipelines.geomag.simulate.simulating import small_windows

        data = small_windows(folder / "data", seed)
        return build_recipe(GeomagRecipe, {
            "data": {"folder": str(data)}, "preprocess": {"detrend": "mean"},
            "model": {"type": "gru", "hidden_sizes": [8, 8]}, "loader": {"threads": 1},
            "split": {"folds": 2}, "evaluate": {"bootstrap": 200},
            "train": {"epochs": 2, "batch_size": 4, "threads": 1, "tensorboard": False},
        })

    def export(self, run: RunFolder, path: Path, folds: Sequence[int]) -> dict[str, Any]:
        """See :meth:`Workflow.export`."""
        from groundswell.pipelines.geomag.ship import export_onnx_of

        result = export_onnx_of(run, path, folds)
        return {"largest_difference": result.parity.difference, "samples": result.parity.samples,
                "exporter": result.exporter}


WORKFLOW = GeomagWorkflow()
