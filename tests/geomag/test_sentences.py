"""What a study says follows from its numbers, the perfect ones too."""

from __future__ import annotations

from typing import Any

import pytest

from groundswell.pipelines.geomag.study.sentences import above_chance, conclusion


def row(title: str, kind: str, value: float, low: float | None, *, p: float | None = None,
        name: str = "") -> dict[str, Any]:
    auc = {"value": value, "low": low, "high": None if low is None else 1.0}
    return {"title": title, "kind": kind, "name": name or title, "metrics": {"roc_auc": auc}, "p": p,
            "above": above_chance(auc)}


def said(*rows: dict[str, Any]) -> str:
    window = {"days": 7, "rows": list(rows), "comparisons": [], "leak": None}
    return " ".join(conclusion({"windows": {"7day": window}, "failures": {}}))


@pytest.mark.parametrize(("value", "low", "above"), [(0.8, 0.6, True), (0.8, 0.4, False), (1.0, None, True),
                                                     (0.5, None, False), (None, None, False)])
def test_above_chance(value, low, above) -> None:
    assert above_chance({"value": value, "low": low, "high": None}) is above


def test_a_perfect_score_without_interval_counts() -> None:
    text = said(row("MLP", "model", 1.0, None, p=0.005), row("majority", "null", 0.5, None))
    assert "all 1 models show an association in this sample" in text
    assert "not above chance, as it must be: majority" in text


def test_a_shortcut_takes_the_evidence_away_even_if_it_is_perfect() -> None:
    text = said(row("MLP", "model", 0.9, 0.8, p=0.005), row("station and date only", "null", 1.0, None))
    assert "above chance without the windows before the events: station and date only 1.000" in text
    assert "no score is evidence" in text


def test_nothing_found_is_said() -> None:
    text = said(row("MLP", "model", 0.55, 0.4, p=0.3), row("majority", "null", 0.5, None))
    assert "no association with the labels in this sample" in text and "predict" not in text
    assert "no association" in said(row("MLP", "model", 0.9, 0.8, p=0.2), row("majority", "null", 0.5, None))


def test_a_spectrum_that_is_enough_is_a_case_of_its_own() -> None:
    text = said(row("MLP", "model", 0.9, 0.8, p=0.005), row("phases randomised", "null", 0.9, 0.8, name="surrogates"),
                row("majority", "null", 0.5, None))
    assert "amplitude spectrum of a window is enough" in text and "no score is evidence" not in text


def test_without_controls_that_is_said() -> None:
    assert "no null control was run" in said(row("MLP", "model", 0.9, 0.8, p=0.005))
