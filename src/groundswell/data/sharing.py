"""data: memory that several processes share: how batches lie in it, and how it goes along to a new process."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.data.source import Field

_HEAD, _ALIGN = 4096, 4096

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class SharedBuffers:
    """How the buffers of some batches lie in one piece of memory that several processes share.

    The first eight bytes hold the number of the pass under way. The memory has no name, and is gone with the last
    process that has it, however that ended.
    """

    fields: Mapping[str, Field]
    samples: int
    slots: int

    def _parts(self) -> list[tuple[str, NDArray[Any], int]]:
        parts = []
        for name, field in self.fields.items():
            like = field.allocate(self.samples)  # zeros that nobody touches take no memory
            parts.append((name, like, -(-like.nbytes // _ALIGN) * _ALIGN))
        return parts

    @property
    def size_bytes(self) -> int:
        """Bytes of all of it."""
        return _HEAD + self.slots * sum(size for _, _, size in self._parts())

    def create(self) -> int:
        """New memory; its file descriptor."""
        if hasattr(os, "memfd_create"):  # no size limit of /dev/shm counts for it
            descriptor = os.memfd_create("groundswell-batches", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, self.size_bytes)
        return descriptor

    def opened(self, descriptor: int) -> tuple[NDArray[np.int64], list[Arrays]]:
        """The number of the pass, shape (1,), and the arrays of each slot."""
        memory = mmap.mmap(descriptor, self.size_bytes)
        slots, offset = [], _HEAD
        for _ in range(self.slots):
            arrays: Arrays = {}
            for name, like, size in self._parts():
                arrays[name] = np.ndarray(like.shape, like.dtype, memory, offset, like.strides)
                offset += size
            slots.append(arrays)
        return np.ndarray((1,), np.int64, memory), slots


class Descriptor:
    """A file descriptor that goes along when it is pickled for a process that is being started."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __getstate__(self) -> dict[str, Any]:
        return {"there": DupFd(self.number)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.number = state["there"].detach()
