"""train: logs of a fit: CSV files that resuming cuts back to the byte, and TensorBoard beside them."""

from __future__ import annotations

import errno
import json
import math
import os
import time
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from groundswell.core.errors import InputError


def check_logs(folder: Path, lengths: Mapping[str, int], checksums: Mapping[str, int]) -> None:
    """See that the logs in ``folder`` are as long as a checkpoint says, or longer, and that it was these lines.

    Args:
        folder: of the logs.
        lengths: in bytes, by name.
        checksums: of so many bytes, as :meth:`RunLogs.checksums` gave them; of earlier checkpoints there are none.

    Raises:
        InputError: one is shorter, or was changed.
    """
    for name, length in lengths.items():
        _checked(folder / name, length)
        if name in checksums and _crc_of(folder / name, length) != checksums[name]:
            raise InputError("The log is not as it was when the checkpoint was written: it was changed or damaged",
                             where=folder / name, fix="Put the log back as it was, or train again in another folder")


def _crc_of(path: Path, length: int) -> int:
    """crc32 of the first ``length`` bytes of a file that has as many."""
    crc = 0
    if length:
        with open(path, "rb") as file:
            while part := file.read(min(length, _PIECE)):
                crc, length = zlib.crc32(part, crc), length - len(part)
    return crc


def _checked(path: Path, length: int) -> int:
    there = path.stat().st_size if path.exists() else 0
    if there < length:
        raise InputError(f"The log has {there} bytes, but the checkpoint was written when it had {length}",
                         where=path, fix="Put the log back as it was, or train again in another folder")
    return there


_PIECE = 2**20
_TIMING = ("epoch", "finished", "samples", "train_s", "validation_s", "samples_per_s")


class _TextLog:
    """A file that grows by whole lines and can be cut back to an earlier length; not there before its first line.

    Args:
        path: the file.
        length: bytes of it that stay; everything after them is cut off.

    Raises:
        InputError: the file is shorter than that.
    """

    def __init__(self, path: Path, length: int = 0) -> None:
        self._path = path
        self._file: FileIO | None = None
        there = _checked(path, length)
        if there and not length:
            path.unlink()
        elif there > length:
            os.truncate(path, length)
        self.crc32 = _crc_of(path, length)
        """Of all that is in it."""

    def _open(self) -> FileIO:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: a line is in the file when it is written, and closing has nothing left to fail at.
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 - closed by close
        return self._file

    def _append(self, line: str) -> None:
        data = f"{line}\n".encode()
        if self._open().write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        self.crc32 = zlib.crc32(data, self.crc32)

    def sync(self) -> int:
        """Bring what was written to the disk; the length in bytes."""
        if self._file is not None:
            os.fsync(self._file.fileno())
        return self._path.stat().st_size if self._path.exists() else 0

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class CsvLog(_TextLog):
    """A CSV file, there from the start: its first row names the columns. Arguments and errors as for every log."""

    def __init__(self, path: Path, length: int = 0) -> None:
        super().__init__(path, length)
        self._open()
        with open(path, encoding="utf-8", errors="replace") as file:
            self._columns = file.readline().rstrip("\n").split(",") if length else []

    def write(self, row: Mapping[str, float | int | str]) -> None:
        """Append a row; the first one of a file names the columns."""
        if not self._columns:
            self._columns = list(row)
            self._append(",".join(self._columns))
        if set(self._columns) != set(row):
            raise InputError("The log's first row does not name what is to be written", where=self._path,
                             fix="Put the log back as it was, or train again in another folder")
        # repr gives the shortest text that reads back as the same float: equal numbers, equal bytes.
        self._append(",".join(_text(row[name]) for name in self._columns))


class LineLog(_TextLog):
    """A file of JSON lines, for what most fits have nothing of. Arguments and errors as for every log."""

    def lines(self) -> list[dict[str, Any]]:
        """What is in it."""
        data = self._path.read_bytes() if self._path.exists() else b""
        return [json.loads(line) for line in data.splitlines()]

    def write(self, line: Mapping[str, Any]) -> None:
        """Append a line."""
        # As ASCII: a path may hold characters that end lines elsewhere, or that are none.
        self._append(json.dumps(line))


