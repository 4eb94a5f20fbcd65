"""marine: what the shared chain needs to know of this pipeline: its images, its source, its task, how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.core.run import RunFolder
from groundswell.core.seeds import derive_seed
from groundswell.data.boxes import BoxPredictions
from groundswell.data.source import Source
from groundswell.data.table import SampleTable
from groundswell.evaluate.controls import Control, ControlRun, Fit, Runner
from groundswell.evaluate.detection import evaluate_boxes
from groundswell.evaluate.detection_report import write_detection_report
from groundswell.evaluate.evaluation import Judged
from groundswell.evaluate.report import Picture, ReportContext
from groundswell.pipelines.archive import Archive
from groundswell.pipelines.marine.building import build_task, check_start
from groundswell.pipelines.marine.images import ImageSet
from groundswell.pipelines.marine.labels import ClassMap, class_map
from groundswell.pipelines.marine.predicting import predict_rows
from groundswell.pipelines.marine.recipe import MarineRecipe
from groundswell.pipelines.marine.rivals import marine_controls
from groundswell.pipelines.marine.sampling import repeats_of
from groundswell.pipelines.marine.source import DetectionSource
from groundswell.pipelines.marine.truth import truth_of
from groundswell.pipelines.workflow import Workflow, notes_of
from groundswell.splits.manifest import SplitManifest
from groundswell.train.task import Task


def images_of(archive: Archive) -> ImageSet:
    """The set of images behind an archive.

    Raises:
        InputError: it is gone, damaged, or another one.
    """
    facts = archive.records[0]
    images = ImageSet.open(Path(facts["images"]))
    if images.fingerprint() != facts["fingerprint"]:
        raise InputError("The set of images is not the one that the run was made with", where=images.path,
                         fix="Put it back, or train anew")
    return images


def classes_of(recipe: MarineRecipe, images: ImageSet) -> ClassMap:
    """What the recipe has told apart, out of the set's own classes."""
    return class_map(images, recipe.data.classes)


def source_of(recipe: MarineRecipe, archive: Archive) -> DetectionSource:
    """Images as the recipe has them read."""
    images = images_of(archive)
    return DetectionSource(images, archive.table, size=recipe.data.size,
                           classes_of=classes_of(recipe, images).of, prepare=recipe.data.prepare)


