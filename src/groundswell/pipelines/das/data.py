"""das: what the shared chain needs to know of this pipeline: its archive, its source, its task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from groundswell.core.progress import say
from groundswell.core.recipe import build_recipe
from groundswell.core.run import RunFolder
from groundswell.core.seeds import derive_seed
from groundswell.data.source import Source
from groundswell.data.table import SampleTable
from groundswell.evaluate.controls import Control, Fit, Runner
from groundswell.evaluate.evaluation import Evaluation
from groundswell.evaluate.report import Picture
from groundswell.pipelines.archive import Archive
from groundswell.pipelines.das.blocks import pays
from groundswell.pipelines.das.controls import ReadWindows, das_controls
from groundswell.pipelines.das.formats import from_json, to_json
from groundswell.pipelines.das.formats.reading import check_unchanged
from groundswell.pipelines.das.preprocess import Preprocess
from groundswell.pipelines.das.recipe import DasRecipe
from groundswell.pipelines.das.record import Record
from groundswell.pipelines.das.source import DasWindowSource
from groundswell.pipelines.das.storage_advice import advice
from groundswell.pipelines.das.task import DasTask
from groundswell.pipelines.das.windows import build_index, channels_in_use, check_trainable
from groundswell.pipelines.loading import refuse_read_once
from groundswell.pipelines.workflow import Workflow
from groundswell.train.imbalance import class_weights
from groundswell.train.task import Task


def records_of(archive: Archive) -> list[Record]:
    """The records that ``record_index`` of the archive's table points into."""
    return [from_json(value) for value in archive.records]


def window_source(recipe: DasRecipe, records: list[Record], table: SampleTable, *, training: bool) -> DasWindowSource:
    """Source of the table's windows; in training with the margin that time shifts are taken from."""
    augment = recipe.augment
    margin = augment.time_shift_range if training and augment.use_augmentation else 0
    return DasWindowSource(records, table, window_samples=recipe.data.window_samples, margin=margin,
                           channels=recipe.data.channels, max_channels=int(table.column("channels").max()))


class DasWorkflow(Workflow):
    """Fibre records to windows, windows to classes."""

    name = "das"

    def open(self, recipe: Any) -> Archive:
        """See :meth:`Workflow.open`; says which records are slow to read, and what mends it."""
        records, table = build_index(Path(recipe.data.folder), recipe.data)
        check_trainable(table, recipe)
        for line in advice(records, Path(recipe.data.folder), recipe.data.window_samples):
            say(line)
        return Archive(table, [to_json(record) for record in records])

    def source(self, recipe: Any, archive: Archive, *, training: bool) -> Source:
        """See :meth:`Workflow.source`."""
        return window_source(recipe, records_of(archive), archive.table, training=training)

    def read_once(self, recipe: Any, archive: Archive) -> bool:
        """See :meth:`Workflow.read_once`."""
        if recipe.train.balanced_sampling:
            return refuse_read_once(recipe, "train.balanced_sampling draws them by their class")
        if recipe.loader.read_once != "auto":
            return bool(recipe.loader.read_once == "always")
        records = records_of(archive)
        return pays(records, [channels_in_use(record, recipe.data.channels) for record in records],
                    window_samples=recipe.data.window_samples, stride_samples=recipe.data.stride_samples)

    def task(self, recipe: Any, archive: Archive, rows: NDArray[np.int64]) -> Task:
        """See :meth:`Workflow.task`."""
        table = archive.table
        weights = None
        if recipe.train.use_class_weights:
            weights = torch.as_tensor(class_weights(table.labels()[rows], len(table.classes)), dtype=torch.float32)
        # The network's first weights depend on the seed alone, not on what was drawn before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(recipe.train.seed, "weights"))
            return DasTask(recipe, channels=int(table.column("channels").max()),
                           rate_hz=float(table.column("rate_hz").iloc[0]),
                           spacing_m=float(np.nan_to_num(table.column("spacing_m").iloc[rows].median())),
                           classes=table.classes, class_weights=weights)

    def controls(self, recipe: Any, archive: Archive, fit_of: Callable[[str], Fit]) -> list[tuple[Control, Runner]]:
        """See :meth:`Workflow.controls`."""
        return das_controls(recipe.evaluate.controls, fit_of, prepared_windows(recipe, archive), recipe.split.seed)

    def check_unchanged(self, archive: Archive) -> None:
        """See :meth:`Workflow.check_unchanged`: size and modification time of every record's file."""
        for record in records_of(archive):
            check_unchanged(record.path, record.size_bytes, record.modified_ns)

    def pictures(self, recipe: Any, archive: Archive, evaluation: Evaluation) -> list[Picture]:
        """See :meth:`Workflow.pictures`: a window of each class, drawn from the records themselves."""
        from groundswell.pipelines.das.pictures import example_windows

        return example_windows(recipe, archive)

    def not_measured(self, recipe: Any, archive: Archive) -> list[str]:
        """See :meth:`Workflow.not_measured`."""
        lines = []
        if archive.table.column("record").nunique() and len({r.get("spacing_m") for r in archive.records}) == 1:
            lines.append("Transfer to another cable: every record is of one channel spacing.")
        return lines

    def small(self, folder: Path, seed: int) -> DasRecipe:
        """See :meth:`Workflow.small`."""
        from groundswell.pipelines.das.simulate.archive import small_archive

        archive = small_archive(folder / "archive", seed)
        return build_recipe(DasRecipe, {
            "data": {"folder": str(archive), "window_samples": 512, "stride_samples": 256,
                     "noise_windows_per_record": 2},
            "preprocess": {"scaling": "window", "decimate": 4},
            "model": {"type": "fibre_cnn", "hidden_dim": 8, "num_layers": 2},
            "loader": {"threads": 1},
            "split": {"regime": "kfold", "folds": 2},
            "train": {"epochs": 2, "batch_size": 8, "threads": 1, "tensorboard": False},
            "evaluate": {"bootstrap": 200},
        })

    def export(self, run: RunFolder, path: Path, folds: Sequence[int]) -> dict[str, Any]:
        """See :meth:`Workflow.export`."""
        from groundswell.pipelines.das.ship import export_onnx_of

        result = export_onnx_of(run, path, folds)
        return {"largest_difference": result.parity.difference, "samples": result.parity.samples,
                "exporter": result.exporter}


def prepared_windows(recipe: DasRecipe, archive: Archive) -> ReadWindows:
    """Reads windows as the network sees them: float32, shape (rows, time samples, channels)."""
    preprocess = Preprocess(recipe.preprocess, float(archive.table.column("rate_hz").iloc[0]),
                            recipe.data.window_samples)

    def read(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        source = window_source(recipe, records_of(archive), archive.table, training=False)
        out = {name: field.allocate(len(rows)) for name, field in source.fields.items()}
        try:
            source.read(rows, out)
        finally:
            source.close()
        with torch.inference_mode():
            x_bct: NDArray[np.float32] = preprocess(torch.from_numpy(out["x"])).x_bct.float().numpy()
        return np.ascontiguousarray(x_bct.transpose(0, 2, 1))

    return read


WORKFLOW = DasWorkflow()
