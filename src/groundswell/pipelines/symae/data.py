"""symae: what the shared chain needs to know of this pipeline: its archive, its source, its task, how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe
from groundswell.core.run import RunFolder
from groundswell.core.seeds import derive_seed
from groundswell.data.source import Source
from groundswell.data.waveforms import WaveformPredictions
from groundswell.evaluate.controls import Control, ControlRun, Fit, Runner
from groundswell.evaluate.evaluation import Judged
from groundswell.evaluate.report import Picture, ReportContext
from groundswell.evaluate.waveform_report import write_waveform_report
from groundswell.evaluate.waveforms import evaluate_waveforms
from groundswell.pipelines.archive import Archive
from groundswell.pipelines.symae.reading import batches, halves, truth_of
from groundswell.pipelines.symae.recipe import SymaeRecipe
from groundswell.pipelines.symae.rivals import padding_unknown, symae_controls
from groundswell.pipelines.symae.source import BagSource
from groundswell.pipelines.symae.store import BagStore
from groundswell.pipelines.symae.tasks import build_task
from groundswell.pipelines.workflow import Refit, Workflow, notes_of
from groundswell.splits.manifest import SplitManifest
from groundswell.train.task import Task


@dataclass(frozen=True)
class TimeAxis:
    """Of the traces of a store: samples, seconds between them, and the first one's time relative to the P arrival."""

    nt: int
    dt: float
    t0: float


def axis_of(archive: Archive) -> TimeAxis:
    """The time axis that an archive was opened with."""
    facts = archive.records[0]
    return TimeAxis(int(facts["nt"]), float(facts["dt"]), float(facts["t0"]))


def store_of(archive: Archive) -> BagStore:
    """The store behind an archive.

    Raises:
        InputError: it is gone, damaged, or another one.
    """
    facts = archive.records[0]
    store = BagStore.open(facts["store"])
    if store.fingerprint() != facts["fingerprint"]:
        raise InputError("The store of bags is not the one that the run was made with", where=store.path,
                         fix="Put it back, or train anew")
    return store


def source_of(recipe: SymaeRecipe, archive: Archive) -> BagSource:
    """Bags as the recipe has them read."""
    return BagSource(store_of(archive), archive.table, most_traces=recipe.data.most_traces,
                     stations=recipe.data.stations)


