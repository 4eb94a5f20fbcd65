"""evaluate: what follows from scores of boxes, in sentences a person can check against the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groundswell.evaluate.detection_bootstrap import FEW_GROUPS
from groundswell.evaluate.detection_parts import Beside, ClassRow, DetectionPart, State
from groundswell.evaluate.detection_recipe import DetectionEvaluateRecipe
from groundswell.evaluate.intervals import Estimate

_SOME_GROUPS = 10  # fewer are too few for a percentile bootstrap to have the coverage it states
_MANY_CLASSES = 6
_RECOGNISED = 0.05  # mAP50 by which dealt boxes must be found better than without looking, to accuse the split
_PRIOR, _DEALT = "class_prior", "permuted_labels"


def conclusion(whole: DetectionPart, beside: Sequence[Beside], priorities: Sequence[ClassRow],
               classes: Sequence[ClassRow], sources: Mapping[str, DetectionPart],
               members: Mapping[str, Mapping[str, float]], recipe: DetectionEvaluateRecipe, facts: Mapping[str, Any], *,
               unit: str, folds: int) -> list[str]:
    """The headline with the controls beside it, and what follows, most important first.

    Args:
        whole: all images.
        beside: controls that were run.
        priorities, classes: rows of them.
        sources: by name, where there are several.
        members: scores of each, where there are several.
        recipe: confidence, the score from which boxes are counted.
        facts: that stand beside every number.
        unit: what a sample is called.
        folds: how many there are; 0 or 1 where there is one fit.
    """
    simulated = "simulated " if facts.get("simulated") else ""
    over = (f"Over {whole.images} {simulated}{unit}{_s(whole.images)} of {whole.groups} group{_s(whole.groups)} with "
            f"{whole.boxes} true box{'' if whole.boxes == 1 else 'es'}")
    score = whole.scores.get("map50")
    if score is None or score.value is None:
        return [f"{over} there is no score: {whole.why or (score.why if score else 'nothing was tested')}."]
    lines = [f"{over}, mAP50 is {told(score, recipe.confidence)}{_controls_told(beside)}.", *_trust(whole, facts, unit)]
    lines += [row.sentence for row in beside]
    lines += _of_overlaps(whole, folds)
    lines += _of_priorities(priorities)
    lines += _of_classes(classes)
    lines += _of_sources(sources, unit)
    lines += _at_level(whole, recipe, unit)
    values = sorted(row["map50"] for row in members.values())
    if values:
        lines.append(f"{len(values)} members predicted; alone they reach mAP50 of {values[0]:.3f} to {values[-1]:.3f}.")
    return lines


def _controls_told(beside: Sequence[Beside]) -> str:
    said = [f"{row.control.who[:1].lower()}{row.control.who[1:]} reaches {number(row.scores['map50'])}"
            for row in beside if row.scores["map50"].value is not None]
    return f"; {', '.join(said)}" if said else "; no control stands beside it"


def _trust(whole: DetectionPart, facts: Mapping[str, Any], unit: str) -> list[str]:
    lines = []
    if facts.get("allow_leakage"):
        lines.append("The split leaks, and that was allowed: the number may be too high, for images like the tested "
                     "ones were seen in training.")
    if whole.groups == 1:
        lines.append(f"All tested {unit}s are of one group: there is no interval, and nothing is known of other ones.")
    elif whole.groups < FEW_GROUPS:
        lines.append(f"The tested {unit}s are of only {whole.groups} groups: the interval cannot be trusted, for so "
                     "few say little of how groups differ.")
    if facts.get("simulated"):
        lines.append("The data are simulated: the numbers show that the method works there, and nothing of real "
                     "animals.")
    return lines


def verdict(row: Beside, rows: Sequence[Beside]) -> tuple[State, str]:
    """What a null control says of the model.

    The network taught with dealt annotations may learn where boxes usually are, but little more: where the lower end of
    its interval lies clearly above the upper end of that of boxes without looking, it has recognised images.

    Args:
        row: of the control.
        rows: of all controls that were run.
    """
    who, gap = row.control.who, difference_told(row.difference)
    prior = next((r.scores["map50"] for r in rows if r.control.name == _PRIOR), None)
    theirs = row.scores["map50"]
    low, high = (_end(theirs, theirs.low), 0.0 if prior is None else _end(prior, prior.high))
    if row.control.name == _DEALT and low > high + _RECOGNISED:
        return "leak", f"{who} reaches {told(theirs, None)}: {row.control.means}"
    value = row.difference.value
    if value is None or (row.difference.low is None and value > 0):
        return "unknown", f"The model beside the control '{row.control.title}': {gap}."
    if row.difference.low is not None and row.difference.low > 0:
        return "beaten", f"The model is better than {_small(who)} ({gap})."
    return "not beaten", (f"The model is not clearly better than {_small(who)} ({gap}): its score does not show that "
                          f"it knows more than {row.control.knows}.")


def _end(estimate: Estimate, end: float | None) -> float:
    """An end of an interval; where there is none, the value."""
    return end if end is not None else estimate.value or 0.0


def _of_overlaps(whole: DetectionPart, folds: int) -> list[str]:
    text = f"Over overlaps of 0.5 to 0.95, mAP50-95 is {number(whole.scores['map50_95'])}"
    pooled = f"; boxes of {folds} folds are pooled, whose scores may not mean the same" if folds > 1 else ""
    return [f"{text}{pooled}."]


def _of_priorities(priorities: Sequence[ClassRow]) -> list[str]:
    having = [f"{row.name} species {number(row.scores['map50'])} ({_ends(row.scores['map50'])}; {row.boxes} boxes of "
              f"{row.classes} class{'' if row.classes == 1 else 'es'})" for row in priorities
              if row.scores["map50"].value is not None]
    lines = [f"By priority, mAP50 is: {', '.join(having)}."] if having else []
    critical = next((row for row in priorities if row.name == "critical"), None)
    if priorities and (critical is None or critical.scores["map50"].value is None):
        why = "none of the classes is one" if critical is None else critical.scores["map50"].why
        lines.append(f"There is no number for critical species: {why}.")
    return lines


def _of_classes(classes: Sequence[ClassRow]) -> list[str]:
    ranked = sorted((row for row in classes if row.scores["map50"].value is not None),
                    key=lambda row: -(row.scores["map50"].value or 0.0))
    if len(ranked) < 2:
        return []
    if len(ranked) <= _MANY_CLASSES:
        each = [f"{row.name} {number(row.scores['map50'])}" for row in ranked]
        return [f"AP50 of each class: {', '.join(each)}."]
    best, worst = ranked[0], ranked[-1]
    return [f"Of {len(ranked)} classes, {best.name} is found best (AP50 {number(best.scores['map50'])}) and "
            f"{worst.name} worst ({number(worst.scores['map50'])})."]


def _of_sources(sources: Mapping[str, DetectionPart], unit: str) -> list[str]:
    having = [f"{name} {number(part.scores['map50'])} ({part.images} {unit}s)" for name, part in sources.items()
              if part.scores]
    return [f"By source, mAP50 is: {', '.join(having)}."] if len(having) > 1 else []


def _at_level(whole: DetectionPart, recipe: DetectionEvaluateRecipe, unit: str) -> list[str]:
    lines, scores, counts = [], whole.scores, whole.counting
    if scores["recall"].value is not None:
        precision = ("no box is found" if scores["precision"].value is None else
                     f"{_percent(scores['precision'])} of the boxes are right")
        lines.append(f"From a score of {recipe.count_at:g} on, {precision} and {_percent(scores['recall'])} of the "
                     "animals are found.")
    if counts["mae"].value is not None:
        text = (f"Counts of animals in an {unit} are off by {counts['mae'].value:.2f} on average (bias "
                f"{counts['bias'].value:+.2f}); {_percent(counts['within_1'])} are within one").replace("-", "−")
        mape = counts["mape"]
        lines.append(f"{text}." if mape.value is None else
                     f"{text}, and where there are animals they are off by {_percent(mape)}.")
    return lines


def lacking(whole: DetectionPart, classes: Sequence[ClassRow], priorities: Sequence[ClassRow],
            sources: Mapping[str, DetectionPart], not_run: Sequence[tuple[str, str]], facts: Mapping[str, Any],
            recipe: DetectionEvaluateRecipe, *, controls: bool, validated: bool) -> list[str]:
    """Sentences about every number that is missing, and why."""
    lines = ["Performance on real images: the data are simulated."] if facts.get("simulated") else []
    if whole.groups == 1:
        lines.append("Intervals: there is one group, and one alone cannot be resampled.")
    elif 1 < whole.groups < _SOME_GROUPS:
        lines.append(f"Intervals to rely on: the images lie in {whole.groups} groups, and with fewer than "
                     f"{_SOME_GROUPS} intervals come out narrower than they should be.")
    for what, rows in (("Priority", priorities), ("Class", classes)):
        few = [f"{row.name} ({row.boxes})" for row in rows if row.scores["map50"].value is None]
        if few:
            also = "" if what == "Priority" else " The mean over classes counts those that have any."
            lines.append(f"{what} with too few true boxes for a number of its own (fewer than {recipe.n_min}): "
                         f"{', '.join(few)}.{also}")
    alone = [row.name for row in classes if row.boxes and row.groups == 1]
    if alone and whole.groups > 1:
        lines.append("How the score of a class differs from group to group, where it is in one alone: "
                     f"{', '.join(alone)}. Resamples without that group lack the class, which moves their mean over "
                     "classes.")
    lines += [f"'{part.name}': {part.why}." for part in sources.values() if part.why]
    lines += [f"'{part.name}', with an interval to rely on: it lies in {part.groups} groups."
              for part in sources.values() if part.scores and 1 < part.groups < FEW_GROUPS <= whole.groups]
    lines += [f"The control '{title}'. Not run: {why}" for title, why in not_run]
    if not controls:
        lines.append("Controls: none was run, so that nothing shows what the score would be without the signal.")
    if not validated:
        lines.append("A score chosen on validation images, from which boxes are best taken: there are none with boxes.")
    return lines


def number(estimate: Estimate) -> str:
    """The value alone."""
    return "no number" if estimate.value is None else f"{estimate.value:.3f}".replace("-", "−")


def told(estimate: Estimate, confidence: float | None) -> str:
    """The value with its interval, for a sentence; how sure the interval is, where that is given."""
    if estimate.low is None or estimate.high is None:
        return number(estimate) if confidence is None else f"{number(estimate)}, without an interval ({estimate.why})"
    return f"{number(estimate)} ({'' if confidence is None else f'{confidence * 100:g} % '}{_ends(estimate)})"


def _ends(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return "no interval"
    return f"interval {estimate.low:.3f} to {estimate.high:.3f}".replace("-", "−")


def difference_told(difference: Estimate) -> str:
    """The model's mAP50 less a control's, for a sentence."""
    if difference.value is None:
        return f"there is nothing to compare, {difference.why}"
    text = f"model minus it {difference.value:+.3f}"
    ends = (f", without an interval: {difference.why}" if difference.low is None else
            f", interval {difference.low:+.3f} to {difference.high:+.3f}")
    return f"{text}{ends}".replace("-", "−")


def _percent(estimate: Estimate) -> str:
    return f"{100 * (estimate.value or 0.0):.0f} %"


def _small(text: str) -> str:
    return f"{text[:1].lower()}{text[1:]}"


def _s(many: int) -> str:
    return "" if many == 1 else "s"
