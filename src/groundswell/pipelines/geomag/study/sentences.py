"""geomag: what follows from a study, in sentences that can be checked against its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def conclusion(scores: Mapping[str, Any]) -> list[str]:
    """For each window length: which families are associated with the labels, what the controls say, what the simple
    rival says. Associations in this sample, and nothing about events to come."""
    lines: list[str] = []
    for window in scores["windows"].values():
        lines += _of_window(window)
    if scores["failures"]:
        lines.append(f"{len(scores['failures'])} part(s) of the study could not be done; they are named above.")
    return lines


def above_chance(auc: Mapping[str, Any]) -> bool:
    """Whether an area under the ROC curve lies above one half by its interval; where every resample gives the same
    number there is none, and the number itself is asked."""
    bound = auc["low"] if auc["low"] is not None else auc["value"]
    return bound is not None and bool(bound > 0.5)


def _auc(row: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (row["metrics"] or {}).get("roc_auc") or {"value": None, "low": None, "high": None}
    return found


def _written(row: Mapping[str, Any]) -> str:
    auc = _auc(row)
    ends = f" [{auc['low']:.3f}, {auc['high']:.3f}]" if auc["low"] is not None else ""
    p = f", p = {row['p']:.3f}" if row.get("p") is not None else ""
    return f"{row['title']} {auc['value']:.3f}{ends}{p}"


def _of_window(window: Mapping[str, Any]) -> list[str]:
    days = window["days"]
    families = [r for r in window["rows"] if r["kind"] in ("model", "rival") and _auc(r)["value"] is not None]
    nulls = [r for r in window["rows"] if r["kind"] == "null" and r["metrics"]]
    if not families:
        return [f"Windows of {days} days: nothing was scored."]
    best = max(families, key=lambda r: _auc(r)["value"])
    found = [r for r in families if above_chance(_auc(r)) and (r.get("p") is None or r["p"] <= 0.05)]
    lines = []
    if not found:
        lines.append(f"Windows of {days} days: no association with the labels in this sample. The highest ROC-AUC is "
                     f"that of {_written(best)}; chance is 0.5.")
    else:
        count = f"all {len(families)}" if len(found) == len(families) else f"{len(found)} of {len(families)}"
        lines.append(f"Windows of {days} days: {count} models show an association in this sample; the highest ROC-AUC "
                     f"is that of {_written(best)}.")
    lines += _controls(nulls, days)
    lines += _rival(window, families, days)
    if window["leak"] and window["leak"]["leaks"]:
        lines.append(f"Windows of {days} days: {window['leak']['sentence']}")
    return lines


def _controls(nulls: list[Mapping[str, Any]], days: int) -> list[str]:
    """What the null controls say. Random phases are a case of their own: such windows keep what a spectrum holds."""
    if not nulls:
        return [f"Windows of {days} days: no null control was run, so that nothing shows what a score would be without "
                "a signal."]
    above = [r for r in nulls if r["above"]]
    shortcuts = [r for r in above if r["name"] != "surrogates"]
    lines = []
    if shortcuts:
        lines.append(f"Windows of {days} days: above chance without the windows before the events: "
                     f"{_listed([_written(r) for r in shortcuts])}. Until that is explained, no score is evidence of "
                     "anything in those windows.")
    else:
        quiet = [r["title"] for r in nulls if not r["above"]]
        lines.append(f"Windows of {days} days: not above chance, as it must be: {_listed(quiet)}.")
    if len(above) > len(shortcuts):
        row = next(r for r in above if r["name"] == "surrogates")
        lines.append(f"Windows of {days} days: {_written(row)}: the amplitude spectrum of a window is enough, so that "
                     "the association need not be with anything that happens at a particular time.")
    return lines


def _rival(window: Mapping[str, Any], families: list[Mapping[str, Any]], days: int) -> list[str]:
    rival = next((r for r in families if r["kind"] == "rival"), None)
    networks = [r for r in families if r["kind"] == "model"]
    if rival is None or not networks:
        return []
    best = max(networks, key=lambda r: _auc(r)["value"])
    for row in window["comparisons"]:
        if {row["first"], row["second"]} == {best["title"], rival["title"]} and row["p_holm"] is not None:
            sign = 1 if row["first"] == best["title"] else -1
            gap = sign * row["difference"]
            if row["p_holm"] > 0.05:
                return [f"Windows of {days} days: {best['title']}, the best network, and {rival['title']} + ridge "
                        f"cannot be told apart (difference {gap:+.3f}, p = {row['p_holm']:.2f} after Holm)."]
            better = best["title"] if gap > 0 else f"{rival['title']} + ridge"
            return [f"Windows of {days} days: {better} is the better of {best['title']} and {rival['title']} + ridge "
                    f"(difference {gap:+.3f}, p = {row['p_holm']:.3f} after Holm)."]
    return []


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
