"""evaluate: whether a score is above chance, in words. Chance is guessing with the frequencies that training had."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from groundswell.evaluate.intervals import Estimate

State = Literal["shown", "constant", "none", "below", "unknown"]

_GUESSING = "guessing by how frequent each class is in training"


@dataclass(frozen=True)
class Skill:
    """What an accuracy shows.

    Attributes:
        state: "shown": its lower bound lies above chance and above the majority rate; "constant": above chance only, so
            that the best constant answer may do as well; "none": the interval contains chance; "below": it lies below
            chance; "unknown": there is no interval, or no chance to hold it against.
        chance: accuracy to be expected of guessing with the training part's frequencies of classes; the majority rate
            where these are not known.
        majority_rate: share of the most frequent class among the tested ones: the best constant answer.
        sentence: the same in words; empty where unknown.
    """

    state: State
    chance: float | None
    majority_rate: float | None
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def skill_of(accuracy: Estimate, chance: float | None, majority_rate: float | None, *,
             new_place: bool = False, explain: bool = True) -> Skill:
    """Hold an accuracy against chance.

    Args:
        accuracy: with its interval.
        chance: of :meth:`groundswell.evaluate.exposure.Exposure.chance`; ``None`` for the majority rate in its stead.
        majority_rate: of the same samples.
        new_place: all of them are where training had nothing near, which the sentence then says.
        explain: say what chance is.
    """
    what = _GUESSING if chance is not None else "always giving the most frequent tested class"
    chance = majority_rate if chance is None else chance
    if accuracy.value is None or accuracy.low is None or accuracy.high is None or chance is None:
        return Skill("unknown", chance, majority_rate, "")
    where = " where the place is new" if new_place else ""
    ends, level = f"interval {accuracy.low:.3f} to {accuracy.high:.3f}", rate_text(chance)
    level = f"{level}, {what}" if explain else level
    if accuracy.high < chance:
        return Skill("below", chance, majority_rate,
                     f"The {ends} lies below chance ({level}): no skill shown{where}.")
    if accuracy.low <= chance:
        return Skill("none", chance, majority_rate,
                     f"The {ends} contains chance ({level}): no skill shown{where}.")
    times = f", {accuracy.value / chance:.1f} times chance ({level})" if chance > 0 else ""
    if majority_rate is not None and accuracy.low <= majority_rate:
        return Skill("constant", chance, majority_rate,
                     f"Accuracy {accuracy.value:.3f}{times}; but the {ends} does not lie above what always naming the "
                     f"most frequent tested class would score ({rate_text(majority_rate)}).")
    return Skill("shown", chance, majority_rate,
                 f"Accuracy {accuracy.value:.3f}{times}; the {ends} lies above chance{where}.")


def rate_text(rate: float) -> str:
    """A rate with three decimals, or four where it is small."""
    return f"{rate:.3f}" if rate >= 0.05 else f"{rate:.4f}"
