"""train: samples that cannot be read or hold values that are not finite: they stop a fit, or count for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from groundswell.core.errors import FailureError, InputError
from groundswell.core.progress import say
from groundswell.data.guard import UNREAD, in_words
from groundswell.train.task import Batch

Found = list[tuple[int, str]]
"""Rows of the sample table and what is wrong with each."""
NOT_FINITE = "it holds NaN or infinite values"
UNREADABLE = "it cannot be read"


def _row_alone(row: int) -> dict[str, Any]:
    return {"row": row}


def _unsaid(row: int) -> str:
    return ""


@dataclass(frozen=True)
class BadSamples:
    """What a fit does with samples it cannot use. Called where they are found, in the process that found them.

    Attributes:
        policy: ``stop`` ends the fit with an error that names the first ones; ``skip`` gives them weight 0.
        most: how many different ones may be skipped.
        place: says where a row of the sample table lies: ``row``, and whatever else is known of it.
        why_unread: says why a row could not be read, or nothing.
    """

    policy: Literal["stop", "skip"] = "stop"
    most: int = 100
    place: Callable[[int], Mapping[str, Any]] = _row_alone
    why_unread: Callable[[int], str] = _unsaid


def unusable(batch: Batch) -> Tensor | None:
    """Which samples of a batch count and hold something that is not finite.

    One pass over each array of floating numbers, on the device; a second one only where the first finds something.

    Returns:
        bool, shape (batch,), or None where there are none.
    """
    arrays = [value for name, value in batch.items() if name != "weight" and value.is_floating_point()]
    counts = batch["weight"] > 0
    if not arrays:
        return None
    bad = torch.zeros_like(counts)
    for value in arrays:
        # A sum is not finite if anything in it is not. It may also overflow: that is looked at closely below.
        bad |= ~_summed(value).isfinite()
    if not bool((bad & counts).any()):
        return None
    bad = torch.zeros_like(counts)
    for value in arrays:
        bad |= ~value.isfinite().reshape(len(value), -1).all(dim=1)
    bad &= counts
    return bad if bool(bad.any()) else None


def _summed(value: Tensor) -> Tensor:
    if value.ndim == 1:
        return value
    wide = torch.float32 if value.dtype in (torch.float16, torch.bfloat16) else value.dtype
    return value.sum(dim=tuple(range(1, value.ndim)), dtype=wide)


class Quarantine:
    """What one process of a fit knows of bad samples.

    Args:
        bad: what becomes of them.
    """

    def __init__(self, bad: BadSamples) -> None:
        self.bad = bad
        self.known: set[int] = set()
        """Rows that were met already, in any process."""
        self.found: Found = []
        """What this process has found since it was last asked."""

    def look(self, batch: Batch) -> Batch:
        """The batch, with zeros and weight 0 for samples that teach nothing.

        Raises:
            InputError: there are some, and the policy is to stop.
        """
        found: Found = []
        if UNREAD in batch:
            missing = batch["row"][batch[UNREAD] != 0].tolist()
            found += [(row, self.bad.why_unread(row) or UNREADABLE) for row in dict.fromkeys(missing)]
            batch = {name: value for name, value in batch.items() if name != UNREAD}
        bad = unusable(batch)
        if bad is not None:
            found += [(row, NOT_FINITE) for row in batch["row"][bad].tolist()]
            if self.bad.policy == "stop":
                raise self._stop(found)
            batch = _without(batch, bad)
        self.found += found
        return batch

    def _stop(self, found: Found) -> InputError:
        row, reason = found[0]
        more = f", and {len(found) - 1} more of its batch" if len(found) > 1 else ""
        return InputError(f"A sample cannot be trained on{more}: {reason}", where=in_words(self.bad.place(row)),
                          fix="Leave the file out or mend it, or set loader.bad_windows=skip (in a run that has begun: "
                              "in its recipe.yaml)")

    def taken(self) -> Found:
        """What was found since the last call."""
        found, self.found = self.found, []
        return found

    def entries(self, found: Iterable[tuple[int, str]], **facts: Any) -> list[dict[str, Any]]:
        """Lines of the journal for the rows that were not known yet."""
        new = {row: reason for row, reason in found if row not in self.known}
        self.known |= new.keys()
        lines = [{**facts, **self.bad.place(row), "reason": reason} for row, reason in new.items()]
        for line in lines:
            say(f"Skipped: {in_words(line)}: {line['reason']}")
        return lines

    def check_most(self, lines: list[dict[str, Any]]) -> None:
        """After ``lines`` were written.

        Raises:
            FailureError: there are too many by now.
        """
        if lines and len(self.known) > self.bad.most:
            raise FailureError(f"{len(self.known)} samples cannot be used, and loader.bad_windows_most allows "
                               f"{self.bad.most}; the last one: {lines[-1]['reason']}", where=in_words(lines[-1]),
                               fix="Look at logs/quarantine.jsonl of the fit and mend the files, or allow more")


def _without(batch: Batch, bad: Tensor) -> Batch:
    cleaned = dict(batch)
    for name, value in batch.items():
        if value.is_floating_point():  # copied: the buffers are the loader's
            cleaned[name] = value.clone()
            cleaned[name][bad] = 0
    return cleaned
