"""pipelines: what exporting a run is for every pipeline: which form, which folds, which tasks, whose weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

from groundswell.core.errors import InputError
from groundswell.core.registry import get_pipeline
from groundswell.core.run import RunFolder
from groundswell.deploy.export import ExportResult
from groundswell.pipelines.workflow import folds_of, load_task
from groundswell.train.task import Task
from groundswell.train.weights import load_best, write_pth

T = TypeVar("T", bound=Task)


@dataclass(frozen=True)
class Words:
    """What a pipeline calls things when it tells of an export.

    Attributes:
        samples: what the file was compared on, in the plural.
        answer: what was compared, to follow "the largest difference of".
        unit: of the difference, to follow the number.
        shapes: what else was tried, to follow "; ".
        inputs: what `groundswell predict` is given.
    """

    samples: str
    inputs: str
    answer: str = "a probability"
    unit: str = ""
    shapes: str = "on other batch sizes"


def export_run(run: RunFolder, *, to: str, out: Path | None, fold: int, words: Words,
               onnx: Callable[[RunFolder, Path, Sequence[int]], ExportResult],
               weights: Callable[[RunFolder, Path, Sequence[int]], list[Path]]) -> list[str]:
    """Export a run; what to tell the person, line by line.

    Args:
        run: the run.
        to: onnx or weights.
        out: file (onnx) or folder (weights); ``None`` for inside the run.
        fold: one fold from 1, or 0 for all.
        words: of the pipeline.
        onnx: writes some folds to one file, through the parity gate.
        weights: writes the state dicts of some folds below a folder.

    Raises:
        InputError: no such form, no such fold, or not trained.
        RefusedError: the exported file disagrees with the network; nothing is written.
    """
    folds = folds_of(run, fold)
    if to == "onnx":
        result = onnx(run, out or run.path / "model.onnx", folds)
        parity = result.parity
        return [f"Wrote {result.path} ({result.path.stat().st_size / 2**20:.1f} MiB) by the exporter "
                f"'{result.exporter}'.",
                f"On {parity.samples} {words.samples} the largest difference of {words.answer} is "
                f"{parity.difference:.1e}{words.unit}; {words.shapes} {parity.shape_difference:.1e}.",
                f"Next: groundswell predict {result.path} {words.inputs}"]
    if to == "weights":
        return [f"Wrote {path}" for path in weights(run, out or run.path, folds)]
    raise InputError(f"There is no form '{to}' to export to", where="--to", fix="Choose onnx or weights")


@overload
def tasks_of(run: RunFolder, folds: Sequence[int]) -> list[Task]: ...
@overload
def tasks_of(run: RunFolder, folds: Sequence[int], kind: type[T]) -> list[T]: ...
def tasks_of(run: RunFolder, folds: Sequence[int], kind: Any = Task) -> Any:
    """The trained tasks of some folds, in evaluation mode; of one kind, where the pipeline has only that."""
    tasks = []
    for fold in folds:
        task = load_task(run.path, run.pipeline, fold)[2]
        assert isinstance(task, kind)
        tasks.append(task.eval())
    return tasks


def of_validation(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics of the validation part among those of an epoch, by their plain names."""
    return {name.removeprefix("val_"): value for name, value in metrics.items() if name.startswith("val_")}


def write_best(run: RunFolder, folder: Path, folds: Sequence[int], tasks: Sequence[T],
                        more: Callable[[T, Mapping[str, float]], Mapping[str, Any]] | None = None) -> list[Path]:
    """Write ``best_model.pth`` of each fold (below ``fold-K`` where there are several): epoch, model_state_dict,
    val_metrics, config, all plain.

    Args:
        run: the run.
        folder: where to.
        folds: which, from 0.
        tasks: their tasks.
        more: further entries, from a task and its metrics of the validation part.
    """
    config, written = run.recipe(get_pipeline(run.pipeline).recipe_class()).model_dump(mode="json"), []
    for fold, task in zip(folds, tasks, strict=True):
        facts = load_best(task, run.fold_path(fold))
        path = (folder if len(folds) == 1 else folder / f"fold-{fold + 1}") / "best_model.pth"
        metrics = of_validation(facts["metrics"])
        write_pth(path, {"epoch": facts["epoch"], "model_state_dict": task.state_dict(), "val_metrics": metrics,
                         **(more(task, metrics) if more else {}), "config": config})
        written.append(path)
    return written
