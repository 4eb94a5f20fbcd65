"""evaluate: single samples with their true, predicted and stacked waveforms brought into one frame, and drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from groundswell.core.waveforms import best_lag, envelope, shifted
from groundswell.evaluate.figures import BLACK, BLUE, GREY, ORANGE, Draw, panels
from groundswell.evaluate.intervals import FloatArray
from groundswell.evaluate.waveform_scores import SCORES, band_width, in_frame

if TYPE_CHECKING:
    from groundswell.data.waveforms import WaveformPredictions
    from groundswell.evaluate.waveforms import WaveformEvaluation


@dataclass(frozen=True)
class Example:
    """A sample in the model's frame: its origin in time; the size and sign of the truth, if that is known.

    Attributes:
        name, kind, score: of the sample, its kind of test and its headline score (``None`` where it has none).
        recoverable: whether its source can be.
        times: seconds, shape (nt,).
        model, band: predicted waveform and the half-width of the band around it, NaN where there is none.
        true: ``None`` where not known.
        others: rivals' waveforms by their title, moved, turned and scaled to fit the model's.
    """

    name: str
    kind: str
    score: float | None
    recoverable: bool
    times: FloatArray
    model: FloatArray
    band: FloatArray
    true: FloatArray | None
    others: dict[str, FloatArray]


def example(evaluation: WaveformEvaluation, place: int, width: float, most_others: int = 6) -> Example:
    """One sample for people to look at.

    Args:
        evaluation: holds it.
        place: of its row among the answers.
        width: of the band, standard deviations.
        most_others: rivals to show at most; those that give envelopes are left out.
    """
    row = evaluation.answers[place]
    given = evaluation.predictions["model"]
    at = int(np.flatnonzero(given.sample_id == row["name"])[0])
    model, spread = given.waveform[at].astype(np.float64), given.spread[at].astype(np.float64)
    model -= model.mean()
    size = float(np.sqrt(np.mean(model**2))) or 1.0
    scale, true = 1 / size, None
    if evaluation.truth is not None and not given.envelope:
        known = evaluation.truth.beside(given.sample_id[at:at + 1]).waveform
        if np.isfinite(known).all():
            best = best_lag(model[None], known, evaluation.recipe.max_lag_s / given.dt)
            moved, factor = in_frame(model[None], known, best)
            # The truth keeps its sign, and the model takes it: what a band is drawn around reads best that way.
            true, scale = moved[0] * best.sign[0], float(factor[0] * best.sign[0])
    model, band = model * scale, spread * width * abs(scale)
    titles = {b.control.name: b.control.title for b in evaluation.whole.beside if b.control.kind == "rival"}
    others: dict[str, FloatArray] = {}
    for name, title in list(titles.items()):
        found = _fitted(evaluation.predictions[name], row["name"], model, evaluation.recipe.max_lag_s)
        if found is not None and len(others) < most_others:
            others[title] = found
    return Example(row["name"], row["kind"], row[evaluation.headline], row["recoverable"], given.times, model, band,
                   true, others)


def _fitted(other: WaveformPredictions, name: str, model: FloatArray, max_lag_s: float) -> FloatArray | None:
    rows = np.flatnonzero(other.sample_id == name)
    if other.envelope or not len(rows):
        return None
    wave = other.waveform[int(rows[0])].astype(np.float64)
    wave -= wave.mean()
    best = best_lag(wave, model, max_lag_s / other.dt)
    moved = shifted(wave, -best.lag) * best.sign
    return np.asarray(moved * np.sqrt((model**2).sum() / max(float((moved**2).sum()), 1e-12)), np.float64)


def worst_first(evaluation: WaveformEvaluation) -> list[int]:
    """Places of the answers that have a headline score, the worst first; what cannot be recovered comes last."""
    worth = -1 if SCORES[evaluation.headline].less_is_better else 1
    rows = [i for i, row in enumerate(evaluation.answers) if row[evaluation.headline] is not None]
    return sorted(rows, key=lambda i: (not evaluation.answers[i]["recoverable"],
                                       worth * evaluation.answers[i][evaluation.headline]))


def examples(evaluation: WaveformEvaluation) -> Figure | None:
    """Waveforms (above) and envelopes (below) of the best, the middle and the worst sample; ``None`` without any."""
    order = [place for place in worst_first(evaluation) if evaluation.answers[place]["recoverable"]]
    if not order:
        return None
    chosen = {"best": order[-1], "middle": order[len(order) // 2], "worst": order[0]}
    found = {name: example(evaluation, place, band_width(evaluation.recipe.band)) for name, place in chosen.items()}
    kept = "ICCS stack"
    above: list[Draw] = [_waves(name, one, kept, evaluation.recipe.band, last=name == "worst")
                         for name, one in found.items()]
    return panels([*above, *(_envelopes(one, kept) for one in found.values())], 4.4, 2.7, 3)


def _waves(rank: str, one: Example, rival: str, band: float, *, last: bool) -> Draw:
    def draw(axes: Axes) -> None:
        score = "" if one.score is None else f": {one.score:.3f}"
        axes.set_title(f"{rank}{score}  {one.name[:34]}{f' ({one.kind})' if one.kind else ''}", fontsize=9.5)
        if np.isfinite(one.band).all():
            axes.fill_between(one.times, one.model - one.band, one.model + one.band, color=BLUE, alpha=0.2, linewidth=0,
                              label=f"{100 * band:g} % band")
        _lines(axes, one, rival, lambda wave: wave)
        axes.set_yticks([])
        if last:
            axes.legend(loc="upper right", fontsize=7.5)

    return draw


def _envelopes(one: Example, rival: str) -> Draw:
    def draw(axes: Axes) -> None:
        _lines(axes, one, rival, envelope)
        axes.set_title("envelopes", fontsize=9.5, fontweight="normal")
        axes.set_yticks([])
        axes.set_xlabel("seconds")

    return draw


def _lines(axes: Axes, one: Example, rival: str, form: Callable[[FloatArray], FloatArray]) -> None:
    if rival in one.others:
        axes.plot(one.times, form(one.others[rival]), color=ORANGE, linewidth=1.1, label=rival)
    if one.true is not None:
        axes.plot(one.times, form(one.true), color=BLACK, linewidth=2.2, alpha=0.75, label="true")
    axes.plot(one.times, form(one.model), color=BLUE, linewidth=1.5, label="model")
    axes.axhline(0, color=GREY, linewidth=0.5)
    axes.set_xlim(one.times[0], one.times[-1])
