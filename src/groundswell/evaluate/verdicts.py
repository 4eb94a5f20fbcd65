"""evaluate: what follows from a score and its controls, in sentences a person can check against the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from groundswell.evaluate.controls import Control
from groundswell.evaluate.intervals import Estimate
from groundswell.evaluate.metrics import Scores, written
from groundswell.evaluate.skill import rate_text


@dataclass(frozen=True)
class Verdict:
    """What a control's score says.

    Attributes:
        state: of a null control, where its level (see :func:`judge`) lies: "inside" its interval (as it must be),
            "above" (the control can do the job: bad) or "below" (the control is worse than guessing, which accuses
            nobody); "rival" for a rival, "not run".
        sentence: the same in words.
        beaten: whether the model's lower bound lies above the control's upper bound; ``None`` if not run.
        ahead: of a rival, whether the model is better on the same units.
    """

    state: Literal["inside", "above", "below", "rival", "not run"]
    sentence: str
    beaten: bool | None = None
    ahead: bool = False


def judge(control: Control, scores: Scores, model: Scores, difference: Estimate, confidence: float,
          chance: float | None = None) -> Verdict:
    """Hold a control's accuracy against its level and against the model's.

    The level of a null control is the majority rate; where samples are units it is chance, for all controls but a
    constant one and one that may learn which class is the most frequent: with hundreds of classes that one can be far
    above what guessing scores, and a control that finds half of it has found something.

    Args:
        control: which.
        scores: its scores at unit level.
        model: the model's scores at unit level.
        difference: model minus control on the same units.
        confidence: of all intervals.
        chance: of the control, see :class:`groundswell.evaluate.control_scores.ControlScore`.
    """
    theirs, ours = scores.accuracy, model.accuracy
    if theirs.value is None or theirs.low is None or theirs.high is None or scores.majority_rate is None:
        return Verdict("not run", f"Not scored: {theirs.why or 'no event it was tested on has a known class'}.")
    beaten = ours.low is not None and ours.low > theirs.high
    if control.kind == "rival":
        ahead = beaten or (difference.low is not None and difference.low > 0)
        return Verdict("rival", _against_rival(control, theirs, ours, difference, ahead, model.level), beaten, ahead)
    percent, rate, unit, what = f"{confidence * 100:g} %", scores.majority_rate, model.level, "majority rate"
    if unit == "sample" and chance is not None and not control.constant and not (
            control.learns_frequencies and rate > chance):
        rate, what = chance, "chance rate"
    if theirs.low > rate:
        state: Literal["inside", "above", "below"] = "above"
        text = f"{control.who} reaches {written(theirs)}, above the {what} of {rate_text(rate)}: {control.means}"
    elif theirs.high < rate:
        why = ", by chance or because leaving an event out makes its class the rarer one in training"
        why = "" if unit == "sample" else why
        state, text = "below", (f"Its {percent} interval lies below the {what} of {rate_text(rate)}: it is worse than "
                                f"guessing{why}. That is no sign of a leak.")
    else:
        state, text = "inside", f"The {what} of {rate_text(rate)} lies inside its {percent} interval, as it must."
    if not beaten:
        text += (f" The model's interval is not clear of it: with {model.samples} {unit}s the score does not show that "
                 f"the model knows more than {control.knows}.")
    elif state == "above":
        text += " The model's lower bound lies above it all the same, so that part of its score comes from elsewhere."
    return Verdict(state, text, beaten)


def _against_rival(control: Control, theirs: Estimate, ours: Estimate, difference: Estimate, ahead: bool,
                   level: str) -> str:
    what = "samples" if level == "sample" else "events"
    if theirs.value is None or ours.value is None:
        return "There is nothing to compare."
    gap = _gap(difference, f"model minus rival on the same {what}")
    if ahead:
        text = f"The model is better than the rival {control.title}"
    elif difference.high is not None and difference.high < 0:
        text = f"The rival {control.title} is better than the model: use it instead, or find out why"
    else:
        text = f"Model and rival {control.title} cannot be told apart with these {what}"
    return f"{text} ({gap})." if gap else f"{text}."


def _gap(difference: Estimate, what: str) -> str:
    if difference.value is None:
        return ""
    ends = "" if difference.low is None else f", interval {difference.low:+.3f} to {difference.high:+.3f}"
    return f"{what}: {difference.value:+.3f}{ends}"


def conclusion(units: Scores, controls: Sequence[tuple[Control, Scores | None, Verdict]], confidence: float,
               more: Sequence[str] = (), *, skill: bool = True) -> list[str]:
    """The headline and what follows from the controls, most important first.

    Args:
        units: the model's scores at unit level.
        controls: each with its scores (``None`` if not run) and verdict.
        confidence: of all intervals.
        more: sentences to follow the headline.
        skill: whether the score lies above chance, as far as that is known; where it does not, being ahead of a rival
            is nothing to tell.
    """
    estimate = units.accuracy
    if estimate.value is None:
        return [f"There is no score: {estimate.why}."]
    hits = round(estimate.value * units.samples)
    ends = (f"without an interval ({estimate.why})" if estimate.low is None or estimate.high is None else
            f"{confidence * 100:g} % interval {estimate.low:.3f} to {estimate.high:.3f}")
    lines = [f"{hits} of {units.samples} {units.level}s are classified correctly: accuracy {estimate.value:.3f}, "
             f"{ends}.", *more]
    nulls = [(control, verdict) for control, scores, verdict in controls if control.kind == "null" and scores]
    if nulls:
        unbeaten = [control.title for control, verdict in nulls if not verdict.beaten]
        lines.append("The score's lower bound lies above the upper bound of every null control that was run: "
                     f"{_listed([control.title for control, _ in nulls])}." if not unbeaten else
                     f"The score's lower bound does not lie above the upper bound of: {_listed(unbeaten)}. "
                     "Until it does, the score is not evidence of skill.")
    lines += [verdict.sentence for _, verdict in nulls if verdict.state == "above"]
    lines += [verdict.sentence for _, _, verdict in controls
              if verdict.state == "rival" and (skill or not verdict.ahead)]
    lines += [f"The control '{control.title}' was not run. {verdict.sentence.removeprefix('Not run: ')}"
              for control, scores, verdict in controls if scores is None]
    return lines


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