class SymaeWorkflow(Workflow):
    """Bags of traces to their sources."""

    name = "symae"
    predictions = WaveformPredictions

    def open(self, recipe: Any) -> Archive:
        """See :meth:`Workflow.open`."""
        store = BagStore.open(recipe.data.store)
        facts = store.facts
        return Archive(store.table(), [{"store": str(store.path.resolve()), "fingerprint": store.fingerprint(),
                                        "nt": facts.nt, "dt": facts.dt, "t0": facts.t0}])

    def usable(self, table: Any, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Every bag teaches: what is learnt is what its traces have in common."""
        return rows

    def source(self, recipe: Any, archive: Archive, *, training: bool) -> Source:
        """See :meth:`Workflow.source`."""
        return source_of(recipe, archive)

    def task(self, recipe: Any, archive: Archive, rows: NDArray[np.int64]) -> Task:
        """See :meth:`Workflow.task`."""
        axis = axis_of(archive)
        # The network's first weights depend on the seed alone, not on what was drawn before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(recipe.train.seed, "weights"))
            return build_task(recipe, nt=axis.nt, dt=axis.dt)

    def predict(self, recipe: Any, archive: Archive, task: Task, rows: NDArray[np.int64], *, fold: int = -1,
                member: str = "model", device: torch.device | str = "cpu") -> WaveformPredictions:
        """See :meth:`Workflow.predict`: the sources of whole bags, and of two halves of each."""
        axis, names = axis_of(archive), archive.table.column("sample_id").to_numpy(object)
        task, parts = task.to(device).eval(), []
        for bags in batches(source_of(recipe, archive), rows, recipe.train.batch_size):
            x, mask = bags.x.to(device), bags.mask.to(device)
            one, other, both = halves(mask)
            with torch.inference_mode():
                whole = task.predict({"x": x, "mask": mask})
                # A bag that is too small for halves is read whole instead and its halves forgotten.
                pair = torch.stack([task.predict({"x": x * part[..., None], "mask": part})["source"]
                                    for part in (torch.where(both[:, None], h, mask) for h in (one, other))], 1)
            pair = torch.where(both[:, None, None], pair, torch.nan)
            parts.append(WaveformPredictions.of(
                names[bags.rows], whole["source"].cpu().numpy(), dt=axis.dt, t0=axis.t0,
                spread=whole["spread"].cpu().numpy(), shift_s=padding_unknown(whole["shift_s"].cpu(), bags.mask),
                flip=(whole["flip"].cpu() * bags.mask).numpy().astype(np.int8), halves=pair.cpu().numpy(),
                member=member, fold=fold, envelope=recipe.model.type == "reference" and recipe.model.envelope))
        return WaveformPredictions.concatenate(parts)

    def controls(self, recipe: Any, archive: Archive, fit_of: Callable[[str], Fit]) -> list[tuple[Control, Runner]]:
        """See :meth:`Workflow.controls`."""
        axis, fit = axis_of(archive), fit_of("stack_only")
        if isinstance(fit, Refit):
            model = recipe.model.model_copy(update={"type": "source", "stack_only": True})
            fit = replace(fit, recipe=fit.recipe.model_copy(update={"model": model}))
        return symae_controls(recipe.evaluate.controls, lambda: source_of(recipe, archive), dt=axis.dt, t0=axis.t0,
                              max_shift_s=recipe.model.max_shift_s, truth=store_of(archive).has_truth, stack_only=fit)

    def check_unchanged(self, archive: Archive) -> None:
        """See :meth:`Workflow.check_unchanged`."""
        store_of(archive)

    def evaluate(self, recipe: Any, archive: Archive, manifest: SplitManifest, predictions: Any, validation: Any,
                 controls: Sequence[ControlRun]) -> Judged:
        """See :meth:`Workflow.evaluate`."""
        table, source = archive.table, source_of(recipe, archive)
        rows = np.unique(table.positions(predictions.sample_id.tolist()))
        truth = truth_of(store_of(archive), source, table.column("sample_id").to_numpy(object)[rows], rows)
        return evaluate_waveforms(predictions, table, truth, recipe.evaluate, controls=controls,
                                  note=notes_of(archive, recipe), not_measured=self.not_measured(recipe, archive),
                                  manifest=manifest, seed=recipe.split.seed, unit="bag")

    def report(self, folder: Path, context: ReportContext) -> Path:
        """See :meth:`Workflow.report`."""
        return write_waveform_report(folder, context)

    def pictures(self, recipe: Any, archive: Archive, evaluation: Any) -> list[Picture]:
        """See :meth:`Workflow.pictures`: bags before and after alignment."""
        from groundswell.pipelines.symae.pictures import alignment_pictures

        return alignment_pictures(recipe, archive, evaluation)

    def not_measured(self, recipe: Any, archive: Archive) -> list[str]:
        """See :meth:`Workflow.not_measured`."""
        lines = ["Absolute origin, polarity and amplitude of a source, and any part that the paths of all traces of a "
                 "bag share: the traces do not hold them."]
        if store_of(archive).has_truth:
            lines.append("Real earthquakes: the bags are simulated, and what the network learnt of sources is what "
                         "the simulator draws.")
        else:
            lines.append("Nearness to the true source: it is not known for these records.")
        return lines

    def small(self, folder: Path, seed: int) -> SymaeRecipe:
        """See :meth:`Workflow.small`."""
        from groundswell.pipelines.symae.simulate.simulating import simulate_store

        store = simulate_store(folder / "bags", seed=seed, events=24, pixels=(1, 1), traces=(4, 8), worlds=("easy",),
                               nt=128)
        return build_recipe(SymaeRecipe, {
            "data": {"store": str(store.path), "most_traces": 6},
            "model": {"widths": [8, 8, 8], "trace_widths": [4, 8], "q": 4, "realign": 1},
            "loader": {"threads": 1}, "evaluate": {"bootstrap": 200, "n_min": 2},
            "train": {"epochs": 2, "batch_size": 4, "threads": 1, "tensorboard": False},
        })

    def export(self, run: RunFolder, path: Path, folds: Sequence[int]) -> dict[str, Any]:
        """See :meth:`Workflow.export`."""
        from groundswell.pipelines.symae.ship import export_onnx_of

        result = export_onnx_of(run, path, folds)
        return {"largest_difference": result.parity.difference, "samples": result.parity.samples,
                "exporter": result.exporter}


WORKFLOW = SymaeWorkflow()
