"""geomag: the folder layout of windowed magnetometer data, read row by row and written atomically.

``ROOT/window-7/data_0.npy`` holds the windows of class 0, ``data_1.npy`` those of class 1: two-dimensional, one row a
window, a value a minute and the label in the last column. Beside them may lie ``samples.csv`` (or ``.parquet``), which
says where and when each window was measured; ``placebo_{0,1}.npy``, the same samples cut from an earlier time; and
``origin.json``, free facts about how all this came to be.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import read_json, write_json, write_text

WINDOW_DAYS = (7, 14, 30)
MINUTES_A_DAY = 1440
CLASSES = ("control", "before_event")
"""Names of the labels 0 and 1."""
SIDECAR = ("event_id", "station", "start_time", "latitude", "longitude")
_BLOCK_BYTES = 16 << 20  # read at once while values are looked at


def window_name(days: int) -> str:
    """``7day`` for 7: how result files call a window length."""
    return f"{days}day"


def window_folder(root: Path, days: int) -> Path:
    """``ROOT/window-7`` for 7."""
    return Path(root) / f"window-{days}"


def check_days(days: int) -> int:
    """``days``, if it is a window length there is.

    Raises:
        InputError: it is not.
    """
    if days not in WINDOW_DAYS:
        raise InputError(f"There is no window of {days} days", where="data.window",
                         fix=f"Known windows: {', '.join(map(str, WINDOW_DAYS))} days")
    return days


@dataclass(frozen=True)
class ClassFile:
    """One ``.npy`` file of windows, without an open handle.

    Attributes:
        path: of the file.
        label: that its rows must have.
        rows: windows in it.
        columns: values of a row, the label included.
        dtype: of the values, as numpy writes it.
        offset: bytes before the first value.
        by_rows: whether a row lies in one piece (C order).
        size_bytes, modified_ns: of the file when it was looked at.
    """

    path: str
    label: int
    rows: int
    columns: int
    dtype: str
    offset: int
    by_rows: bool
    size_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path, label: int, columns: int) -> ClassFile:
        """Look at a file's header.

        Raises:
            InputError: missing, no array, not two-dimensional, not of numbers, or of another width.
        """
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise InputError("There is no such file of windows", where=path,
                             fix="The layout is window-7/data_0.npy and window-7/data_1.npy, and so for 14 and 30; "
                                 "'groundswell geomag build' and 'groundswell geomag simulate' write it") from error
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"This is not an array file that can be read ({error})", where=path,
                             fix="Save it with numpy.save, as plain numbers and not as objects") from error
        if not isinstance(array, np.memmap) or array.ndim != 2 or array.dtype.kind not in "fiu":
            kind = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else "an archive of arrays"
            raise InputError(f"Windows must be a two-dimensional array of numbers, and this is {kind}", where=path,
                             fix="Write one row a window: a value a minute, then the label")
        if array.shape[1] != columns:
            days = (columns - 1) // MINUTES_A_DAY
            raise InputError(f"Rows have {array.shape[1]} columns; a window of {days} days has {columns}: {columns - 1}"
                             " minutes and the label", where=path,
                             fix="Look at whether the file lies in the folder of its own window length and has its "
                                 "labels in the last column")
        stat = path.stat()
        return cls(str(path), label, array.shape[0], columns, array.dtype.str, int(array.offset),
                   bool(array.flags.c_contiguous), stat.st_size, stat.st_mtime_ns)

    def map(self) -> NDArray[Any]:
        """The whole file, mapped and not read; shape (rows, columns)."""
        mapped: NDArray[Any] = np.memmap(self.path, np.dtype(self.dtype), "r", self.offset, (self.rows, self.columns),
                                         "C" if self.by_rows else "F")
        return mapped

    def block(self, start: int, stop: int) -> NDArray[Any]:
        """Whole rows, labels included, shape (stop - start, columns), by a plain read: no page of the file is held.

        Raises:
            InputError: the file cannot be read, or ends too early.
        """
        if not self.by_rows:
            return np.array(self.map()[start:stop], order="C")
        dtype = np.dtype(self.dtype)
        try:
            values = np.fromfile(self.path, dtype, (stop - start) * self.columns,
                                 offset=self.offset + start * self.columns * dtype.itemsize)
        except OSError as error:
            raise InputError(f"The windows cannot be read: {error.strerror}", where=self.path) from error
        if len(values) != (stop - start) * self.columns:
            raise InputError("The file of windows ends too early", where=self.path, fix="Write it again")
        return values.reshape(stop - start, self.columns)

    def check_unchanged(self) -> None:
        """See that the file is the one that was looked at.

        Raises:
            InputError: it is gone or has changed.
        """
        path = Path(self.path)
        try:
            stat = path.stat()
        except OSError as error:
            raise InputError("The file of windows is gone", where=path, fix="Put it back, or train anew") from error
        if (stat.st_size, stat.st_mtime_ns) != (self.size_bytes, self.modified_ns):
            raise InputError("The file of windows has changed since the run was begun", where=path,
                             fix="Put the old one back, or train anew in another folder")


@dataclass(frozen=True)
class Layout:
    """The windows of one length in a folder.

    Attributes:
        folder: ``ROOT/window-7``.
        days: length of a window.
        files: of class 0 and of class 1.
        placebo: the same from an earlier time, or none.
        sidecar: one row a sample, in the order of class 0's rows, then class 1's; or ``None``.
        origin: facts of ``origin.json``.
    """

    folder: Path
    days: int
    files: tuple[ClassFile, ...]
    placebo: tuple[ClassFile, ...]
    sidecar: pd.DataFrame | None
    origin: dict[str, Any]

    @property
    def minutes(self) -> int:
        """Values of a window."""
        return self.days * MINUTES_A_DAY

    def labels(self) -> NDArray[np.int64]:
        """Class of each sample, int64, shape (samples,)."""
        return np.repeat(np.array([f.label for f in self.files], np.int64), [f.rows for f in self.files])

    def read(self, rows: NDArray[np.int64], *, placebo: bool = False) -> NDArray[np.float32]:
        """The windows at ``rows`` (positions among all samples), float32, shape (rows, minutes)."""
        files = self.placebo if placebo else self.files
        out = np.empty((len(rows), self.minutes), np.float32)
        read_windows(files, rows, out)
        return out

    def facts(self) -> list[dict[str, Any]]:
        """The files as JSON-able facts: what a run keeps to find its windows again."""
        return [{**asdict(f), "placebo": False} for f in self.files] + [{**asdict(f), "placebo": True}
                                                                         for f in self.placebo]


def files_of(facts: Sequence[Mapping[str, Any]], *, placebo: bool = False) -> tuple[ClassFile, ...]:
    """The files that :meth:`Layout.facts` spoke of."""
    return tuple(ClassFile(**{k: v for k, v in fact.items() if k != "placebo"})
                 for fact in facts if fact["placebo"] == placebo)


def read_windows(files: Sequence[ClassFile], rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
    """Read windows into ``out``, shape (rows, minutes), by plain reads: pages of the files are not held.

    Args:
        files: in order; positions count through all of them.
        rows: positions.
        out: float32; every element is filled.

    Raises:
        InputError: a row is outside the files, or a file cannot be read.
    """
    first = np.concatenate([[0], np.cumsum([f.rows for f in files])])
    if len(rows) and (rows.min() < 0 or rows.max() >= first[-1]):
        raise InputError(f"Row {int(rows.max())} is outside {int(first[-1])} windows")
    which = np.searchsorted(first, rows, side="right") - 1
    for k in np.unique(which):
        file, chosen = files[k], np.flatnonzero(which == k)
        _read_file(file, rows[chosen] - first[k], chosen, out)


def _read_file(file: ClassFile, rows: NDArray[np.int64], places: NDArray[np.intp], out: NDArray[np.float32]) -> None:
    dtype, minutes = np.dtype(file.dtype), file.columns - 1
    if not file.by_rows:
        out[places] = file.map()[rows, :minutes]
        return
    straight = dtype == np.dtype("<f4") and out.flags.c_contiguous
    buffer = None if straight else np.empty(minutes, dtype)
    try:
        with open(file.path, "rb", buffering=0) as handle:
            for row, place in zip(rows.tolist(), places.tolist(), strict=True):
                target: NDArray[Any] = out[place] if buffer is None else buffer
                start = file.offset + row * file.columns * dtype.itemsize
                if os.preadv(handle.fileno(), [target.data.cast("B")], start) != minutes * dtype.itemsize:
                    raise InputError("The file of windows ends too early", where=file.path, fix="Write it again")
                if buffer is not None:
                    out[place] = buffer
    except OSError as error:
        raise InputError(f"The windows cannot be read: {error.strerror}", where=file.path) from error


def read_layout(root: Path, days: int, *, values: bool = True) -> Layout:
    """Look at the windows of one length and check them.

    Args:
        root: folder that holds ``window-7`` and so on.
        days: 7, 14 or 30.
        values: also read every value, to see that all are finite and every label is that of its file.

    Raises:
        InputError: an unknown length, missing or damaged files, a wrong shape, labels that are not 0 and 1, values
            that are not finite, an empty class, or a sidecar that does not go with the files.
    """
    folder = window_folder(root, check_days(days))
    columns = days * MINUTES_A_DAY + 1
    files = tuple(ClassFile.of(folder / f"data_{label}.npy", label, columns) for label in (0, 1))
    for file in files:
        if not file.rows:
            raise InputError(f"There is only one class: the file of class {file.label} has no windows", where=file.path,
                             fix="Add windows of that class")
        if values:
            check_values(file)
    placebo = tuple(ClassFile.of(folder / f"placebo_{label}.npy", label, columns) for label in (0, 1)
                    if (folder / f"placebo_{label}.npy").exists())
    if placebo and [f.rows for f in placebo] != [f.rows for f in files]:
        raise InputError("The placebo files have other numbers of rows than the windows they belong to", where=folder,
                         fix="Build them together, or remove them")
    origin = read_json(folder / "origin.json") if (folder / "origin.json").exists() else {}
    return Layout(folder, days, files, placebo, read_sidecar(folder, [f.rows for f in files]), origin)


def check_values(file: ClassFile) -> None:
    """See that every value is finite and every label is the file's.

    Raises:
        InputError: not so; the message names the first row.
    """
    step = max(1, _BLOCK_BYTES // (file.columns * np.dtype(file.dtype).itemsize))
    for start in range(0, file.rows, step):
        block = file.block(start, min(start + step, file.rows))
        # A sum is not finite if any term is not, and is many times cheaper than asking each.
        with np.errstate(invalid="ignore", over="ignore"):
            suspect = ~np.isfinite(block.sum(axis=1, dtype=np.float64))
        bad = np.flatnonzero(suspect)
        if len(bad):
            row = block[bad[0], :-1]
            count = int((~np.isfinite(row)).sum())
            raise InputError(f"{len(bad)} window(s) hold values that are not finite, the first {count} of them",
                             where=f"{file.path}, row {start + int(bad[0])}",
                             fix="Fill or drop such windows first; 'groundswell geomag build' fills short gaps and "
                                 "counts what it drops")
        wrong = np.flatnonzero(block[:, -1] != file.label)
        if len(wrong):
            found = float(block[wrong[0], -1])
            known = found in (0.0, 1.0)
            raise InputError(f"The label is {found:g}; in this file every label must be {file.label}" if known else
                             f"The label is {found:g}; labels must be 0 or 1, in the last column",
                             where=f"{file.path}, row {start + int(wrong[0])}",
                             fix="Keep each class in its own file" if known else
                             "Put the label, a whole number, into the last column")


def read_sidecar(folder: Path, rows: Sequence[int]) -> pd.DataFrame | None:
    """The sidecar of a window folder in the order of the files' rows, or ``None`` if there is none.

    Raises:
        InputError: unreadable, a column is missing, or its rows are not the files'.
    """
    paths = [folder / name for name in ("samples.parquet", "samples.csv") if (folder / name).exists()]
    if not paths:
        return None
    path = paths[0]
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(
            path, dtype={"event_id": str, "station": str})
    except (OSError, ValueError) as error:
        raise InputError(f"The sidecar table cannot be read: {error}", where=path) from error
    lacking = [name for name in ("label", "row", *SIDECAR) if name not in frame.columns]
    if lacking:
        raise InputError(f"The sidecar table lacks the column(s) {', '.join(lacking)}", where=path,
                         fix="Give one row a sample: label (which file), row (in that file), event_id, station, "
                             "start_time, latitude, longitude")
    expected = pd.MultiIndex.from_arrays([np.repeat([0, 1], rows), np.concatenate([np.arange(n) for n in rows])])
    found = pd.MultiIndex.from_frame(frame[["label", "row"]])
    if len(found) != len(expected) or len(found.symmetric_difference(expected)) or found.has_duplicates:
        raise InputError(f"The sidecar table has {len(found)} rows that do not name each of the {len(expected)} "
                         "windows once", where=path, fix="Its columns label and row must name every row of data_0.npy "
                         "and data_1.npy exactly once")
    frame = frame.set_index(found).reindex(expected).reset_index(drop=True)
    for name in ("event_id", "station", "start_time"):
        empty = frame[name].isna() | (frame[name].astype(str).str.strip() == "")
        if empty.any():
            raise InputError(f"{int(empty.sum())} row(s) of the sidecar table have no {name}",
                             where=f"{path}, label {frame['label'][empty].iloc[0]}, row {frame['row'][empty].iloc[0]}")
    return frame


class WindowWriter:
    """Writes the windows of one length; nothing is seen of them before :meth:`finish`.

    Used as a context manager it removes what it wrote if an error ends it.

    Args:
        root: folder that will hold ``window-7`` and so on.
        days: 7, 14 or 30.
        counts: windows of class 0 and of class 1.
        placebo: also write ``placebo_{0,1}.npy``; rows that are not put stay NaN.

    Raises:
        InputError: such windows are there already, or a class is empty.
    """

    def __init__(self, root: Path, days: int, counts: tuple[int, int], *, placebo: bool = False) -> None:
        self.folder = window_folder(Path(root), check_days(days))
        if self.folder.exists():
            raise InputError("There are windows of this length already", where=self.folder,
                             fix="Choose another folder, or remove these first")
        if min(counts) < 1:
            raise InputError(f"There would be {counts[0]} windows of class 0 and {counts[1]} of class 1; both classes "
                             "are needed", where=self.folder)
        self.days, self.counts = days, counts
        self._part = self.folder.with_name(f".{self.folder.name}.part")
        if self._part.exists():
            shutil.rmtree(self._part)
        self._part.mkdir(parents=True)
        columns = days * MINUTES_A_DAY + 1
        self._data = [self._open(f"data_{k}.npy", n, columns, k) for k, n in enumerate(counts)]
        self._placebo = [self._open(f"placebo_{k}.npy", n, columns, k) for k, n in enumerate(counts)] if placebo else []

    def _open(self, name: str, rows: int, columns: int, label: int) -> NDArray[np.float32]:
        made: NDArray[np.float32] = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
            self._part / name, "w+", np.float32, (rows, columns))
        for start in range(0, rows, 256):
            made[start:start + 256] = np.nan
        made[:, -1] = label
        return made

    def put(self, label: int, row: int, values: NDArray[np.floating]) -> None:
        """Write a window's minutes, shape (minutes,)."""
        self._data[label][row, :-1] = values

    def put_placebo(self, label: int, row: int, values: NDArray[np.floating]) -> None:
        """Write a window's placebo, shape (minutes,)."""
        self._placebo[label][row, :-1] = values

    def finish(self, sidecar: pd.DataFrame | None, facts: Mapping[str, Any], *,
               beside: Mapping[str, str] | None = None) -> Path:
        """Write the sidecar, the facts and other text files (``beside``, by name), then let the folder be seen; its
        path."""
        for array in (*self._data, *self._placebo):
            array.flush()  # type: ignore[attr-defined]
        self._data, self._placebo = [], []
        if sidecar is not None:
            sidecar.to_csv(self._part / "samples.csv", index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
            read_sidecar(self._part, self.counts)
        write_json(self._part / "origin.json", dict(facts))
        for name, text in (beside or {}).items():
            write_text(self._part / name, text)
        self._part.rename(self.folder)
        return self.folder

    def __enter__(self) -> WindowWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._data, self._placebo = [], []
        if self._part.exists():
            shutil.rmtree(self._part)
