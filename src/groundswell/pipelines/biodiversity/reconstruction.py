"""biodiversity: how well hidden modalities of tested observations are predicted, beside what needs no prediction.

Everything is measured on vectors standardised by the training part of the fold, as mean squared error over their
numbers and the tested observations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.data.loader import Loader
from groundswell.data.order import Order, permutations
from groundswell.data.source import Source
from groundswell.data.table import SampleTable
from groundswell.evaluate.intervals import Estimate, bootstrap, sums_by_group
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.pipelines.biodiversity.pretrain_task import PretrainTask

WANTED = 0.2
"""Share by which the error must lie below that of the mean and of the best constant."""
RIVALS = {"mean": "the training part's mean", "constant": "the best constant",
          "pairing": "predictions from other observations"}
"""What predictions are held against, by column: the mean of the training part; the mean of the tested observations
themselves, which no answer that ignores the visible modalities can beat; and the network's own predictions from the
visible modalities of another observation, drawn at random."""
ALL = "all"
"""Name of the sum over all modalities."""


@dataclass(frozen=True)
class Loading:
    """How observations are read.

    Attributes:
        source: of all rows of the table, with a field for each modality.
        batch_size: observations in a batch.
        threads: readers.
        device: where the network is.
    """

    source: Source
    batch_size: int
    threads: int = 1
    device: str = "cpu"

    def loader(self, rows: NDArray[np.int64]) -> Loader:
        """Batches of ``rows`` in their order."""
        return Loader(self.source, Order(rows, self.batch_size, 0, shuffle=False), {}, device=self.device,
                      threads=self.threads)


def measure(task: PretrainTask, loading: Loading, rows: NDArray[np.int64], *, seed: int) -> pd.DataFrame:
    """Errors of every modality of some observations, each hidden and predicted from all others.

    Args:
        task: trained, on the device of ``loading``.
        loading: how they are read.
        rows: positions of the observations.
        seed: of the random pairings.

    Returns:
        One row for each observation and modality: ``row``, ``modality``, ``error`` of the prediction, and those of
        :data:`RIVALS`. ``pairing`` is NaN where there is one observation only.
    """
    names = task.recipe.modalities
    task = task.eval()
    with torch.inference_mode():
        constant = _constants(task, loading, rows)
        found = {name: {"error": _empty(rows), "mean": _empty(rows), "constant": _empty(rows)} for name in names}
        for place, batch in _batches(loading, rows):
            errors = _errors(task, batch, batch)
            for name in names:
                truth = task.network.standardised(name, task.network.vector(name, batch[name]))
                put = found[name]
                put["error"][place] = _numpy(errors[f"{name}_error"])
                put["mean"][place] = _numpy(errors[f"{name}_reference"])
                put["constant"][place] = _numpy((truth - constant[name]).square().mean(dim=1))
        pairing = _paired(task, loading, rows, seed)
    return pd.concat([pd.DataFrame({"row": rows, "modality": name, **found[name], "pairing": pairing[name]})
                      for name in names], ignore_index=True)


def _errors(task: PretrainTask, target: Mapping[str, Tensor], visible: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Each modality of ``target`` predicted from the other modalities of ``visible``.
    outputs = task.network.cross_modal(visible)
    return task.network.losses(outputs, target, {})


def _constants(task: PretrainTask, loading: Loading, rows: NDArray[np.int64]) -> dict[str, Tensor]:
    # Mean of the standardised vectors of ``rows``, float32 (w,) by name.
    sums: dict[str, Tensor] = {}
    for _, batch in _batches(loading, rows):
        for name in task.recipe.modalities:
            vector = task.network.standardised(name, task.network.vector(name, batch[name])).double().sum(0)
            sums[name] = sums[name] + vector if name in sums else vector
    return {name: (total / len(rows)).float() for name, total in sums.items()}


def _paired(task: PretrainTask, loading: Loading, rows: NDArray[np.int64], seed: int) -> dict[str, NDArray[np.float64]]:
    # Errors of predictions from other observations, averaged over some random pairings in which nobody meets itself.
    names, times = task.recipe.modalities, task.recipe.permutations
    sums = {name: np.zeros(len(rows)) for name in names}
    if len(rows) < 2:
        return {name: np.full(len(rows), np.nan) for name in names}
    for order in permutations(len(rows), 0, times, seed, "pairing"):
        other = np.empty_like(rows)
        other[order] = rows[np.roll(order, 1)]
        for (place, batch), (_, shown) in zip(_batches(loading, rows), _batches(loading, other), strict=True):
            errors = _errors(task, batch, shown)
            for name in names:
                sums[name][place] += _numpy(errors[f"{name}_error"])
    return {name: total / times for name, total in sums.items()}


def _batches(loading: Loading, rows: NDArray[np.int64]) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    # Batches without what only fills up the last one, and their places in ``rows``.
    with ExitStack() as stack:
        loader = loading.loader(rows)
        stack.callback(loader.close)
        done = 0
        for batch in loader.iterate(0):
            real = int((batch["weight"] > 0).sum())
            yield slice(done, done + real), {name: value[:real] for name, value in batch.items()}
            done += real


def _empty(rows: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.full(len(rows), np.nan)


def _numpy(values: Tensor) -> NDArray[np.float64]:
    return np.asarray(values.double().cpu().numpy(), np.float64)


# -- what follows from the errors -----------------------------------------------------------------------------------


def summarise(errors: pd.DataFrame, table: SampleTable, recipe: EvaluateRecipe, *, seed: int,
              stratum: NDArray[np.object_] | None = None) -> dict[str, Any]:
    """Errors and what they lie below, with bootstrap intervals over groups, as JSON-able facts.

    Args:
        errors: as :func:`measure` gives them, of all folds together.
        table: of the observations; intervals are drawn over its column ``cluster``, or else its groups.
        recipe: confidence, resamples, fewest observations of a stratum.
        seed: of the bootstrap.
        stratum: what kind of test each row of the table is, if there are kinds.

    Returns:
        ``modalities`` by name, and ``all`` for their sum: errors, and ``below_<rival>``, the share by which the error
        is lower than the rival's (1 - error / rival); the same by stratum; ``passed``, whether every modality lies
        :data:`WANTED` below mean and constant with intervals above 0; and ``sentences``.
    """
    rows = errors["row"].to_numpy(np.int64)
    names = table.column("cluster" if table.has("cluster") else "group").astype(str).to_numpy(dtype=object)
    modalities = list(dict.fromkeys(errors["modality"]))
    facts: dict[str, Any] = {"tested": len(np.unique(rows)), "groups": len(set(names[rows])),
                             "confidence": recipe.confidence, "wanted": WANTED, "modalities": {}, "strata": {}}
    scores = _Scores(names, recipe, seed)
    for name in modalities:
        facts["modalities"][name] = scores.of(errors[errors["modality"] == name])
    facts[ALL] = scores.of(errors)
    if stratum is not None:
        kinds = stratum[rows].astype(str)
        for kind in sorted(set(kinds) - {""}):
            part = errors[kinds == kind]
            count = part["row"].nunique()
            facts["strata"][kind] = {"tested": count, **(
                {name: scores.of(part[part["modality"] == name]) for name in modalities} if count >= recipe.n_min else
                {"why": f"fewer than {recipe.n_min} observations"})}
    facts["passed"] = all(_passes(facts["modalities"][name]) for name in modalities)
    facts["sentences"] = [_sentence(name, facts["modalities"][name], modalities) for name in modalities]
    return facts


@dataclass(frozen=True)
class _Scores:
    group: NDArray[np.object_]
    recipe: EvaluateRecipe
    seed: int

    def of(self, errors: pd.DataFrame) -> dict[str, Any]:
        columns = ["error", *RIVALS]
        group = pd.factorize(self.group[errors["row"].to_numpy(np.int64)])[0].astype(np.int64)
        values = errors[columns].to_numpy(np.float64)
        known = [k for k, column in enumerate(columns) if not np.isnan(values[:, k]).any()]
        column = np.tile(np.arange(len(columns)), len(errors))
        sums = sums_by_group(np.repeat(group, len(columns)), column, len(columns), np.nan_to_num(values).ravel())

        def below(total: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
            safe = np.where(total > 0, total, np.nan)
            return {columns[k]: 1 - total[:, 0] / safe[:, k] for k in known if k}

        estimates = bootstrap(sums, below, resamples=self.recipe.bootstrap, confidence=self.recipe.confidence,
                              seed=self.seed)
        nothing = Estimate(None, why="one observation alone has no other to be paired with")
        return {**{name: float(values[:, k].mean()) if k in known else None for k, name in enumerate(columns)},
                **{f"below_{name}": estimates.get(name, nothing).to_dict() for name in RIVALS}}


def _passes(score: Mapping[str, Any]) -> bool:
    found = [score["below_mean"], score["below_constant"]]
    return all(below["value"] is not None and below["value"] >= WANTED and (below["low"] or 0) > 0 for below in found)


def _sentence(name: str, score: Mapping[str, Any], modalities: Sequence[str]) -> str:
    others = " and ".join(other for other in modalities if other != name)
    told = [f"{_share(score[f'below_{rival}'])} below {title}" for rival, title in RIVALS.items()
            if score[f"below_{rival}"]["value"] is not None]
    if not told:
        return f"Of {name} nothing can be said: it does not vary among the tested observations."
    verdict = "which is what was asked for" if _passes(score) else (
        f"which is not {WANTED:.0%} below mean and constant with intervals above 0")
    return f"The error of {name}, predicted from {others}, is {score['error']:.3f}: {', '.join(told)}; {verdict}."


def _share(below: Mapping[str, Any]) -> str:
    ends = f" ({100 * below['low']:.1f} to {100 * below['high']:.1f} %)" if below["low"] is not None else ""
    return f"{100 * below['value']:.1f} %{ends}"
