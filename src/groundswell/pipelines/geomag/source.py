"""geomag: the source of windows, straight from the rows of their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.data.source import Field
from groundswell.pipelines.geomag.layout import ClassFile, read_windows


class GeomagSource:
    """Delivers ``x``, float32 (minutes,), by plain reads into the buffers it is given.

    A file of float32 rows is read without a copy in between, and however large the files are nothing of them stays in
    this process. Handles are opened for each batch: there is nothing to share, pickle or close.

    Args:
        files: of the windows, in order; rows count through all of them.
    """

    def __init__(self, files: Sequence[ClassFile]) -> None:
        self._files = tuple(files)

    @property
    def fields(self) -> Mapping[str, Field]:
        """One window."""
        return {"x": Field((self._files[0].columns - 1,), np.float32)}

    def __len__(self) -> int:
        return sum(file.rows for file in self._files)

    def read(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> None:
        """See :class:`groundswell.data.source.Source`."""
        read_windows(self._files, rows, out["x"])

    def close(self) -> None:
        """Nothing is open."""
