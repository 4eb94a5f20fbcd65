"""das: what the shared chain needs to know of this pipeline: its archive, its source, its task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from groundswell.core.seeds import derive_seed
from groundswell.data.source import Source
from groundswell.data.table import SampleTable
from groundswell.pipelines.das.formats import from_json, to_json
from groundswell.pipelines.das.recipe import DasRecipe
from groundswell.pipelines.das.record import Record
from groundswell.pipelines.das.source import DasWindowSource
from groundswell.pipelines.das.task import DasTask
from groundswell.pipelines.das.windows import build_index, check_trainable
from groundswell.pipelines.workflow import Archive, Workflow
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
        """See :meth:`Workflow.open`."""
        records, table = build_index(Path(recipe.data.folder), recipe.data)
        check_trainable(table, recipe)
        return Archive(table, [to_json(record) for record in records])

    def source(self, recipe: Any, archive: Archive, *, training: bool) -> Source:
        """See :meth:`Workflow.source`."""
        return window_source(recipe, records_of(archive), archive.table, training=training)

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
                           spacing_m=float(np.nan_to_num(table.column("spacing_m").median())),
                           classes=table.classes, class_weights=weights)


WORKFLOW = DasWorkflow()
