"""data: a source of arrays that are in memory already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.source import Field


class ArraySource:
    """Serves rows of arrays in memory: simulated samples, embeddings, features of a control.

    Args:
        arrays: by name; first axis the row, the same length for all. Not copied: memory maps are welcome.

    Raises:
        InputError: no arrays, or they differ in length.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = dict(arrays)
        lengths = {name: len(array) for name, array in self._arrays.items()}
        if len(set(lengths.values())) != 1:
            raise InputError(f"The arrays of a source must have one length; they have {lengths or 'none'}")
        self._length = next(iter(lengths.values()))

    @property
    def fields(self) -> Mapping[str, Field]:
        """Shape of one row and dtype of every array."""
        return {name: Field(array.shape[1:], array.dtype) for name, array in self._arrays.items()}

    def __len__(self) -> int:
        return self._length

    def read(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> None:
        """Copy ``rows`` of every array into ``out``.

        Raises:
            InputError: a row is outside the arrays.
        """
        outside = (rows < 0) | (rows >= self._length)
        if outside.any():
            raise InputError(f"Row {int(rows[outside][0])} is outside a source of {self._length} rows")
        for name, array in self._arrays.items():
            # 'clip' writes straight into the buffer ('raise' goes through a copy); the bounds were looked at above.
            np.take(array, rows, axis=0, out=out[name], mode="clip")

    def close(self) -> None:
        """Nothing is open."""
