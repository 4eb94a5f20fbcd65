"""geomag: finding and reading the result files of families, windows and folds; what is absent or damaged is named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import read_json
from groundswell.pipelines.geomag.layout import WINDOW_DAYS, window_name
from groundswell.pipelines.geomag.study.folder import TITLES

FloatArray = NDArray[np.float64]
Answers = tuple[FloatArray, NDArray[np.int64]]
"""Probabilities, shape (n, 2), and labels, shape (n,), 0 or 1."""
CURVES = ("train_acc", "val_acc", "train_loss", "val_loss")
WINDOWS = tuple(window_name(days) for days in WINDOW_DAYS)
_OPTIONAL = "MiniRocket"  # the seed knows five families; this one is drawn where it is
_EPOCH = re.compile(r"^\W*epoch\D{0,3}(\d+)", re.IGNORECASE)
_NUMBER = re.compile(r"(\w+)(?:\s*[:=]\s*|\s+)([-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|nan|inf))(?=\s|\||,|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Cell:
    """Files of one family on one window length.

    Attributes:
        model: ``GRU``, ``LSTM``, ….
        window: ``7day``, ….
        stem: folder and beginning of the files' names, ``…/gru_models/GRUModel_7day``.
        folds: how many there are, or should be.
        facts: content of the ensemble's configuration or, without one, of the summary; empty where both are absent.
    """

    model: str
    window: str
    stem: Path
    folds: int
    facts: Mapping[str, Any]

    def file(self, fold: int, ending: str) -> Path:
        """``GRUModel_7day_fold_1_logs.txt`` for fold 1 and ``logs.txt``."""
        return self.stem.with_name(f"{self.stem.name}_fold_{fold}_{ending}")

    def __str__(self) -> str:
        return f"{self.model} {self.window}"


@dataclass(frozen=True)
class Results:
    """A folder of results: what is there, and what was missed while it was read."""

    folder: Path
    cells: list[Cell]
    missing: list[str] = field(default_factory=list)

    def of_window(self, window: str) -> list[Cell]:
        """Families that have files for a window length."""
        return [cell for cell in self.cells if cell.window == window]

    @property
    def windows(self) -> list[str]:
        """Window lengths that any family has files for."""
        return [window for window in WINDOWS if self.of_window(window)]

    def lacks(self, what: str) -> None:
        """Note, once, that something is absent or damaged."""
        if what not in self.missing:
            self.missing.append(what)


def find_results(folder: Path) -> Results:
    """Look for files of the known families and window lengths, ``{Model}Model_{window}_*`` or ``{Model}_{window}_*``.

    Raises:
        InputError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("There is no such folder of results", where=folder,
                         fix="Name the folder that holds gru_models, lstm_models and so on")
    results = Results(folder, [])
    for model, title in TITLES.items():
        here = folder / f"{model}_models"
        if not here.is_dir():
            if title != _OPTIONAL:
                results.lacks(f"{title}: there is no folder {here.name}")
            continue
        found = [cell for window in WINDOWS if (cell := _cell(results, here, title, window)) is not None]
        results.cells.extend(found)
    _name_gaps(results)
    return results


def _name_gaps(results: Results) -> None:
    """Name window lengths that no family has, and families that lack one which others have."""
    there = {(cell.model, cell.window) for cell in results.cells}
    for window in WINDOWS:
        if results.cells and not results.of_window(window):
            results.lacks(f"{window}: no family has files of this window length")
            continue
        for model, title in TITLES.items():
            if (results.folder / f"{model}_models").is_dir() and (title, window) not in there:
                results.lacks(f"{title} {window}: {model}_models holds no files of this window length")


def _cell(results: Results, here: Path, model: str, window: str) -> Cell | None:
    for name in (f"{model}Model_{window}", f"{model}_{window}"):
        files = [path.name for path in here.glob(f"{name}_*")]
        if files:
            facts = _facts(results, here / name, f"{model} {window}")
            weights, by_fold = facts.get("ensemble_weights"), facts.get("fold_metrics")
            lists = [weights, *(by_fold.values() if isinstance(by_fold, dict) else [])]
            numbers = [int(found[1]) for file in files if (found := re.match(rf"{name}_fold_(\d+)[_.]", file))]
            folds = max([*numbers, *(len(values) for values in lists if isinstance(values, list))], default=0)
            return Cell(model, window, here / name, folds, facts)
    return None