def _text(value: float | int | str) -> str:
    return repr(float(value)) if isinstance(value, float) else str(value)


def _length_of_rows(path: Path, rows: int) -> int:
    """Bytes of the header and the first ``rows`` rows, or of what is there of them."""
    if not rows or not path.exists():
        return 0
    with open(path, "rb") as file:
        if file.readline() != f"{','.join(_TIMING)}\n".encode():
            return 0  # what the clock knew is lost, and nothing else
        file.seek(0)
        return sum(len(line) for _, line in zip(range(rows + 1), file, strict=False) if line.endswith(b"\n"))


class RunLogs:
    """The logs of one fit: nothing in them depends on the clock, but for ``timing.csv``.

    ``epochs.csv`` and ``steps.csv`` have a row for each; ``quarantine.jsonl`` names samples that were skipped, and
    ``setbacks.jsonl`` says when the fit went back to a checkpoint: most fits have neither of these two.

    Args:
        folder: where they lie.
        lengths: of these, in bytes, as a checkpoint kept them; None begins anew.
        epochs: finished ones, for the timing.
        step: finished steps, for TensorBoard.
        tensorboard: write its files too.
    """

    def __init__(self, folder: Path, lengths: Mapping[str, int] | None, *, epochs: int, step: int,
                 tensorboard: bool) -> None:
        lengths = lengths or {}  # checkpoints of earlier versions know the first two only
        self._csv = {name: CsvLog(folder / name, lengths.get(name, 0)) for name in ("epochs.csv", "steps.csv")}
        self.quarantine, self.setbacks = (LineLog(folder / name, lengths.get(name, 0))
                                          for name in ("quarantine.jsonl", "setbacks.jsonl"))
        timing = folder / "timing.csv"
        self._timing = CsvLog(timing, _length_of_rows(timing, epochs))
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            # TensorBoard drops what earlier files hold from this step on.
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def step(self, row: Mapping[str, float | int | str]) -> None:
        """An optimiser step: ``epoch``, ``step``, ``loss``, ``gradient_norm``, ``learning_rate``, ``rows_crc32``."""
        self._csv["steps.csv"].write(row)
        if self._board is not None:
            for name in ("loss", "gradient_norm", "learning_rate"):
                if math.isfinite(float(row[name])):  # a step that was left out has neither loss nor gradient
                    self._board.add_scalar(f"step/{name}", row[name], row["step"])

    def epoch(self, epoch: int, step: int, rate: float, metrics: Mapping[str, float]) -> None:
        """The end of an epoch (counted from 1): learning rate of its last step, ``train_`` and ``val_`` metrics."""
        self._csv["epochs.csv"].write({"epoch": epoch, "step": step, "learning_rate": rate, **metrics})
        if self._board is not None:
            for name, value in metrics.items():
                part, _, metric = name.partition("_")
                self._board.add_scalar(f"{metric}/{'validation' if part == 'val' else part}", value, step)
            self._board.add_scalar("learning_rate", rate, step)

    def timing(self, epoch: int, step: int, samples: float, train_s: float, validation_s: float) -> None:
        """How long an epoch took; after resuming within one, only what was done since is counted."""
        throughput = samples / train_s if train_s > 0 else 0.0
        finished = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
        values = (epoch, finished, samples, train_s, validation_s, throughput)
        self._timing.write(dict(zip(_TIMING, values, strict=True)))
        if self._board is not None:
            self._board.add_scalar("samples_per_s", throughput, step)

    def sync(self) -> dict[str, int]:
        """Bring everything to the disk; what a checkpoint keeps."""
        self._timing.sync()
        if self._board is not None:
            self._board.flush()
        return {name: log.sync() for name, log in self._kept().items()}

    def checksums(self) -> dict[str, int]:
        """crc32 of what :meth:`sync` gave the lengths of."""
        return {name: log.crc32 for name, log in self._kept().items()}

    def close(self) -> None:
        """Close all files."""
        for log in (*self._kept().values(), self._timing):
            log.close()
        if self._board is not None:
            self._board.close()

    def _kept(self) -> dict[str, CsvLog | LineLog]:
        return {**self._csv, "quarantine.jsonl": self.quarantine, "setbacks.jsonl": self.setbacks}