class MarineWorkflow(Workflow):
    """Images to boxes of animals."""

    name = "marine"
    predictions = BoxPredictions

    def open(self, recipe: Any) -> Archive:
        """See :meth:`Workflow.open`."""
        images = ImageSet.open(Path(recipe.data.images))
        told = classes_of(recipe, images)
        table = told.table(images)
        if not len(table):
            raise InputError("None of the images is annotated", where=images.path,
                             fix="Annotate some: groundswell marine select chooses and packs them")
        if not int(table.column("boxes").sum()):
            raise InputError("No image has a box", where=images.path, fix="There is nothing that could be learnt")
        check_start(recipe, told)
        start = str(Path(recipe.model.start).resolve()) if recipe.model.start else ""
        return Archive(table, [{"images": str(images.path.resolve()), "fingerprint": images.fingerprint(),
                                "priority": list(told.priority), "preparation": images.preparation, "start": start}])

    def usable(self, table: SampleTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Every annotated image teaches, the empty ones too."""
        return rows

    def repeats(self, recipe: Any, archive: Archive, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """See :meth:`Workflow.repeats`: images with critical species, and those that false alarms were found on."""
        images = images_of(archive)
        return repeats_of(recipe, images, classes_of(recipe, images), archive.table, rows)

    def source(self, recipe: Any, archive: Archive, *, training: bool) -> Source:
        """See :meth:`Workflow.source`."""
        return source_of(recipe, archive)

    def task(self, recipe: Any, archive: Archive, rows: NDArray[np.int64]) -> Task:
        """See :meth:`Workflow.task`."""
        # The network's first weights depend on the seed alone, not on what was drawn before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(recipe.train.seed, "weights"))
            images = images_of(archive)
            return build_task(recipe, archive, classes_of(recipe, images), images, rows)

    def check_begin(self, archive: Archive) -> None:
        """See :meth:`Workflow.check_begin`: the weights to start from."""
        start = archive.records[0]["start"]
        if start and not Path(start).exists():
            raise InputError("The weights to start from are not there any more", where=start,
                             fix="Put them back, or train anew from others")

    def trained(self, archive: Archive) -> Archive:
        """See :meth:`Workflow.trained`."""
        return Archive(archive.table, [{**facts, "start": ""} for facts in archive.records])

    def predict(self, recipe: Any, archive: Archive, task: Task, rows: NDArray[np.int64], *, fold: int = -1,
                member: str = "model", device: torch.device | str = "cpu") -> BoxPredictions:
        """See :meth:`Workflow.predict`: all boxes from a score of 0.001 on."""
        return predict_rows(recipe, archive.table, source_of(recipe, archive), task, rows, fold=fold, member=member,
                            device=device, note=notes_of(archive, recipe))

    def controls(self, recipe: Any, archive: Archive, fit_of: Callable[[str], Fit]) -> list[tuple[Control, Runner]]:
        """See :meth:`Workflow.controls`."""
        images = images_of(archive)
        return marine_controls(recipe, images, classes_of(recipe, images), fit_of)

    def check_unchanged(self, archive: Archive) -> None:
        """See :meth:`Workflow.check_unchanged`."""
        images_of(archive)

    def evaluate(self, recipe: Any, archive: Archive, manifest: SplitManifest, predictions: Any, validation: Any,
                 controls: Sequence[ControlRun]) -> Judged:
        """See :meth:`Workflow.evaluate`."""
        images = images_of(archive)
        return evaluate_boxes(predictions, truth_of(images, classes_of(recipe, images), archive.table), archive.table,
                              recipe.evaluate, validation=validation, controls=controls,
                              note=notes_of(archive, recipe), not_measured=self.not_measured(recipe, archive),
                              manifest=manifest, seed=recipe.split.seed)

    def report(self, folder: Path, context: ReportContext) -> Path:
        """See :meth:`Workflow.report`."""
        return write_detection_report(folder, context)

    def pictures(self, recipe: Any, archive: Archive, evaluation: Any) -> list[Picture]:
        """See :meth:`Workflow.pictures`: tested images with true and found boxes."""
        from groundswell.pipelines.marine.pictures import example_pictures

        images = images_of(archive)
        return example_pictures(recipe, images, classes_of(recipe, images), archive.table, evaluation)

    def not_measured(self, recipe: Any, archive: Archive) -> list[str]:
        """See :meth:`Workflow.not_measured`."""
        lines = ["Other cameras, depths, seasons and waters than those of the tested clips."]
        if images_of(archive).simulated:
            lines.append("Real animals: the images are simulated.")
        return lines

    def small(self, folder: Path, seed: int) -> MarineRecipe:
        """See :meth:`Workflow.small`."""
        from groundswell.pipelines.marine.simulate.simulating import simulate_set

        images = simulate_set(folder / "images", seed=seed, clips=10, frames=12, size=(96, 96), animals=(1, 2))
        return build_recipe(MarineRecipe, {
            "data": {"images": str(images.path), "size": 64},
            "model": {"engine": "rtdetr", "name": "rtdetrv2_nano"},
            "loader": {"threads": 1}, "evaluate": {"bootstrap": 200, "n_min": 2},
            "train": {"epochs": 2, "batch_size": 8, "threads": 1, "tensorboard": False, "warmup_epochs": 0},
        })

    def export(self, run: RunFolder, path: Path, folds: Sequence[int]) -> dict[str, Any]:
        """See :meth:`Workflow.export`."""
        from groundswell.pipelines.marine.ship import export_onnx_of

        result = export_onnx_of(run, path, folds)
        return {"largest_difference": result.parity.difference, "samples": result.parity.samples,
                "exporter": result.exporter}


WORKFLOW = MarineWorkflow()
