"""data: the source protocol. A source reads rows of a sample table straight into buffers that the loader owns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True)
class Field:
    """What one array that a source delivers looks like.

    Attributes:
        shape: of one sample, without the batch axis.
        dtype: of its values.
        memory: how a sample lies in memory: ``"C"``, its last axis fastest, or ``"F"``, its first axis fastest. It says
            nothing of the values; a source asks for the order in which its files hold them, so that they are copied
            in long runs.
    """

    shape: tuple[int, ...]
    dtype: DTypeLike
    memory: Literal["C", "F"] = "C"

    def allocate(self, samples: int) -> NDArray[Any]:
        """A zeroed buffer for ``samples`` samples; the batch axis is the first, and always the slowest.

        With ``memory="F"`` it is a view of one contiguous array that has the axes of each sample turned round.
        """
        if self.memory == "C":
            return np.zeros((samples, *self.shape), self.dtype)
        turned = np.zeros((samples, *self.shape[::-1]), self.dtype)
        return turned.transpose(0, *range(len(self.shape), 0, -1))


@runtime_checkable
class Source(Protocol):
    """Reads rows of a table into given buffers.

    A source can be pickled (it holds no open handle then), may be called from several threads at once, and always
    fills every element of what it is given: buffers are reused and hold an earlier batch.
    """

    @property
    def fields(self) -> Mapping[str, Field]:
        """What it delivers, by name."""
        ...

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def read(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> None:
        """Read the samples at ``rows`` into ``out[name][i]`` for the i-th row; ``out`` has every field.

        Raises:
            InputError: a row cannot be read; the message names the file and the place in it.
        """
        ...

    def close(self) -> None:
        """Let go of open files. Reading again reopens them."""
        ...
