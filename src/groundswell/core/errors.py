"""core: what Groundswell raises, and the exit status each kind of error ends the program with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar


class GroundswellError(Exception):
    """One clear paragraph: what is wrong, where, and what to do.

    Args:
        what: the fact, as a sentence without its full stop.
        where: the file, row or key it was found at.
        fix: what the person can do about it, as a sentence.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str | Path = "", fix: str = "") -> None:
        # Other programs' messages are quoted in ours: whatever line ends they hold, it stays one paragraph.
        self.what, self.fix = (" ".join(text.split()) for text in (what, fix))
        self.what, self.where, self.fix = _unended(self.what), str(where), _unended(self.fix)
        place = f" ({self.where})" if self.where else ""
        advice = f" {self.fix}." if self.fix else ""
        super().__init__(f"{self.what}{place}.{advice}")

    def __reduce__(self) -> tuple[Any, ...]:
        # As it is, not by what it was made from: it comes out of another process with the same text and facts.
        return _remade, (type(self), self.args, self.__dict__)


def _remade(kind: type[GroundswellError], args: tuple[Any, ...], facts: dict[str, Any]) -> GroundswellError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(facts)
    return error


def _unended(sentence: str) -> str:
    """The sentence without its full stop; an ellipsis stays."""
    return sentence if sentence.endswith("...") else sentence.rstrip(".")


class InputError(GroundswellError):
    """What was given cannot be used: a file, a recipe, a label, an option."""

    exit_status = 2


class BusyError(InputError):
    """Another process works in a folder that only one may work in; later it may be free."""


class FailureError(GroundswellError):
    """Something went wrong that the input is not to blame for: a full disk, a lost device."""

    exit_status = 1


class RefusedError(GroundswellError):
    """A gate said no: a split failed its audit, or an export disagrees with its network."""

    exit_status = 3


class MissingExtraError(InputError):
    """An optional dependency is needed that is not installed."""
