"""symae: relative arrival times of a store's traces, from a network's shifts or by stacking, with their errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path, write_json
from groundswell.core.progress import progress
from groundswell.pipelines.symae.alignment.iccs import Aligned, iccs
from groundswell.pipelines.symae.alignment.mccc import mccc
from groundswell.pipelines.symae.sac import write_sac_bag
from groundswell.pipelines.symae.signals import prepared, standard, time_axis
from groundswell.pipelines.symae.store import BagStore
from groundswell.pipelines.symae.trained import AnyTask, Trained, open_trained, padded_bags, read_sources, trace_rows

Floats = NDArray[np.float64]

MOST_PAIRED = 400
"""Traces of the largest bag whose pairs are correlated for MCCC; their number goes with the square."""
_PICTURES = 6
_MAX_SHIFT_S = 10.0
_REACH_S = 10.0
_NORMAL = 0.6745  # median of the absolute value of a standard normal variable


@dataclass(frozen=True)
class Picks:
    """Arrivals of one bag of t traces; seconds, mean 0 over the bag where they are shifts.

    Attributes:
        bag: of the store.
        shift_s, flip, correlation: (t,), of the traces with the coherent signal once aligned.
        error_s: (t,), standard error of the shift: that of :func:`standard_error` and ``rms_s``, their squares added.
            Either alone is too small: of simulated traces the errors are 1.4 to 2 times as large as the first.
        iccs_shift_s: (t,), by stacking alone.
        mccc_shift_s, rms_s: (t,), by all pairs, starting from ``shift_s``, and what pairs leave unexplained (root mean
            square); NaN for bags of more than :data:`MOST_PAIRED` traces.
        x, aligned: (t, n).
    """

    bag: int
    shift_s: Floats
    flip: Floats
    correlation: Floats
    error_s: Floats
    iccs_shift_s: Floats
    mccc_shift_s: Floats
    rms_s: Floats
    x: Floats
    aligned: Floats


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
    from groundswell.pipelines.symae.figures import save_all
    from groundswell.pipelines.symae.figures_signals import aligned_pair, shift_histogram

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


def standard_error(aligned: Floats, source: Floats, dt: float) -> Floats:
    """Standard error of each trace's shift, seconds, from what the coherent signal leaves of the trace.

    To first order a wave a s(t - e) differs from a s(t) by -a e s'(t), so that noise r moves the best fit by
    e = -<r, s'> / (a <s', s'>). How large <r, s'> is, is told by the correlation of r with s' at lags within ten
    seconds: noise at other frequencies than those of s', or at other times, does not count. Errors that all traces
    have in common, such as those of the signal itself, are not in it, nor is what scattered waves do that look like
    the direct one.

    Args:
        aligned: (t, n), upright.
        source: (n,), in the same frame.
        dt: seconds between samples.

    Returns:
        (t,); NaN for traces that do not go with the signal.
    """
    n = len(source)
    slope = np.fft.irfft(2j * np.pi * np.fft.rfftfreq(n, dt) * np.fft.rfft(source), n)
    amplitude = aligned @ source / (source @ source)
    left = aligned - amplitude[:, None] * source
    by_lag = np.fft.irfft(np.fft.rfft(left, 2 * n) * np.fft.rfft(slope, 2 * n).conj(), 2 * n)
    reach = min(round(_REACH_S / dt), n - 1)
    near = np.sqrt((by_lag[:, np.arange(-reach, reach + 1)] ** 2).mean(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(amplitude > 0, near / (amplitude * (slope @ slope)), np.nan), np.float64)


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


def compare(store: BagStore, found: Sequence[Picks]) -> dict[str, Any]:
    """How shifts differ from picks and from the truth, in a bag's mean, and how large MCCC's rms is; JSON-able."""
    picks: list[Floats] = []
    for one in found:
        picks.append(trace_rows(store, one.bag)["pick"].to_numpy(np.float64))
    facts: dict[str, Any] = {"traces": sum(len(p) for p in picks), "bags": len(found), "picks": None, "truth": None,
                             "mccc_rms_s": _median([one.rms_s for one in found]),
                             "standard_error_s": _median([one.error_s for one in found])}
    if any(np.isfinite(p).sum() >= 2 for p in picks):
        facts["picks"] = {"kinds": sorted({str(kind) for kind in store.traces["pick_kind"] if kind}),
                          **_differences(found, picks)}
    if store.has_truth:
        true = [store.truth("shift", one.bag).astype(np.float64) for one in found]
        off = [one.shift_s - known - (one.shift_s - known).mean() for one, known in zip(found, true, strict=True)]
        # 1 where standard errors are what they should be, by the median.
        ratio = _median([np.abs(d) / one.error_s / _NORMAL for d, one in zip(off, found, strict=True)])
        facts["truth"] = {**_differences(found, true), "error_over_standard_error": ratio}
    return facts


def _differences(found: Sequence[Picks], known: Sequence[Floats]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name in ("shift_s", "iccs_shift_s", "mccc_shift_s"):
        off = []
        for one, true in zip(found, known, strict=True):
            difference = getattr(one, name) - true
            if np.isfinite(difference).sum() >= 2:
                off.append(np.abs(difference - np.nanmean(difference)))
        every = np.concatenate(off) if off else np.zeros(0)
        every = every[np.isfinite(every)]
        told[name] = {"count": len(every), "median_s": float(np.median(every)) if len(every) else None,
                      "p95_s": float(np.quantile(every, 0.95)) if len(every) else None}
    return told


def _median(values: Sequence[Floats]) -> float | None:
    every = np.concatenate(list(values)) if values else np.zeros(0)
    every = every[np.isfinite(every)]
    return float(np.median(every)) if len(every) else None


def lines_of(compared: dict[str, Any], how: str) -> list[str]:
    """The comparison in sentences."""
    lines = [f"{compared['traces']} traces in {compared['bags']} bags; median standard error "
             f"{_seconds(compared['standard_error_s'])}, MCCC rms {_seconds(compared['mccc_rms_s'])}."]
    for key, name in (("picks", "the picks in the store"), ("truth", "the true shifts (simulated)")):
        if compared[key]:
            each = [f"{title} {_seconds(compared[key][column]['median_s'])} (95 %: "
                    f"{_seconds(compared[key][column]['p95_s'])})"
                    for title, column in ((how, "shift_s"), ("ICCS", "iccs_shift_s"), ("MCCC from there",
                                                                                       "mccc_shift_s"))
                    if not (column == "iccs_shift_s" and how == "ICCS")]
            lines.append(f"Median difference from {name}, on {compared[key]['shift_s']['count']} traces: "
                         + "; ".join(each) + ".")
    return lines


def _seconds(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f} s"


def _sac(folder: Path, store: BagStore, one: Picks) -> list[Path]:
    if np.shape(one.x) != np.shape(store.read(one.bag)):
        raise InputError("Only waveforms can be written as SAC", where=store.path)
    return write_sac_bag(folder / "sac", store, one.bag, store.read(one.bag), one.shift_s.tolist(), "SYMAE",
                         polarity=one.flip.tolist(),
                         user={"user1": one.correlation.tolist(), "user2": one.error_s.tolist()})
