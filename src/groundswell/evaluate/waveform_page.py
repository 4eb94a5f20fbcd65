"""evaluate: a page on which single waveforms can be looked at: interactive, self-contained, readable without a network.

It lies beside ``report.html``, which runs no script. This one holds plotly's own script, and its content policy lets it
load nothing from anywhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from groundswell.core.files import write_text
from groundswell.core.optional import require
from groundswell.core.waveforms import envelope
from groundswell.evaluate.figures import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY
from groundswell.evaluate.intervals import FloatArray
from groundswell.evaluate.report import environment
from groundswell.evaluate.waveform_examples import Example, example, worst_first
from groundswell.evaluate.waveform_scores import SCORES, band_width

if TYPE_CHECKING:
    from groundswell.evaluate.waveforms import WaveformEvaluation

_MOST = 60  # samples; more would make the page heavy
_COLOURS = (ORANGE, RED, GREEN, PURPLE, SKY)


def write_sources_page(folder: Path, title: str, evaluation: WaveformEvaluation) -> Path:
    """Write ``sources.html`` to ``folder``; its path.

    Of many samples sixty are taken, spread evenly from the worst to the best.

    Raises:
        MissingExtraError: plotly is not installed.
        FailureError: the disk is full.
    """
    plotly = require("plotly.offline", extra="symae", purpose="The interactive page of waveforms")
    order = worst_first(evaluation)
    places = [order[i] for i in np.unique(np.linspace(0, len(order) - 1, min(_MOST, len(order))).round().astype(int))]
    width = band_width(evaluation.recipe.band)
    data = {"band": f"{100 * evaluation.recipe.band:g} % band", "score": SCORES[evaluation.headline].title,
            "samples": [_sample(example(evaluation, place, width)) for place in places],
            "colours": {"model": BLUE, "true": BLACK, "others": _COLOURS}}
    path = Path(folder) / "sources.html"
    write_text(path, environment().get_template("sources.html.j2").render(
        title=title, unit=evaluation.unit, note=evaluation.note, shown=len(places), total=len(evaluation.answers),
        # In a script element only "<" could end it, or open a comment; text is set by the page as text, never as HTML.
        data=Markup(json.dumps(data, allow_nan=False).replace("<", "\\u003c")),
        plotly=Markup(plotly.get_plotlyjs())))
    return path


def _sample(one: Example) -> dict[str, Any]:
    """JSON-able, for the page's script."""
    size = float(np.sqrt(np.mean((one.model if one.true is None else one.true) ** 2))) or 1.0
    waves = {"model": one.model, **({} if one.true is None else {"true": one.true}), **one.others}
    banded = bool(np.isfinite(one.band).all())
    return {"name": one.name, "kind": one.kind, "recoverable": one.recoverable,
            "score": None if one.score is None else round(one.score, 4),
            "start": float(one.times[0]), "step": round(float(one.times[1] - one.times[0]), 9),
            "waves": {name: _short(wave / size) for name, wave in waves.items()},
            "envelopes": {name: _short(envelope(wave) / size) for name, wave in waves.items()},
            "low": _short((one.model - one.band) / size) if banded else None,
            "high": _short((one.model + one.band) / size) if banded else None}


def _short(values: FloatArray) -> list[float]:
    rounded: list[float] = np.round(values, 3).tolist()
    return rounded
