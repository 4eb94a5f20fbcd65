"""symae: a trained run opened for use: its networks, which of them has not seen an event, and the bags they read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.core.errors import InputError
from groundswell.core.progress import say
from groundswell.core.run import RunFolder
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.symae.data import axis_of, store_of
from groundswell.pipelines.symae.recipe import SymaeRecipe
from groundswell.pipelines.symae.reference_task import ReferenceTask
from groundswell.pipelines.symae.source_task import SourceTask
from groundswell.pipelines.symae.store import BagStore
from groundswell.pipelines.workflow import folds_of, load_task
from groundswell.splits.manifest import TEST, TRAIN, VALIDATION, SplitManifest
from groundswell.splits.parts import PARTS

AnyTask = SourceTask | ReferenceTask

_SAME, _NEAR = 0.005, 0.25
"""How far sampling intervals may differ before it is told, and before it is refused; shares."""
_MOST_VALUES = 4_000_000


@dataclass
class Trained:
    """A run and a store of bags.

    Attributes:
        run: the run.
        recipe: its recipe.
        store: its own store, or another one.
        simulated: whether the store's waveforms are simulated.
        taught_by_simulation: whether the run's own were.
        parts: for each event of the run's own store, its part in each fold; empty for another store.
        fold: a fold's network (from 1), or 0 for one that has not seen the event.
    """

    run: RunFolder
    recipe: SymaeRecipe
    store: BagStore
    simulated: bool
    taught_by_simulation: bool
    parts: dict[str, list[int]]
    fold: int
    _tasks: dict[int, AnyTask] = field(default_factory=dict)

    def fold_of(self, event: str) -> int:
        """Which fold's network (from 0) reads an event."""
        if self.fold:
            return self.fold - 1
        parts = self.parts.get(event, [])
        return parts.index(TEST) if TEST in parts else 0

    def task_of(self, event: str) -> AnyTask:
        """The network that reads an event, in evaluation mode."""
        fold = self.fold_of(event)
        if fold not in self._tasks:
            task = load_task(self.run.path, self.run.pipeline, fold)[2].eval()
            assert isinstance(task, (SourceTask, ReferenceTask))
            task.dt = self.store.facts.dt
            self._tasks[fold] = task
        return self._tasks[fold]

    def role_of(self, event: str) -> str:
        """What the network has seen of an event: train, validation or test; "other store" where it is of another."""
        parts = self.parts.get(event)
        return "other store" if parts is None else PARTS[parts[self.fold_of(event)]]

    def caution(self, event: str) -> str:
        """What must be said beside results for an event; empty where there is nothing."""
        role = self.role_of(event)
        seen = {PARTS[TRAIN]: f"The network was trained on {event}.",
                PARTS[VALIDATION]: f"The network's epoch was chosen with the help of {event}."}.get(role, "")
        made = "The waveforms are simulated." if self.simulated else (
            "The network was taught by simulated sources." if self.taught_by_simulation else "")
        return " ".join(text for text in (seen, made) if text)


def open_trained(run: Path, *, store: Path | None = None, fold: int = 0) -> Trained:
    """Open a run, and the bags it is used on.

    Args:
        run: folder of a trained run.
        store: another store of bags, of traces as long as the run's own.
        fold: a fold's network (from 1), or 0.

    Raises:
        InputError: there is no such run, fold or store, it is not trained, or the store's time axis is another one.
    """
    folder = RunFolder.open(run)
    if folder.pipeline != "symae":
        raise InputError(f"This is a run of the pipeline '{folder.pipeline}'", where=run, fix="Name a run of symae")
    folds_of(folder, fold)
    archive = load_archive(folder.path)
    axis = axis_of(archive)
    bags = BagStore.open(store) if store is not None else store_of(archive)
    _check_axis(bags, axis.nt, axis.dt)
    parts: dict[str, list[int]] = {}
    if bags.fingerprint() == archive.records[0]["fingerprint"]:
        manifest = SplitManifest.read(folder.path, archive.table)
        groups = archive.table.groups()
        for fold_number in range(manifest.folds):
            for part in (TRAIN, VALIDATION, TEST):
                for event in dict.fromkeys(groups[manifest.rows(part, fold_number)].tolist()):
                    parts.setdefault(str(event), [-1] * manifest.folds)[fold_number] = part
        parts = {event: found for event, found in parts.items() if -1 not in found}
    return Trained(folder, folder.recipe(SymaeRecipe), bags, bags.simulated,
                   bool(archive.table.origin.get("simulated")) and folder.recipe(SymaeRecipe).data.labels, parts, fold)


