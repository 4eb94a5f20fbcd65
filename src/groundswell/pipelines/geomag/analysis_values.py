"""geomag: what is in files of windows, value by value, read in blocks so that any file fits into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.pipelines.geomag.layout import ClassFile

_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class Validation:
    """What was found in the files of one window length. Lists have one entry a class.

    Attributes:
        valid: nothing was found that training refuses.
        problems: what training would refuse, in words.
        warnings: what is allowed and should be looked at, in words.
        shapes: rows and columns (label included) of each file.
        dtypes: of the values, as numpy writes them.
        size_bytes: of the files.
        nonfinite_rows: windows with values that are NaN or infinite (as float32, which is what networks are given).
        wrong_labels: rows whose label is not that of their file.
        constant_rows: windows in which every minute has the same value.
        duplicates_within: windows whose values are those of an earlier one of the same class.
        duplicates_across: windows of class 1 whose values are those of one of class 0.
        minimum, maximum: smallest and largest finite value; ``None`` if no window is finite.
        typical_range: median over a class's finite windows of largest less smallest value; ``None`` likewise.
    """

    valid: bool
    problems: list[str]
    warnings: list[str]
    shapes: list[list[int]]
    dtypes: list[str]
    size_bytes: list[int]
    nonfinite_rows: list[int]
    wrong_labels: list[int]
    constant_rows: list[int]
    duplicates_within: list[int]
    duplicates_across: int
    minimum: float | None
    maximum: float | None
    typical_range: list[float | None]


@dataclass(frozen=True)
class RowFacts:
    """A few numbers of each row of a file, each of shape (rows,).

    Attributes:
        lowest, highest, mean: of the window's values; NaN or infinite where they are.
        label: last column.
        digest: 16 bytes that differ where the values do.
    """

    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    mean: NDArray[np.float64]
    label: NDArray[np.float64]
    digest: list[bytes]

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Windows of finite values only."""
        both: NDArray[np.bool_] = np.isfinite(self.lowest) & np.isfinite(self.highest)
        return both


def blocks(file: ClassFile) -> Iterator[tuple[int, NDArray[Any]]]:
    """First row and values of one stretch of rows after another, shape (some rows, columns).

    Raises:
        InputError: the file ends too early or cannot be read.
    """
    # Small types are widened to float32.
    step = max(1, _BLOCK_BYTES // (file.columns * max(np.dtype(file.dtype).itemsize, 4)))
    for start in range(0, file.rows, step):
        yield start, file.block(start, min(start + step, file.rows))


def row_facts(file: ClassFile) -> RowFacts:
    """Read a file once."""
    numbers = np.empty((4, file.rows))
    digest: list[bytes] = []
    for start, block in blocks(file):
        part = slice(start, start + len(block))
        with np.errstate(over="ignore", invalid="ignore"):
            values = block[:, :-1].astype(np.float32, copy=False)
            numbers[0, part], numbers[1, part] = values.min(axis=1), values.max(axis=1)
            numbers[2, part] = values.mean(axis=1, dtype=np.float64)
        numbers[3, part] = block[:, -1]
        digest += [hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=16).digest() for row in values]
    return RowFacts(numbers[0], numbers[1], numbers[2], numbers[3], digest)


def validate(files: Sequence[ClassFile], facts: Sequence[RowFacts]) -> Validation:
    """Judge what was read of the files of the two classes."""
    nonfinite = [int((~fact.finite).sum()) for fact in facts]
    wrong = [int((fact.label != file.label).sum()) for file, fact in zip(files, facts, strict=True)]
    constant = [int((fact.finite & (fact.lowest == fact.highest)).sum()) for fact in facts]
    within = [len(fact.digest) - len(set(fact.digest)) for fact in facts]
    others = set(facts[0].digest)
    across = sum(digest in others for digest in facts[1].digest)
    lowest = [float(fact.lowest[fact.finite].min()) for fact in facts if fact.finite.any()]
    highest = [float(fact.highest[fact.finite].max()) for fact in facts if fact.finite.any()]
    typical = [float(np.median((fact.highest - fact.lowest)[fact.finite])) if fact.finite.any() else None
               for fact in facts]
    problems = _told(nonfinite, "hold values that are not finite") + [
        text for file, fact in zip(files, facts, strict=True) for text in _label_problem(file, fact)]
    warnings = (_told(constant, "have the same value in every minute")
                + _told(within, "repeat the values of an earlier one of their class"))
    if across:
        warnings.append(f"{across} window(s) of class 1 have the values of one of class 0: the same minutes are in "
                        "both classes")
    return Validation(not problems, problems, warnings, [[f.rows, f.columns] for f in files],
                      [np.dtype(f.dtype).name for f in files], [f.size_bytes for f in files], nonfinite, wrong,
                      constant, within, across, min(lowest, default=None), max(highest, default=None), typical)


def _told(counts: Sequence[int], what: str) -> list[str]:
    return [f"{count} window(s) of class {label} {what}" for label, count in enumerate(counts) if count]


def _label_problem(file: ClassFile, fact: RowFacts) -> list[str]:
    wrong = np.flatnonzero(fact.label != file.label)
    if not len(wrong):
        return []
    return [f"{len(wrong)} label(s) in the file of class {file.label} are not {file.label}; the first, in row "
            f"{wrong[0]}, is {fact.label[wrong[0]]:g}"]
