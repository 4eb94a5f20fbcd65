"""geomag: the findings about a folder of windows as text for a terminal."""

from __future__ import annotations

import math

from groundswell.pipelines.geomag.analysis import UNGROUPED, Analysis, WindowAnalysis
from groundswell.pipelines.geomag.analysis_sidecar import CategoryBalance, NumberBalance, SidecarAnalysis
from groundswell.pipelines.geomag.analysis_values import Validation
from groundswell.pipelines.geomag.imbalance import snippet

_RULE, _THIN = "=" * 70, "-" * 40
_FEW = 12


def text_of(analysis: Analysis) -> str:
    """All findings: each window length, a summary over them, and code to begin with."""
    lines = [_RULE, "Dataset Distribution Analysis", f"Base Path: {analysis.folder}", _RULE, ""]
    for days, window in analysis.windows.items():
        lines += [f"Analyzing window: {days} days", _THIN]
        lines += _window(window) if window is not None else [f"No windows of {days} days are here.", ""]
    worst = analysis.most_imbalanced
    lines += [_RULE, "Summary", _RULE, f"Windows analyzed: {len(analysis.found)}",
              f"Most imbalanced: Window {worst.window} ({worst.imbalance_analysis.imbalance_ratio:.2f}:1)",
              f"Assessment: {analysis.assessment}", "", _RULE, "Implementation Guide", _RULE, ""]
    for window in analysis.found:
        advice = window.imbalance_analysis.advice
        lines += [f"# Window {window.window} days:", f"# Loss: {advice.loss}.", f"# Batches: {advice.sampling}.",
                  f"# Judge by: {advice.metrics}.", snippet(window.imbalance_analysis)]
    return "\n".join(lines)


def _window(window: WindowAnalysis) -> list[str]:
    imbalance = window.imbalance_analysis
    lines = [
        f"Total samples: {window.total_samples:,}" + (" (simulated)" if window.simulated else ""),
        f"Class distribution: {window.class_counts}",
        "Class proportions: " + ", ".join(f"{100 * share:.1f}%" for share in window.class_proportions),
        f"Features: {window.n_features:,} ({window.days} days of minutes)", "",
        "Imbalance Analysis:", f"  Ratio: {imbalance.imbalance_ratio:.2f}:1",
        f"  Severity: {imbalance.severity.upper()}", f"  Strategy: {imbalance.strategy}",
        f"  Weights: {_weights(imbalance.suggested_weights)}",
        "  By sqrt: " + _weights(imbalance.weights["sqrt"]) + ", by effective number: "
        + _weights(imbalance.weights["effective"], 5), ""]
    lines += _validation(window.validation)
    return lines + (_sidecar(window.sidecar) if window.sidecar is not None else ["Events:", f"  {UNGROUPED}"]) + [""]


def _weights(weights: list[float], digits: int = 3) -> str:
    return "[" + ", ".join(f"{w:.{digits}f}" for w in weights) + "]"


def _validation(found: Validation) -> list[str]:
    lines = ["Validation: " + ("passed" if found.valid else "FAILED; training would refuse these files")]
    lines += [f"  Class {k}: {rows:,} x {columns:,} {dtype}, {size / 2**20:,.1f} MiB"
              for k, ((rows, columns), dtype, size) in enumerate(zip(found.shapes, found.dtypes, found.size_bytes,
                                                                     strict=True))]
    if found.minimum is not None and found.maximum is not None:
        ranges = " and ".join("-" if r is None else f"{r:,.1f}" for r in found.typical_range)
        lines.append(f"  Values from {found.minimum:,.1f} to {found.maximum:,.1f}; a window of class 0 and of class 1 "
                     f"typically spans {ranges}")
    lines += [f"  Problem: {text}." for text in found.problems]
    return [*lines, *[f"  Look at: {text}." for text in found.warnings], ""]


def _sidecar(found: SidecarAnalysis) -> list[str]:
    fewest, median, most = found.samples_per_event
    lines = [
        "Events:", f"  {found.events[2]} events ({found.events[0]} in class 0, {found.events[1]} in class 1) at "
        f"{found.stations} station(s), {found.first[:10]} to {found.last[:10]}",
        f"  Windows of an event: {fewest:g} to {most:g}, median {median:g}",
        f"  Windows that overlap in time with another event's: {found.overlapping:,}; with one of the other class: "
        f"{found.overlapping_classes:,}; of these at their own station: {found.same_minutes:,}", "",
        "What tells the classes apart without a waveform:"]
    lines += [_category(each) for each in found.categories]
    lines += [_number(each) for each in found.numbers]
    lines += [f"  (differences in standard deviations; with so few events chance alone gives about "
              f"{found.chance:.2f})"]
    return lines + [f"  WARNING: {text}." for text in found.warnings]


def _category(found: CategoryBalance) -> str:
    shown = list(found.counts.items())[:_FEW]
    counts = ", ".join(f"{value}: {n0}/{n1}" for value, (n0, n1) in shown)
    more = f" and {len(found.counts) - _FEW} more" if len(found.counts) > _FEW else ""
    mark = " !" if found.shortcut else ""
    return f"  by {found.column} (class 0/1) {counts}{more}; association {found.association:.2f}{mark}"


def _number(found: NumberBalance) -> str:
    means = " and ".join("-" if m is None else f"{m:,.2f}" for m in found.mean)
    if found.difference is None:
        return f"  {found.column}: means {means}; not known in both classes{' !' if found.shortcut else ''}"
    size = f"{found.difference:+.2f}" if math.isfinite(found.difference) else "without end"
    return (f"  {found.column}: means {means}; difference {size}, ROC area alone {found.ordered:.2f}"
            f"{' !' if found.shortcut else ''}")
