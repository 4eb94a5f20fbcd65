"""train: checkpoints, files that are whole or refused, and the folder that holds the last few of them.

A file is a header (magic, version, length of the JSON, length of the tensors, crc32 of all the rest), the state as
tagged JSON, and the tensors as safetensors. Neither torch nor safetensors notices a flipped bit: the crc32 does.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from groundswell.core.errors import BusyError, FailureError, InputError
from groundswell.core.files import FULL, atomic_path, free_gib
from groundswell.core.locks import lock_file
from groundswell.train.tagged import flatten, storage, unflatten

MAGIC = b"GSWELLCK"
VERSION = 1
_LENGTHS = struct.Struct("<8sIQQ")
_CRC = struct.Struct("<I")
HEADER_BYTES = _LENGTHS.size + _CRC.size
_NAME = re.compile(r"step-(\d{9})(?:-epoch-(\d{4,}))?\.ckpt")


class DamagedError(InputError):
    """A checkpoint is not as it was written."""


def full_disk(error: OSError, path: Path) -> FailureError:
    """What to raise for ``error``, met while writing below ``path``."""
    reason = "No space left on the device" if error.errno in FULL else f"Writing failed: {error.strerror}"
    return FailureError(f"{reason}; earlier checkpoints are untouched", where=path,
                        fix=f"Free some space ({free_gib(path.parent):.2f} GiB left) and resume")


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (nested dictionaries, lists, numbers, text, tensors) to ``path``: all of it or nothing.

    The same state gives the same bytes.

    Raises:
        FailureError: the disk is full; whatever was at ``path`` is still there.
    """
    skeleton, tensors = flatten(state)
    text = json.dumps(skeleton, separators=(",", ":"), allow_nan=False).encode()
    body = safetensors.torch.save(storage(tensors))
    lengths = _LENGTHS.pack(MAGIC, VERSION, len(text), len(body))
    crc = zlib.crc32(body, zlib.crc32(text, zlib.crc32(lengths)))
    try:
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            for part in (lengths, _CRC.pack(crc), text, body):
                file.write(part)
    except OSError as error:
        raise full_disk(error, path) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a file that :func:`write_checkpoint` wrote; tensors are on the CPU.

    Raises:
        InputError: there is no such file, or it cannot be read.
        DamagedError: it is not a checkpoint, not whole, or not as it was written.
    """
    try:
        data = memoryview(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError("There is no such checkpoint", where=path) from error
    except OSError as error:
        raise InputError(f"The checkpoint cannot be read: {error.strerror}", where=path) from error
    if len(data) < HEADER_BYTES or bytes(data[:len(MAGIC)]) != MAGIC:
        raise DamagedError("This is not a checkpoint, or its beginning is damaged", where=path)
    _, version, text_bytes, body_bytes = _LENGTHS.unpack_from(data)
    if HEADER_BYTES + text_bytes + body_bytes != len(data):
        raise DamagedError(f"The checkpoint is not whole: it has {len(data)} bytes and its header says "
                           f"{HEADER_BYTES + text_bytes + body_bytes}", where=path)
    (crc,) = _CRC.unpack_from(data, _LENGTHS.size)
    if zlib.crc32(data[HEADER_BYTES:], zlib.crc32(data[:_LENGTHS.size])) != crc:
        raise DamagedError("The checkpoint's checksum does not match: it is damaged", where=path)
    if version != VERSION:
        raise DamagedError(f"The checkpoint has format {version}; this version reads {VERSION}", where=path)
    try:
        skeleton = json.loads(bytes(data[HEADER_BYTES:HEADER_BYTES + text_bytes]))
        # Cloned: what safetensors gives lies in the file's bytes, at whatever alignment.
        tensors = safetensors.torch.load(bytes(data[HEADER_BYTES + text_bytes:]))
        state: dict[str, Any] = unflatten(skeleton, {name: tensor.clone() for name, tensor in tensors.items()})
    except (ValueError, KeyError, SafetensorError) as error:
        raise DamagedError(f"The checkpoint holds something unexpected: {error}", where=path) from error
    return state


def estimate_bytes(state: dict[str, Any]) -> int:
    """About how large a checkpoint of ``state`` will be."""
    skeleton, tensors = flatten(state)
    return sum(tensor.nbytes for tensor in tensors.values()) + len(json.dumps(skeleton)) + 1024


class CheckpointFolder:
    """The checkpoints of one fit. One process at a time may hold it.

    ``step-000000120.ckpt`` was written within an epoch, ``step-000000160-epoch-0004.ckpt`` as the last act of the
    fourth. Of all but the last ``keep`` only each ``every``-th epoch's is left in place.

    Raises:
        BusyError: another process trains into the folder.
    """

    def __init__(self, folder: Path, *, keep: int, every: int, report: Callable[[str], None]) -> None:
        self.folder, self._keep, self._every, self._report = folder, keep, every, report
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = ExitStack()
        self._take_lock()
        for left in folder.glob(".step-*.part*"):  # of a process that was killed while writing
            left.unlink()

    def _take_lock(self) -> None:
        mine, _ = self._lock.enter_context(lock_file(self.folder / "lock"))
        if not mine:
            self._lock.close()
            raise BusyError("Another process is training into this folder", where=self.folder,
                            fix="Wait for it, stop it, or choose another folder")

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock.close()

    def paths(self) -> list[Path]:
        """All checkpoints, oldest first."""
        return sorted((path for path in self.folder.glob("step-*.ckpt") if _NAME.fullmatch(path.name)), key=_age)

    def latest(self) -> Path | None:
        """The newest checkpoint that is as it was written; damaged ones are reported and put aside.

        Raises:
            InputError: there are checkpoints, and all are damaged.
        """
        damaged: list[Path] = []
        for path in reversed(self.paths()):
            try:
                read_checkpoint(path)
            except DamagedError as error:
                self._report(f"{error} Looking at the one before it.")
                damaged.append(path)
                continue
            for bad in damaged:
                bad.rename(bad.with_suffix(".damaged"))
            return path
        if damaged:
            raise InputError(f"All {len(damaged)} checkpoints are damaged", where=self.folder,
                             fix="Train again in another folder")
        return None

    def forget_after(self, path: Path | None) -> None:
        """Remove the checkpoints that are newer than ``path``: training is about to pass through them again."""
        for newer in self.paths():
            if path is None or _age(newer) > _age(path):
                newer.unlink()

    def save(self, state: dict[str, Any], step: int, epoch: int | None) -> Path:
        """Write a checkpoint after ``step`` steps (``epoch``: finished epochs, at an epoch's end) and tidy up."""
        ending = "" if epoch is None else f"-epoch-{epoch:04d}"
        path = self.folder / f"step-{step:09d}{ending}.ckpt"
        write_checkpoint(path, state)
        for old in self.paths()[:-self._keep]:
            epoch_of = _age(old)[1]
            if not (self._every and epoch_of and epoch_of % self._every == 0):
                old.unlink()
        return path

    def check_space(self, state: dict[str, Any], epochs: int) -> None:
        """Refuse to begin what the disk cannot hold.

        Raises:
            FailureError: there is less space than the checkpoints to be kept will take.
        """
        files = self._keep + 2 + (epochs // self._every if self._every else 0)
        there = sum(path.stat().st_size for path in self.paths())
        needed = (estimate_bytes(state) * files - there) / 2**30
        free = free_gib(self.folder)
        if needed > free:
            raise FailureError(f"The checkpoints of this run will take about {needed:.2f} GiB, and {free:.2f} GiB are "
                               "free", where=self.folder, fix="Free some space, or set train.keep or "
                               "train.checkpoint_every so that fewer are kept")


def _age(path: Path) -> tuple[int, int]:
    match = _NAME.fullmatch(path.name)
    return (int(match[1]), int(match[2] or 0)) if match else (-1, 0)
