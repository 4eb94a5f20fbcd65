"""evaluate: what follows from scores of waveforms, in sentences a person can check against the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groundswell.evaluate.intervals import Estimate
from groundswell.evaluate.waveform_parts import Beside, WaveformPart
from groundswell.evaluate.waveform_recipe import WaveformEvaluateRecipe
from groundswell.evaluate.waveform_rivals import STACK_ONLY

WITHIN = 0.01
"""Correlation within which the network that sees only the stack counts as doing as well."""
_BAND_WITHIN = 0.03  # a band whose share is off by less is as wide as it says
_FEW_GROUPS = 10  # fewer are too few for a percentile bootstrap to have the coverage it states

_HEAD = {
    "correlation": "the median correlation of the predicted waveform with the true one is",
    "envelope_correlation": "the median correlation of the predicted envelope with the true one is",
    "split_half": "waveforms from two disjoint halves of the same traces correlate, in the median,",
    "shift_error_s": "the median error of the shifts is",
}
_SHORT = {"correlation": "waveform correlation", "envelope_correlation": "envelope correlation",
          "split_half": "split-half correlation", "shift_error_s": "shift error"}


def conclusion(whole: WaveformPart, strata: Mapping[str, WaveformPart], unrecoverable: WaveformPart | None,
               headline: str, recipe: WaveformEvaluateRecipe, facts: Mapping[str, Any], *, unit: str,
               shifts_from: str, members: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The headline and what follows, most important first.

    Args:
        whole: all samples whose source can be recovered.
        strata: kinds of test, by name.
        unrecoverable: samples whose paths share a part.
        headline: the score that leads.
        recipe: confidence, band.
        facts: that stand beside every number.
        unit: what a sample is called.
        shifts_from: what shifts are held against.
        members: medians of each member, where there are several.
    """
    lines = []
    if not whole.scores:
        lines.append(f"There is no score: {whole.why}.")
    elif whole.scores[headline].value is None:
        lines.append(f"There is no score: {whole.scores[headline].why}.")
    else:
        lines += _of_whole(whole, headline, recipe, facts, unit, members)
        lines += _of_rivals(whole, headline, unit)
        lines += _of_strata(strata, headline, unit)
        lines += _of_details(whole, headline, recipe, shifts_from)
    if unrecoverable is not None:
        lines.append(_of_unrecoverable(unrecoverable, unit))
    return lines


def _of_whole(whole: WaveformPart, headline: str, recipe: WaveformEvaluateRecipe, facts: Mapping[str, Any], unit: str,
              members: Mapping[str, Mapping[str, float]]) -> list[str]:
    simulated = "simulated " if facts.get("simulated") else ""
    score, chance = whole.scores[headline], whole.chance.get(headline)
    groups = "" if whole.groups == whole.samples else f" of {whole.groups} group{'' if whole.groups == 1 else 's'}"
    many = "" if whole.samples == 1 else "s"
    lines = [f"Over {whole.samples} {simulated}{unit}{many}{groups}, {_HEAD[headline]} "
             f"{told(score, headline, recipe.confidence)}."]
    if headline != "correlation" and whole.scores["correlation"].value is None:
        lines.append("The true waveform is not known here: the numbers say how well predictions repeat and agree, and "
                     "nothing of whether they are right. What two halves have in common may be wrong in both.")
    if chance is not None and chance.value is not None:
        lines.append(f"At their best lag and sign, waveforms of different groups reach {chance.value:.3f}: that is the "
                     "level of chance.")
    values = sorted(row[headline] for row in members.values() if headline in row)
    if len(values) > 1:
        lines.append(f"{len(values)} members were trained; their medians lie between {values[0]:.3f} and "
                     f"{values[-1]:.3f}.")
    return lines


def _of_rivals(whole: WaveformPart, headline: str, unit: str) -> list[str]:
    """The best rival, every other that the model is not clearly better than, and the names of those that it is."""
    ranked, lines = whole.rivals(headline), []
    verdict = {"better": "the model is better", "worse": "it is better than the model",
               "as good": f"the two cannot be told apart with these {unit}s",
               "unknown": "without an interval nothing follows"}
    for place, rival in enumerate(ranked):
        state = rival.state(headline)
        if place == 0 or state != "better":
            lead = f"The best rival, the {rival.control.title}," if place == 0 else f"The {rival.control.title}"
            lines.append(f"{lead} reaches {number(rival.scores[headline], headline)} ({gap(rival, headline, unit)}): "
                         f"{verdict[state]}.")
        lines += _of_stack_only(rival, headline, unit)
    beaten = [f"the {rival.control.title} ({number(rival.scores[headline], headline)})" for rival in ranked[1:]
              if rival.state(headline) == "better"]
    return [*lines, f"The model is better than {_listed(beaten)}."] if beaten else lines


def _of_stack_only(rival: Beside, headline: str, unit: str) -> list[str]:
    difference = rival.gains[headline].value
    if rival.control.name != STACK_ONLY.name or headline not in ("correlation", "envelope_correlation"):
        return []
    if difference is None or difference > WITHIN:
        return []
    return [f"A network that sees only the stack comes within {WITHIN:g} of the model ({gap(rival, headline, unit)}): "
            "what is gained over the stack comes from the prior on sources, not from the bag."]


