"""evaluate: pictures of predicted waveforms: rivals in each kind of test, samples against one another, examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from groundswell.evaluate.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALETTE,
    PURPLE,
    RED,
    SKY,
    Draw,
    nothing,
    panels,
    write_pngs,
)
from groundswell.evaluate.intervals import Estimate, FloatArray
from groundswell.evaluate.waveform_examples import examples
from groundswell.evaluate.waveform_parts import Beside, WaveformPart
from groundswell.evaluate.waveform_scores import SCORES, band_width

if TYPE_CHECKING:
    from groundswell.evaluate.waveforms import WaveformEvaluation

_MARKS: Mapping[str, tuple[str, str]] = {"raw_stack": (GREY, "v"), "iccs_stack": (ORANGE, "s"),
                                         "windowed_stack": (RED, "D"), "envelope_stack": (PURPLE, "P"),
                                         "stack_only": (GREEN, "^"), "oracle": (BLACK, "x")}


def figures_of(evaluation: WaveformEvaluation) -> dict[str, tuple[Figure, str]]:
    """Every picture with what it shows in words, by name; those that have nothing to show are left out."""
    headline = evaluation.headline
    drawn: dict[str, tuple[Figure, str]] = {}
    parts = told_parts(evaluation)
    if parts:
        drawn["rivals"] = (rivals(evaluation, headline), _parts_alt(parts, headline))
        for name, score in (("envelope_correlations", "envelope_correlation"), ("shift_errors", "shift_error_s")):
            if score != headline and any(part.scores[score].value is not None for part in parts):
                drawn[name] = (rivals(evaluation, score), _parts_alt(parts, score))
    rival = scatter_rival(evaluation)
    if rival:
        drawn["scatter"] = (panels([scatter(evaluation, rival)], 4.8, 4.4),
                            f"The {SCORES[headline].title} of each {evaluation.unit}, model against {rival}.")
    if evaluation.residuals is not None and np.isfinite(evaluation.residuals).any():
        drawn["coverage"] = (panels([coverage(evaluation)], 4.8, 4.4),
                             "Share of times at which bands of each stated width hold the true waveform.")
    shifts = evaluation.predictions["model"].shift_s
    if np.isfinite(shifts).any():
        draws = [shift_histogram(evaluation)]
        if any(row["shift_error_s"] is not None for row in evaluation.answers):
            draws.insert(0, error_histogram(evaluation))
        drawn["shifts"] = (panels(draws, 4.8, 3.6), "Histograms of the errors of shifts and of the shifts found.")
    found = examples(evaluation)
    if found is not None:
        drawn["examples"] = (found, f"The best, the middle and the worst {evaluation.unit} by "
                             f"{SCORES[headline].title}: waveforms above, their envelopes below.")
    return drawn


def write_figures(evaluation: WaveformEvaluation, folder: Path) -> list[Path]:
    """Write each picture to ``folder/figures`` as PNG. Returns the paths."""
    return write_pngs(figures_of(evaluation), folder)


def told_parts(evaluation: WaveformEvaluation) -> list[WaveformPart]:
    """Parts of the test that have numbers: each kind of test or, where there are none, the whole."""
    parts = [part for part in evaluation.strata.values() if part.scores]
    return parts or ([evaluation.whole] if evaluation.whole.scores else [])


def rivals(evaluation: WaveformEvaluation, score: str) -> Figure:
    """One score of the model, its rivals and bounds in each kind of test, with intervals."""
    parts = told_parts(evaluation)
    # A bound was given the true shifts: it has no error to show.
    shown = [b.control for b in parts[0].beside if any(_of(p, b.control.name, score).value is not None for p in parts)
             and not (b.control.kind == "bound" and SCORES[score].less_is_better)]

    def draw(axes: Axes) -> None:
        title = SCORES[score].title
        axes.set_title(f"{title[:1].upper()}{title[1:]} of {evaluation.unit}s, {SCORES[score].how}s")
        step = 0.78 / (len(shown) + 1)
        for y, part in enumerate(parts):
            if y % 2:
                axes.axhspan(y - 0.5, y + 0.5, color=BLACK, alpha=0.03, linewidth=0)
            chance = part.chance.get(score)
            if chance is not None and chance.value is not None:
                axes.plot([chance.value] * 2, [y - 0.42, y + 0.42], color=GREY, linestyle=":", linewidth=1.4)
            _dot(axes, y - 0.39 + step / 2, part.scores[score], BLUE, "o", 8)
            for place, control in enumerate(shown, start=1):
                colour, marker = _MARKS.get(control.name, (SKY, "D"))
                _dot(axes, y - 0.39 + step * (place + 0.5), _of(part, control.name, score), colour, marker, 6)
        axes.plot([], [], color=BLUE, marker="o", markersize=8, linewidth=2.4, label="model")
        for control in shown:
            colour, marker = _MARKS.get(control.name, (SKY, "D"))
            axes.plot([], [], color=colour, marker=marker, linewidth=2, label=control.title)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16 * 3.4 / _height(len(parts), len(shown))), ncols=3)
        axes.set_yticks(range(len(parts)), [f"{part.name or 'all'}\n({part.samples})" for part in parts])
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set(ylim=(len(parts) - 0.5, -0.5), xlabel=f"{title}, {100 * evaluation.recipe.confidence:g} % intervals"
                                                      f"{'; dotted: chance' if score in parts[0].chance else ''}")
        if SCORES[score].less_is_better:
            axes.set_xlim(left=0)

    return panels([draw], 7.2, _height(len(parts), len(shown)) + 0.8)


def _height(parts: int, shown: int) -> float:
    return 1.2 + parts * (0.25 + 0.13 * (shown + 1))


def _of(part: WaveformPart, name: str, score: str) -> Estimate:
    found: Beside | None = next((b for b in part.beside if b.control.name == name), None)
    return Estimate(None) if found is None else found.scores[score]


def _dot(axes: Axes, y: float, estimate: Estimate, colour: str, marker: str, size: float) -> None:
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
    if estimate.value is not None:
        axes.plot([estimate.value], [y], marker=marker, color=colour, markersize=size, linestyle="none")


def scatter_rival(evaluation: WaveformEvaluation) -> str:
    """The rival that single samples are held against: the ICCS stack or, without it, the best; "" for none."""
    having = [b.control for b in evaluation.whole.rivals(evaluation.headline)] if evaluation.whole.scores else []
    names = [control.name for control in having]
    return "iccs_stack" if "iccs_stack" in names else (names[0] if names else "")


def scatter(evaluation: WaveformEvaluation, rival: str) -> Draw:
    """The headline score of each sample, the model's against a rival's."""
    title = next(b.control.title for b in evaluation.whole.beside if b.control.name == rival)

    def draw(axes: Axes) -> None:
        rows = [(row["rivals"][rival], row[evaluation.headline], row["kind"]) for row in evaluation.answers
                if row["recoverable"] and None not in (row["rivals"].get(rival), row[evaluation.headline])]
        kinds = list(dict.fromkeys(kind for *_, kind in rows))
        ends = [min(min(x, y) for x, y, _ in rows), max(max(x, y) for x, y, _ in rows)]
        axes.plot(ends, ends, color=GREY, linestyle=":", linewidth=1.2)
        for kind, colour, marker in zip(kinds, cycle(PALETTE), cycle("osD^vP")):
            there = [(x, y) for x, y, own in rows if own == kind]
            axes.plot(*zip(*there, strict=True), color=colour, marker=marker, markersize=5, alpha=0.75,
                      linestyle="none", markeredgewidth=0, label=kind or None)
        better = sum((y < x) if SCORES[evaluation.headline].less_is_better else (y > x) for x, y, _ in rows)
        axes.set_title(f"The model is better in {better} of {len(rows)} {evaluation.unit}s")
        axes.set(xlabel=f"{title}: {SCORES[evaluation.headline].title}", ylabel="model")
        if any(kinds):
            axes.legend(loc="lower right", fontsize=8)

    return draw


def error_histogram(evaluation: WaveformEvaluation) -> Draw:
    """Shift errors of samples, the model's and those of a rival that has them."""

    def draw(axes: Axes) -> None:
        ours = _values(row["shift_error_s"] for row in evaluation.answers if row["recoverable"])
        axes.set_title("Error of the shifts of each " + evaluation.unit)
        bins = np.linspace(0.0, max(float(np.quantile(ours, 0.99)), 1e-3), 31)
        axes.hist(np.clip(ours, 0, bins[-1]), bins=list(bins), color=BLUE, alpha=0.55)
        axes.axvline(float(np.median(ours)), color=BLUE)
        axes.text(float(np.median(ours)), 1.0, f" {np.median(ours):.3f} s", color=BLUE, va="top", fontsize=9,
                  transform=axes.get_xaxis_transform())
        best = evaluation.whole.rivals("shift_error_s") if evaluation.whole.scores else []
        if best and best[0].scores["shift_error_s"].value is not None:
            value = best[0].scores["shift_error_s"].value
            axes.axvline(value, color=ORANGE, linestyle="--")
            axes.text(value, 0.9, f" {best[0].control.title} {value:.3f} s ", color="#9a5b00", va="top", fontsize=9,
                      ha="right" if value > axes.get_xlim()[1] / 2 else "left", transform=axes.get_xaxis_transform())
        axes.set(xlabel="median |error|, seconds (last bin: more)", ylabel=f"{evaluation.unit}s")

    return draw


