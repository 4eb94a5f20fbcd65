"""symae: the arrivals found of a bag, their standard errors, and how they compare with picks and with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.symae.store import BagStore
from groundswell.pipelines.symae.trained import trace_rows

Floats = NDArray[np.float64]

MOST_PAIRED = 400
"""Traces of the largest bag whose pairs are correlated for MCCC; their number goes with the square."""
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