def _check_axis(store: BagStore, nt: int, dt: float) -> None:
    if store.facts.nt != nt:
        raise InputError(f"The traces have {store.facts.nt} samples; the network takes {nt}", where=store.path,
                         fix=f"Prepare the records again with --set nt={nt} --set dt={dt:g}")
    ratio = dt / store.facts.dt
    if abs(ratio - 1) > _NEAR:
        raise InputError(f"The samples are {store.facts.dt:g} s apart; the network knows sources sampled every {dt:g} "
                         "s", where=store.path, fix=f"Prepare the records again with --set dt={dt:g}")
    if abs(ratio - 1) > _SAME:
        say(f"The network was trained on samples {dt:g} s apart and reads samples {store.facts.dt:g} s apart: sources "
            f"look {ratio:.2f} times as long to it.")


def split_name(name: str) -> tuple[str, int | None]:
    """Event and pixel of EVENT or EVENT/PIXEL.

    Raises:
        InputError: what stands behind the last slash is no pixel.
    """
    event, slash, pixel = name.rpartition("/")
    if not slash:
        return name, None
    if not pixel.isdecimal():
        raise InputError(f"'{pixel}' is no number of a pixel", where=name, fix="Write EVENT or EVENT/PIXEL")
    return event, int(pixel)


def bags_of(store: BagStore, event: str, pixel: int | None = None) -> list[int]:
    """Bags of an event, the largest first; of one pixel only, if it is named.

    Raises:
        InputError: there is none; the message names what there is.
    """
    if pixel is not None:
        return [store.bag_of(event, pixel)]
    rows = store.bags[store.bags["event"] == event]
    if rows.empty:
        store.bag_of(event, 0)  # says which events there are
    return [int(bag) for bag in rows.sort_values("count", ascending=False, kind="stable")["bag"]]


def padded_bags(waves: list[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Bags (t_i, n) side by side, (b, t, n) with zeros for padding, and their mask (b, t)."""
    most = max(len(wave) for wave in waves)
    x = torch.zeros(len(waves), most, waves[0].shape[1])
    mask = torch.zeros(len(waves), most, dtype=torch.bool)
    for i, wave in enumerate(waves):
        x[i, :len(wave)] = torch.from_numpy(np.ascontiguousarray(wave, np.float32))
        mask[i, :len(wave)] = True
    return x, mask


def read_sources(task: AnyTask, waves: list[NDArray[np.float32]]) -> list[dict[str, NDArray[np.float64]]]:
    """What a network says of bags of any sizes: source, spread (n,), shift_s, flip (t,), aligned (t, n).

    Args:
        task: in evaluation mode.
        waves: of each bag, float32 (t, n), two traces or more.
    """
    order = sorted(range(len(waves)), key=lambda i: len(waves[i]))
    found: dict[int, dict[str, NDArray[np.float64]]] = {}
    while order:
        # Bags of like size go together, as many as keep the pairs of their traces within memory.
        size, together = len(waves[order[-1]]), 1
        while together < len(order) and (together + 1) * size * (size + waves[0].shape[1]) < _MOST_VALUES:
            together += 1
        chosen, order = order[-together:], order[:-together]
        x, mask = padded_bags([waves[i] for i in chosen])
        with torch.inference_mode():
            answer = task.predict({"x": x, "mask": mask})
        for row, i in enumerate(chosen):
            count = len(waves[i])
            found[i] = {name: answer[name][row].double().numpy() for name in ("source", "spread")}
            found[i] |= {name: answer[name][row, :count].double().numpy() for name in ("shift_s", "flip", "aligned")}
            found[i]["settled"] = answer["settled"][row].double().numpy() if "settled" in answer else np.array(np.nan)
    return [found[i] for i in range(len(waves))]


def clean_name(name: str) -> str:
    """A name that is safe in a path: letters, digits and ``._-`` alone, not hidden, at most 80 characters."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:80]
    return safe or "unnamed"


def trace_rows(store: BagStore, bag: int) -> pd.DataFrame:
    """Rows of the store's traces that belong to a bag."""
    start, count = (int(store.bags[name].iloc[bag]) for name in ("start", "count"))
    return store.traces.iloc[start:start + count].reset_index(drop=True)