def _of_strata(strata: Mapping[str, WaveformPart], headline: str, unit: str) -> list[str]:
    lines = []
    for part in strata.values():
        if not part.scores or part.scores[headline].value is None:
            continue
        text = f"In '{part.name}' ({part.samples} {unit}s) it is {number(part.scores[headline], headline)}"
        ranked = part.rivals(headline)
        if ranked:
            best = ranked[0]
            state = {"better": "better than", "worse": "worse than", "as good": "not told apart from",
                     "unknown": "beside"}[best.state(headline)]
            text += (f", {state} the best rival there, the {best.control.title} "
                     f"({number(best.scores[headline], headline)}; {gap(best, headline, unit)})")
        lines.append(f"{text}.")
    return lines


def _of_details(whole: WaveformPart, headline: str, recipe: WaveformEvaluateRecipe, shifts_from: str) -> list[str]:
    lines, shift = [], whole.scores["shift_error_s"]
    if shift.value is not None and headline != "shift_error_s":
        text = (f"Shifts, less their mean over each bag, are off by {shift.value:.3f} s in the median against "
                f"{shifts_from}")
        least = whole.rivals("shift_error_s")
        if least:
            text += f"; the {least[0].control.title}'s by {least[0].scores['shift_error_s'].value:.3f} s"
            ratio = least[0].shift_ratio
            if ratio.value is not None:
                ends = "" if ratio.low is None else f", interval {ratio.low:.2f} to {ratio.high:.2f}"
                text += f" (ratio {ratio.value:.2f}{ends})"
        lines.append(f"{text}.")
    coverage = whole.scores["coverage"]
    if coverage.value is not None:
        lines.append(f"The {100 * recipe.band:g} % bands hold the true waveform at {100 * coverage.value:.1f} % of the "
                     f"times{_band_verdict(coverage, recipe.band)}.")
    halves = whole.scores["split_half"]
    if halves.value is not None and headline != "split_half":
        lines.append(f"Two disjoint halves of a bag give waveforms that correlate {halves.value:.3f} in the median.")
    return lines


def _band_verdict(coverage: Estimate, band: float) -> str:
    value = coverage.value or 0.0
    low, high = (value if end is None else end for end in (coverage.low, coverage.high))
    ends = "" if coverage.low is None else f" (interval {100 * low:.1f} to {100 * high:.1f} %)"
    if high < band - _BAND_WITHIN:
        return f"{ends}: they are narrower than they say"
    return f"{ends}: they are wider than they say" if low > band + _BAND_WITHIN else f"{ends}, about as they say"


def _of_unrecoverable(part: WaveformPart, unit: str) -> str:
    text = (f"In {part.samples} {unit}{'' if part.samples == 1 else 's'} the paths of all traces share a part. Nothing "
            "in the traces tells it from the source: the source cannot be recovered there, by this model or any other, "
            f"and these {unit}s are left out of every number above.")
    score = part.scores.get("correlation")
    if score is None or score.value is None:
        return text
    return (f"{text} Held against the true source all the same, the model reaches {number(score, 'correlation')}; that "
            "is not a score of the source, but shows how far from it the common part leads.")


def lacking(whole: WaveformPart, strata: Mapping[str, WaveformPart], not_run: Sequence[tuple[str, str]],
            facts: Mapping[str, Any], *, controls: bool) -> list[str]:
    """Sentences about every number that is missing, and why."""
    lines = ["Performance on real records: the data are simulated."] if facts.get("simulated") else []
    lines += [f"{title[:1].upper()}{title[1:]}: {whole.scores[score].why}."
              for score, title in (*_SHORT.items(), ("polarity", "polarities"), ("coverage", "coverage of the band"))
              if whole.scores and whole.scores[score].value is None]
    lines += [f"'{part.name}': {part.why}." for part in strata.values() if part.why]
    if whole.groups == 1:
        lines.append("Intervals: there is one group, and one alone cannot be resampled.")
    elif 1 < whole.groups < _FEW_GROUPS:
        lines.append(f"Intervals to rely on: the samples lie in {whole.groups} groups, and with fewer than "
                     f"{_FEW_GROUPS} intervals come out narrower than they should be.")
    lines += [f"The control '{title}'. Not run: {why}" for title, why in not_run]
    if not controls:
        lines.append("Rivals: none was run, so that nothing shows what simpler ways would reach.")
    return lines


def number(estimate: Estimate, score: str) -> str:
    """The value alone, with its unit."""
    if estimate.value is None:
        return "no number"
    return f"{estimate.value:.3f}{' s' if score == 'shift_error_s' else ''}".replace("-", "−")


def told(estimate: Estimate, score: str, confidence: float) -> str:
    """The value with its interval, for a sentence."""
    if estimate.low is None or estimate.high is None:
        return f"{number(estimate, score)}, without an interval ({estimate.why})"
    ends = f"{confidence * 100:g} % interval {estimate.low:.3f} to {estimate.high:.3f}".replace("-", "−")
    return f"{number(estimate, score)}, {ends}"


def gap(rival: Beside, score: str, unit: str) -> str:
    """What the model has over a rival in the same samples, with its interval."""
    gain = rival.gains[score]
    if gain.value is None:
        return "there is nothing to compare"
    ends = "" if gain.low is None else f", interval {gain.low:+.3f} to {gain.high:+.3f}"
    return f"model minus it, {unit} by {unit}: median {gain.value:+.3f}{ends}".replace("-", "−")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
