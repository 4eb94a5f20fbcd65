"""symae: the store of bags: prepared traces of one event and one pixel side by side, with what is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import read_json
from groundswell.data.table import SampleTable
from groundswell.pipelines.symae.store_layout import (
    MAKE_AGAIN,
    TRUTH,
    StoreFacts,
    name_of,
    read_facts,
    tables_digest,
    truth_shape,
    typed_bags,
    typed_traces,
)
from groundswell.pipelines.symae.store_writing import content_digest, write_store

__all__ = ["BagStore", "StoreFacts"]


class BagStore:
    """A folder of bags. Arrays are memory-mapped when first read; nothing in it is ever unpickled.

    ``store.json`` (facts, sizes, fingerprint), ``traces.npy`` (float32 (traces, nt), rows of a bag side by side),
    ``traces.parquet``, ``bags.parquet``, and where it was simulated one .npy for each kind of truth under ``truth/``.
    It can be pickled, and is opened again where it is unpickled.

    Attributes:
        path: the folder.
        facts: what holds for every trace.
        bags: one row for each bag, columns as in ``store_layout.BAG_COLUMNS``. Not to be changed.
        traces: one row for each trace, columns as in ``store_layout.TRACE_COLUMNS``. Not to be changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError("There is no such store of bags", where=self.path,
                             fix="Make one with 'groundswell symae prepare' or 'groundswell symae simulate'")
        value = read_json(self.path / "store.json")
        self.facts: StoreFacts = read_facts(value, self.path / "store.json")
        self.traces: pd.DataFrame = typed_traces(_read_table(self.path / "traces.parquet"))
        self.bags: pd.DataFrame = typed_bags(_read_table(self.path / "bags.parquet"), self.traces)
        self._tables, self._fingerprint = str(value.get("tables")), str(value.get("fingerprint"))
        if tables_digest(self.facts, self.traces, self.bags) != self._tables:
            raise InputError("The tables of the store do not match its description", where=self.path, fix=MAKE_AGAIN)
        self._truth_names = tuple(str(name) for name in value.get("truth") or ())
        self._start, self._count = (self.bags[name].to_numpy(np.int64) for name in ("start", "count"))
        self._arrays: dict[str, NDArray[Any]] = {}
        for name in ("traces", *self._truth_names):
            self._array(name)

    @classmethod
    def open(cls, path: str | Path) -> BagStore:
        """Open a store, seen to fit itself; :meth:`verify` compares every value besides.

        Raises:
            InputError: missing, damaged, or its files are of different sizes; the message names the file.
        """
        return cls(Path(path))

    @classmethod
    def create(cls, path: str | Path, facts: StoreFacts, traces: pd.DataFrame, bags: pd.DataFrame,
               x: NDArray[Any] | Iterable[NDArray[Any]], truth: Mapping[str, NDArray[Any]] | None = None, *,
               replace: bool = False) -> BagStore:
        """Write a store and open it. It is there whole, or not at all.

        Args:
            path: the folder; new, or empty.
            facts: of every trace.
            traces: a row for each trace, rows of a bag side by side and bags in order; needs ``bag``, ``event``,
                ``pixel`` and should have ``station``; what else of ``TRACE_COLUMNS`` is missing is called unknown.
            bags: a row for each bag, in order; needs ``event`` and ``pixel``; ``start`` and ``count`` are worked out.
            x: float (traces, nt), or an iterable of blocks (k, nt) in that order.
            truth: of a simulated store, by the names and shapes of ``store_layout.TRUTH``.
            replace: put it in the place of a store that is there.

        Raises:
            InputError: something is there already, or tables, waveforms and truth do not fit each other.
            FailureError: the disk is full.
        """
        write_store(Path(path), facts, traces, bags, x, truth, replace=replace)
        return cls(Path(path))

    def __len__(self) -> int:
        return len(self.bags)

    @property
    def has_truth(self) -> bool:
        """Whether sources, shifts, polarities and noise-free traces are known."""
        return bool(self._truth_names)

    @property
    def simulated(self) -> bool:
        """Whether the waveforms are simulated: by its note, or because there is truth."""
        return bool(self.facts.note.get("simulated")) or self.has_truth

    @property
    def truths(self) -> tuple[str, ...]:
        """Names of the arrays of truth."""
        return self._truth_names

    def read(self, bag: int) -> NDArray[np.float32]:
        """Traces of a bag, float32 (count, nt); a copy.

        Raises:
            InputError: there is no such bag.
        """
        return np.array(self._array("traces")[self._rows(bag)], np.float32)

    def truth(self, name: str, bag: int) -> NDArray[Any]:
        """Truth of a bag; a copy. ``source`` (nt,), ``shared`` (), the others (count,) or (count, nt).

        Raises:
            InputError: there is no such truth, or no such bag.
        """
        if name not in self._truth_names:
            known = ", ".join(self._truth_names) or "none; its traces are not simulated"
            raise InputError(f"The store knows no true '{name}'", where=self.path, fix=f"It knows: {known}")
        rows = self._rows(bag)
        return np.array(self._array(name)[bag if TRUTH[name][0] == "bag" else rows])

    def fingerprint(self) -> str:
        """Digest of the time axis, the tables, waveforms and truth, hexadecimal; free facts do not count."""
        return self._fingerprint

    def verify(self) -> None:
        """Read every value and compare with the fingerprint.

        Raises:
            InputError: something was changed after it was written.
        """
        if content_digest(self.path, self._tables, self._truth_names) != self._fingerprint:
            raise InputError("The store's content does not match its fingerprint", where=self.path, fix=MAKE_AGAIN)

    def bag_of(self, event: str, pixel: int) -> int:
        """Number of the bag of an event and a pixel.

        Raises:
            InputError: there is none; the message names the events, or the event's pixels, that there are.
        """
        of_event = self.bags[self.bags["event"] == event]
        if of_event.empty:
            events = list(dict.fromkeys(self.bags["event"]))
            more = f" and {len(events) - 20} more" if len(events) > 20 else ""
            raise InputError(f"There is no event '{event}'", where=self.path,
                             fix=f"The events are: {', '.join(events[:20])}{more}")
        found = of_event[of_event["pixel"] == int(pixel)]
        if found.empty:
            raise InputError(f"The event '{event}' has no bag of pixel {pixel}", where=self.path,
                             fix=f"It has the pixels {', '.join(str(p) for p in of_event['pixel'])}")
        return int(found["bag"].iloc[0])

    def table(self) -> SampleTable:
        """A sample table of one row for each bag, in order; the group is the event, so whole events are held out."""
        bags = self.bags
        frame = pd.DataFrame({
            "sample_id": [name_of(bags, bag) for bag in range(len(bags))], "record": bags["event"],
            "label": pd.array([None] * len(bags), "Int64"), "group": bags["event"],
            **{name: bags[name] for name in ("time", "latitude", "longitude", "bag", "pixel", "count")},
            "world": bags["world"].astype("str")})
        origin: dict[str, Any] = {"store": self._fingerprint, **({"simulated": True} if self.simulated else {})}
        return SampleTable(frame, (), pipeline="symae", origin=origin)

    def _rows(self, bag: int) -> slice:
        if not 0 <= bag < len(self.bags):
            raise InputError(f"There is no bag {bag}", where=self.path, fix=f"Bags count from 0 to {len(self) - 1}")
        start = int(self._start[bag])
        return slice(start, start + int(self._count[bag]))

    def _array(self, name: str) -> NDArray[Any]:
        """A memory map of an array, seen to have its shape."""
        if name not in self._arrays:
            if name != "traces" and name not in TRUTH:
                raise InputError(f"The store names a truth '{name}', which there is none of", where=self.path,
                                 fix=MAKE_AGAIN)
            path = self.path / ("traces.npy" if name == "traces" else f"truth/{name}.npy")
            traces, bags, nt = len(self.traces), len(self.bags), self.facts.nt
            shape = (traces, nt) if name == "traces" else truth_shape(name, traces, bags, nt)
            self._arrays[name] = _map(path, shape, np.dtype(np.float32 if name == "traces" else TRUTH[name][2]))
        return self._arrays[name]

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]


def _map(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError("A file of the store is missing", where=path, fix=MAKE_AGAIN) from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"A file of the store cannot be read: {error}", where=path, fix=MAKE_AGAIN) from error
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "no array"
        raise InputError(f"A file of the store holds {found}, not {dtype} {shape}", where=path, fix=MAKE_AGAIN)
    return array


def _read_table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except FileNotFoundError as error:
        raise InputError("A file of the store is missing", where=path, fix=MAKE_AGAIN) from error
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"A file of the store cannot be read: {error}", where=path, fix=MAKE_AGAIN) from error
