"""train: what a fit does when a step is not finite: back to the last checkpoint, and on without that step.

A loss that is not finite has one of two causes. Either the step's samples, or what chance made of them, are at fault:
then leaving out that one step cures it, and everything else stays as it was. Or the weights had come where numbers
overflow: then the next step fails as well, and from the second setback on the learning rate is halved, too. Both follow
from what the checkpoint holds, so that a fit that is killed in between and resumed makes the same setbacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groundswell.core.errors import FailureError
from groundswell.core.progress import say
from groundswell.train.state import Place

SLOWER = 0.5
"""What the learning rate is multiplied by with each setback but the first."""


class NotFiniteError(FailureError):
    """The loss or the gradient of a step is not a finite number; the weights are those before it.

    Args:
        what: as for every error.
        step: finished steps before it.
        rows: of the sample table, that the step was to learn from.
        where: as for every error.
        fix: as for every error.
    """

    def __init__(self, what: str, *, step: int = 0, rows: Sequence[int] = (), where: str = "", fix: str = "") -> None:
        super().__init__(what, where=where, fix=fix)
        self.step, self.rows = step, list(rows)


@dataclass(frozen=True)
class Setback:
    """What a fit takes back with it to its last checkpoint."""

    place: Place
    """Of the fit when it failed."""
    error: NotFiniteError
    before: Sequence[dict[str, Any]] = ()
    """Lines of the log for earlier ones of this process: the log is cut back with the fit."""

    def apply(self, place: Place) -> dict[str, Any]:
        """Change the place of a fit that has gone back; a line for its log."""
        place.setbacks = self.place.setbacks + 1
        place.left_out = [*self.place.left_out, self.error.step]
        place.blamed = [*self.place.blamed, self.error.rows]
        place.slowed = self.place.slowed * (SLOWER if place.setbacks > 1 else 1.0)
        return {"setback": place.setbacks, "step": self.error.step + 1, "rows": self.error.rows,
                "back_to_step": place.step, "rate_times": place.slowed, "reason": self.error.what}


def set_back(place: Place, error: NotFiniteError, most: int, before: Sequence[dict[str, Any]]) -> Setback:
    """The way back after ``error``, if there is one left; ``before`` are the lines of the log for earlier ones.

    Raises:
        FailureError: there have been ``most`` setbacks already. It names the samples that all failed steps share.
    """
    if place.setbacks < most:
        error.__traceback__ = None  # it would keep all of the fit that failed
        say(f"{error.what}. Going back to the last checkpoint and leaving that step out"
            + (f", at {SLOWER:g} of the learning rate" if place.setbacks else "")
            + f" (setback {place.setbacks + 1} of at most {most}).")
        return Setback(place, error, before)
    if not place.setbacks:
        raise FailureError(error.what, where=error.where, fix=error.fix) from error
    shared = set(error.rows).intersection(*map(set, place.blamed))
    blame = f"row {min(shared)} of the sample table was in each step that failed" if len(shared) == 1 else \
        f"rows {sorted(shared)} of the sample table were in each step that failed" if shared else error.where
    raise FailureError(f"{error.what}, after {place.setbacks} setbacks", where=blame, fix=error.fix) from error