def shift_histogram(evaluation: WaveformEvaluation) -> Draw:
    """All shifts that the model found, less their mean over each sample's traces."""

    def draw(axes: Axes) -> None:
        shifts = evaluation.predictions["model"].shift_s.astype(np.float64)
        there = np.isfinite(shifts)
        mean = np.where(there, shifts, 0.0).sum(1) / np.maximum(there.sum(1), 1)
        values = (shifts - mean[:, None])[there]
        axes.set_title(f"Shifts found: {len(values):,} traces")
        axes.hist(values, bins=50, color=SKY)
        axes.set(xlabel="seconds, positive is late", ylabel="traces")

    return draw


def coverage(evaluation: WaveformEvaluation) -> Draw:
    """Share of times at which bands of every stated width hold the true waveform."""

    def draw(axes: Axes) -> None:
        assert evaluation.residuals is not None
        z = np.abs(evaluation.residuals[np.isfinite(evaluation.residuals)])
        if not len(z):
            return nothing(axes, "no spread was given")
        stated = np.linspace(0.05, 0.99, 48)
        share = [float((z <= band_width(level)).mean()) for level in stated]
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2)
        axes.plot(stated, share, color=BLUE)
        at = evaluation.recipe.band
        axes.plot([at], [float((z <= band_width(at)).mean())], color=BLUE, marker="o", markersize=8)
        axes.set_title("Bands: what they say and what they hold")
        axes.set(xlabel="stated share", ylabel="share of times inside", xlim=(0, 1), ylim=(0, 1))
        return None

    return draw


def _values(values: Iterable[float | None]) -> FloatArray:
    return np.array([value for value in values if value is not None], dtype=np.float64)


def _parts_alt(parts: Sequence[WaveformPart], score: str) -> str:
    rows = [f"{part.name or 'all'}: model {_text(part.scores[score])}" + "".join(
        f", {b.control.title} {_text(b.scores[score])}" for b in part.beside if b.scores[score].value is not None)
        for part in parts]
    return f"{SCORES[score].title} with intervals. {'; '.join(rows)}."


def _text(estimate: Estimate) -> str:
    return "undefined" if estimate.value is None else f"{estimate.value:.3f}"
