"""symae: relative arrival times of a store's traces, from a network's shifts or by stacking, with their errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from groundswell.core.files import atomic_path, write_json
from groundswell.core.progress import progress
from groundswell.pipelines.symae.alignment.iccs import Aligned, iccs
from groundswell.pipelines.symae.alignment.mccc import mccc
from groundswell.pipelines.symae.arrivals import MOST_PAIRED, Picks, compare, lines_of, standard_error
from groundswell.pipelines.symae.sac import write_sac_bag
from groundswell.pipelines.symae.signals import prepared, standard, time_axis
from groundswell.pipelines.symae.store import BagStore
from groundswell.pipelines.symae.trained import AnyTask, Trained, open_trained, padded_bags, read_sources, trace_rows

Floats = NDArray[np.float64]

_PICTURES = 6
_MAX_SHIFT_S = 10.0


def align_run(run: Path, *, store: Path | None = None, event: str = "", out: Path | None = None, sac: bool = False,
              fold: int = 0, scale: int = 2) -> list[str]:
    """What `symae align RUN` does; what to tell the person.

    Writes ``arrivals.csv`` and ``arrivals.parquet`` (a row for each trace), ``arrivals.json`` (how they compare with
    picks and truth), pictures and, with ``sac``, a SAC file for each trace.

    Raises:
        InputError: there is no such run, store or event.
    """
    trained = open_trained(run, store=store, fold=fold)
    folder = out or Path(run) / "align"
    lines = [text for text in (trained.caution(event),) if event and text]
    return [*lines, *_align(trained.store, folder, event, trained, sac=sac, scale=scale)]


def align_store(store: Path, *, event: str = "", out: Path, sac: bool = False, scale: int = 2) -> list[str]:
    """What `symae align --iccs STORE` does: the same by iterative stacking, without a network."""
    return _align(BagStore.open(store), out, event, None, sac=sac, scale=scale)


def _align(store: BagStore, folder: Path, event: str, trained: Trained | None, *, sac: bool, scale: int) -> list[str]:
    from groundswell.pipelines.symae.figures import check_scale, save_all
    from groundswell.pipelines.symae.figures_signals import aligned_pair, shift_histogram

    check_scale(scale)
    found = list(picks_of(store, event, trained))
    table = arrivals_table(store, found)
    for name in ("arrivals.csv", "arrivals.parquet"):
        with atomic_path(folder / name) as temporary:
            if name.endswith(".csv"):
                table.to_csv(temporary, index=False, float_format="%.6g")
            else:
                table.to_parquet(temporary, index=False)
    compared = compare(store, found)
    write_json(folder / "arrivals.json", {"store": store.path.name, "simulated": store.simulated, "by":
                                          "iccs" if trained is None else trained.run.path.name, **compared})
    how = "ICCS" if trained is None else "network"
    given = demeaned(table, "pick") if compared["picks"] else None
    figures = [("shifts", shift_histogram(table["shift_s"].to_numpy(), f"Shifts found by {how}", given,
                                          (how, "picks in the store")))]
    for one in sorted(found, key=lambda picks: -len(picks.shift_s))[:_PICTURES]:
        row = store.bags.iloc[one.bag]
        figures.append((f"alignment_{one.bag}", aligned_pair(one.x, one.aligned, time_axis(store), one.shift_s,
                                                             f"{row['event']}, pixel {row['pixel']}")))
    drawn = save_all(figures, folder, scale)
    written = [path for one in found for path in _sac(folder, store, one)] if sac else []
    return [*lines_of(compared, how), f"Wrote {len(table)} arrivals to {folder / 'arrivals.csv'} and .parquet, "
            f"{len(drawn)} pictures" + (f" and {len(written)} SAC files with picks in t3." if sac else ".")]


def picks_of(store: BagStore, event: str, trained: Trained | None) -> Iterator[Picks]:
    """Arrivals of every bag of a store, or of one event.

    Raises:
        InputError: there is no such event.
    """
    if event and not (store.bags["event"] == event).any():
        store.bag_of(event, 0)
    bags = [int(bag) for bag in store.bags["bag"][(store.bags["event"] == event) | (not event)]]
    with progress(len(bags), "align", "bags") as bar:
        for bag in bags:
            yield measured(store, bag, None if trained is None else trained.task_of(str(store.bags["event"].iloc[bag])),
                           _MAX_SHIFT_S if trained is None else trained.recipe.model.max_shift_s)
            bar.advance()


def measured(store: BagStore, bag: int, task: AnyTask | None, max_shift_s: float) -> Picks:
    """Arrivals of one bag, from all of its traces."""
    raw, dt = store.read(bag), store.facts.dt
    x, mask = padded_bags([raw])
    with torch.inference_mode():
        stacked = iccs(x, mask, dt=dt, max_shift_s=max_shift_s)
        by_stack = {"source": stacked.stack[0], "shift_s": stacked.shift_s[0], "flip": stacked.flip[0],
                    "aligned": stacked.x[0]}
        found = ({name: value.double().numpy() for name, value in by_stack.items()} if task is None
                 else read_sources(task, [raw])[0])
        late, rms = np.full(len(raw), np.nan), np.full(len(raw), np.nan)
        # What a network that reads envelopes aligns are no waves, whose pairs could be compared.
        if len(raw) <= MOST_PAIRED:
            start = _as_start(found, raw, dt)
            pairs = mccc(x, mask, dt=dt, start=start)
            late, rms = pairs.shift_s[0].double().numpy(), pairs.rms_s[0].double().numpy()
    shown = raw if task is None else prepared(task, raw)
    source, aligned = standard(found["source"]), found["aligned"]
    error = np.hypot(standard_error(aligned, source, dt), np.nan_to_num(rms))
    return Picks(bag, found["shift_s"], found["flip"], standard(aligned) @ source / raw.shape[1], error,
                 by_stack["shift_s"].double().numpy(), late, rms, shown.astype(np.float64), aligned)


def _as_start(found: dict[str, Floats], raw: NDArray[np.float32], dt: float) -> Aligned:
    from groundswell.pipelines.symae.alignment.fourier import shift_traces

    shift, flip = (torch.from_numpy(found[name]).float()[None] for name in ("shift_s", "flip"))
    aligned = shift_traces(torch.from_numpy(raw)[None], -shift / dt) * flip[..., None]
    return Aligned(aligned, shift, flip, aligned.mean(1), torch.zeros_like(shift))


def arrivals_table(store: BagStore, found: Sequence[Picks]) -> pd.DataFrame:
    """A row for each trace: event, pixel, station, shift, polarity, correlation, standard error, and the others."""
    parts = []
    for one in found:
        rows = trace_rows(store, one.bag)
        parts.append(pd.DataFrame({
            "event": rows["event"], "pixel": rows["pixel"], "station": rows["station"], "shift_s": one.shift_s,
            "polarity": one.flip.astype(np.int64), "correlation": one.correlation, "standard_error_s": one.error_s,
            "mccc_rms_s": one.rms_s, "mccc_shift_s": one.mccc_shift_s, "iccs_shift_s": one.iccs_shift_s,
            "pick": rows["pick"], "pick_kind": rows["pick_kind"]}))
    return pd.concat(parts, ignore_index=True)


def demeaned(table: pd.DataFrame, column: str) -> Floats:
    """Values of a column less their mean over each bag, without those that are unknown."""
    values = table[column] - table.groupby(["event", "pixel"])[column].transform("mean")
    return values[np.isfinite(values)].to_numpy(np.float64)


def _sac(folder: Path, store: BagStore, one: Picks) -> list[Path]:
    return write_sac_bag(folder / "sac", store, one.bag, store.read(one.bag), one.shift_s.tolist(), "SYMAE",
                         polarity=one.flip.tolist(),
                         user={"user1": one.correlation.tolist(), "user2": one.error_s.tolist()})