def _facts(results: Results, stem: Path, title: str) -> dict[str, Any]:
    for ending in ("ensemble_config", "summary"):
        path = stem.with_name(f"{stem.name}_{ending}.json")
        try:
            facts = read_json(path)
        except InputError as error:
            results.lacks(f"{title}: {path.name} {'is absent' if not path.exists() else f'is damaged: {error.what}'}")
            continue
        if isinstance(facts, dict):
            return facts
        results.lacks(f"{title}: {path.name} is damaged: it holds no object")
    return {}


def read_weights(results: Results, cell: Cell) -> FloatArray:
    """Weights of the folds in the family's ensemble, shape (folds,), sum 1; equal ones where they are not known."""
    given = cell.facts.get("ensemble_weights")
    try:
        weights = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        weights = np.zeros(0)
    if weights.shape == (cell.folds,) and np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0:
        return np.asarray(weights / weights.sum())
    results.lacks(f"{cell}: no weights of {cell.folds} folds are recorded; the folds count alike")
    return np.full(cell.folds, 1 / max(cell.folds, 1))


def read_answers(results: Results, cell: Cell, fold: int, part: str = "test") -> Answers | None:
    """Answers of a fold; ``None`` where there are none that can be used."""
    read = []
    for kind in ("probs", "labels"):
        path = cell.file(fold, f"{part}_{kind}.npy")
        try:
            read.append(np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)))
        except FileNotFoundError:
            results.lacks(f"{cell} fold {fold}: {path.name} is absent")
        except (OSError, ValueError, EOFError):  # numpy's own words advise to unpickle
            results.lacks(f"{cell} fold {fold}: {path.name} is damaged: it is no whole array of numbers")
    if len(read) < 2:
        return None
    why = _unfit(*read)
    if why:
        results.lacks(f"{cell} fold {fold}: {cell.file(fold, f'{part}_probs.npy').name} cannot be used: {why}")
        return None
    return np.asarray(read[0], np.float64), np.asarray(read[1], np.int64)


def _unfit(probs: NDArray[Any], labels: NDArray[Any]) -> str:
    if probs.ndim != 2 or probs.shape[1] != 2 or labels.shape != (len(probs),):
        return f"probabilities have the shape {probs.shape}, labels {labels.shape}; they should be (n, 2) and (n,)"
    if not len(probs) or probs.dtype.kind not in "fiu" or labels.dtype.kind not in "fiub":
        return "it is empty" if not len(probs) else "it holds no numbers"
    if not np.isfinite(probs).all():
        return "some probabilities are not finite"
    return "" if np.isin(labels, (0, 1)).all() else "some labels are neither 0 nor 1"


def read_log(results: Results, cell: Cell, fold: int) -> dict[str, FloatArray] | None:
    """Curves of a fold by epoch: ``epoch`` and those of :data:`CURVES`; ``None`` where the log has no epoch.

    An epoch that is written twice, as by a run that was gone on with, counts as it was written last.
    """
    path = cell.file(fold, "logs.txt")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        results.lacks(f"{cell} fold {fold}: {path.name} is absent")
        return None
    except (OSError, UnicodeDecodeError):
        results.lacks(f"{cell} fold {fold}: {path.name} is damaged: it is no text")
        return None
    epochs: dict[int, list[float]] = {}
    for line in text.splitlines():
        number, values = _EPOCH.match(line), dict(_NUMBER.findall(line))
        if number and all(name in values for name in CURVES):
            epochs[int(number[1])] = [float(values[name]) for name in CURVES]
    if not epochs:
        if cell.model != _OPTIONAL:  # a ridge has no epochs
            results.lacks(f"{cell} fold {fold}: {path.name} holds no epoch")
        return None
    order = sorted(epochs)
    table = np.array([epochs[epoch] for epoch in order])
    return {"epoch": np.array(order, np.float64), **{name: table[:, i] for i, name in enumerate(CURVES)}}


def marks_of(facts: Iterable[Mapping[str, Any]]) -> str:
    """What must stand on a picture of results with these facts, in short sentences; empty where there is nothing."""
    known = [each for each in facts if each]
    lines = ["Simulated data."] if any(each.get("simulated") for each in known) else []
    if any(each.get("ungrouped") for each in known):
        lines.append("Ungrouped: may be inflated.")
    elif not all("ungrouped" in each for each in known) or not known:
        lines.append("Grouping of the windows is not recorded: may be inflated.")
    reasons = {str(each["allow_leakage"]) for each in known if each.get("allow_leakage")}
    return " ".join([*lines, *(f"The split leaks, allowed for: {reason}." for reason in sorted(reasons))])
