"""data: float32 to its shorter forms and back, and what the rounding cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError

if TYPE_CHECKING:
    import torch

BLOCK = 1 << 18
"""Values turned at a time: both forms of a block stay in a core's cache."""


@dataclass(frozen=True)
class Rounding:
    """What storing changed, measured against the values given.

    Attributes:
        max_abs: largest absolute difference.
        max_rel: largest absolute difference over the size of the value, among values in the type's normal range
            (float16: from 2^-14, bfloat16 and float32: from 2^-126). Smaller ones lie on an even grid, or become 0:
            what they lose is in the other two.
        rms: root of the mean squared difference.
        rows: rows it was measured on.
    """

    max_abs: float = 0.0
    max_rel: float = 0.0
    rms: float = 0.0
    rows: int = 0

    def joined(self, other: Rounding) -> Rounding:
        """Of both sets of rows together; rows are of one size."""
        rows = self.rows + other.rows
        square = (self.rms**2 * self.rows + other.rms**2 * other.rows) / rows if rows else 0.0
        return Rounding(max(self.max_abs, other.max_abs), max(self.max_rel, other.max_rel), math.sqrt(square), rows)


def _tensor(stored: NDArray[Any], dtype: str) -> torch.Tensor:
    import torch

    tensor = torch.from_numpy(stored)
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor


def decode(stored: NDArray[Any], dtype: str, out: NDArray[np.float32]) -> None:
    """Turn stored values into float32, exactly: every float16 and bfloat16 is a float32.

    Args:
        stored: as :attr:`~groundswell.data.embeddings.spec.TableSpec.stored` says, any shape, contiguous, writable
            where it is not float32.
        dtype: float32, float16 or bfloat16.
        out: float32 of the same shape; filled.
    """
    if dtype == "float32":
        np.copyto(out, stored)
    else:
        # torch uses the processor's conversions, thirty times as fast as numpy's for float16; same bits.
        _tensor(out, "float32").copy_(_tensor(stored, dtype))


def encode(values: NDArray[Any], ids: NDArray[np.int64], dtype: str, out: NDArray[Any]) -> Rounding:
    """Turn rows into the stored form, by float32 and to nearest with ties to even, and measure what that changed.

    Args:
        values: rows, first axis the row; float16, float32 or float64, all finite.
        ids: of the rows, named in errors.
        dtype: float32, float16 or bfloat16.
        out: the stored rows, contiguous, same shape; filled.

    Raises:
        InputError: a value is not finite, or is too large for the type; the message names the row's id.
    """
    flat, stored = values.reshape(-1), out.reshape(-1)
    max_abs = max_rel = square = 0.0
    least = 2.0**-14 if dtype == "float16" else 2.0**-126
    for start in range(0, len(flat), BLOCK):
        given, kept = flat[start:start + BLOCK], stored[start:start + BLOCK]
        if not (np.isfinite(given.min()) and np.isfinite(given.max())):  # NaN passes through both
            at = start + int(np.argmax(~np.isfinite(given)))
            raise InputError(f"A value of the vector is {flat[at]}", where=f"id {ids[at * len(ids) // len(flat)]}",
                             fix="Mark a vector that is not there as missing; others must be finite numbers")
        if dtype == "float32" and given.dtype == np.float32:
            np.copyto(kept, given)
            continue
        _tensor(kept, dtype).copy_(_tensor(_single(given), "float32"))
        decoded = np.empty(len(given), np.float32)
        decode(kept, dtype, decoded)
        if not np.isfinite(decoded).all():
            at = start + int(np.argmax(~np.isfinite(decoded)))
            raise InputError(f"The value {flat[at]:.6g} is too large for {dtype}",
                             where=f"id {ids[at * len(ids) // len(flat)]}",
                             fix="Choose float32 or bfloat16, or scale the vectors")
        away, size = np.abs(decoded.astype(np.float64) - given), np.abs(given.astype(np.float64))
        max_abs, square = max(max_abs, float(away.max())), square + float(np.square(away).sum())
        max_rel = max(max_rel, float(np.divide(away, size, out=np.zeros_like(away), where=size >= least).max()))
    return Rounding(max_abs, max_rel, math.sqrt(square / max(1, len(flat))), len(ids))


def _single(given: NDArray[Any]) -> NDArray[np.float32]:
    # What overflows is found, and named, once it is stored.
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(given, np.float32)
    return single if single.flags.writeable else single.copy()
