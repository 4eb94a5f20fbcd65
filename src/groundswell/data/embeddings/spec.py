"""data: what a table of embeddings holds: its name, the shape and type of a row, and what its ids count."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from groundswell.core.errors import InputError

STORED: Mapping[str, str] = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}
"""Types a table may have, and how numpy holds them; numpy has no bfloat16, so its bits are held as whole numbers."""

KEYS = ("observation", "taxon")


@dataclass(frozen=True)
class TableSpec:
    """One table: rows of one shape and type, each under an id.

    Attributes:
        name: lower-case letters, digits and underscores; also the name of the table's folder.
        shape: of one row, without the row axis; at least one axis.
        dtype: float32, float16 or bfloat16, as stored; reading always gives float32.
        key: what the ids are: ``observation`` (int64 numbers given from outside) or ``taxon`` (positions in the
            store's list of taxa).

    Raises:
        InputError: one of them is not as said.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    key: str = "observation"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", self.name):
            raise InputError(f"'{self.name}' cannot be the name of a table of embeddings",
                             fix="Use up to 64 lower-case letters, digits and underscores, a letter first")
        if not self.shape or min(self.shape) < 1:
            raise InputError(f"Rows of shape {list(self.shape)} hold nothing", where=f"table '{self.name}'",
                             fix="Give at least one axis, each of one or more values")
        for what, value, known in (("dtype", self.dtype, tuple(STORED)), ("key", self.key, KEYS)):
            if value not in known:
                raise InputError(f"The {what} '{value}' is not one of {', '.join(known)}", where=f"table '{self.name}'")

    @property
    def stored(self) -> np.dtype[Any]:
        """How a value lies in the file, little-endian; bfloat16 as uint16."""
        return np.dtype(STORED[self.dtype])

    @property
    def values(self) -> int:
        """Values in a row."""
        return math.prod(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row as stored."""
        return self.values * self.stored.itemsize
