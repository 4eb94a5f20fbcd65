"""symae: bags read straight into the loader's buffers, as many traces wide as is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.order import permutations
from groundswell.data.source import Field
from groundswell.data.table import SampleTable
from groundswell.pipelines.symae.store import BagStore
from groundswell.pipelines.symae.store_layout import name_of

Stations = Literal["all", "kept", "held_out"]


class BagSource:
    """Delivers bags of a store as (traces, samples), filled up with zeros.

    Fields of a sample, with T = ``most_traces`` and n samples in a trace, all float32 but the mask: ``x`` (T, n);
    ``mask`` (T,) bool, False where a trace is filling; ``labelled`` (), 1 where the truth is known; and the truth, zero
    where it is not known: ``source`` (n,), ``clean`` (T, n), ``shift`` (T,) in samples (positive: late), ``flip`` (T,).

    Of a bag with more than T traces come the first T of a permutation that depends on its event and pixel alone.
    Several threads may read at once; it can be pickled.

    Args:
        store: the bags.
        table: rows of the store's own table, or some of them (column ``bag``).
        most_traces: T.
        stations: all traces, or only those that are not (or are) marked ``held_out``.

    Raises:
        InputError: the table is of another store, or a bag has no such trace.
    """

    def __init__(self, store: BagStore, table: SampleTable, *, most_traces: int, stations: Stations = "all") -> None:
        if most_traces < 1:
            raise ValueError("a bag is at least one trace wide")
        self._store, self._most, self._stations = store, most_traces, stations
        self._bags = table.column("bag").to_numpy(np.int64)
        if len(self._bags) and not 0 <= self._bags.min() <= self._bags.max() < len(store):
            raise InputError(f"The table names the bag {int(self._bags.max())}, but the store has {len(store)}",
                             where=store.path, fix="The table belongs to another store; make it again")
        self._chosen = {bag: self._choose(bag) for bag in np.unique(self._bags).tolist()}

    def _choose(self, bag: int) -> NDArray[np.int64]:
        """Positions within a bag that are read, ascending."""
        row = self._store.bags.iloc[bag]
        start, count = int(row["start"]), int(row["count"])
        held_out = self._store.traces["held_out"].to_numpy(bool)[start:start + count]
        places = np.flatnonzero({"all": np.ones(count, bool), "kept": ~held_out, "held_out": held_out}[self._stations])
        if not len(places):
            raise InputError(f"No trace of the bag is {self._stations.replace('_', ' ')}",
                             where=name_of(self._store.bags, bag), fix="Prepare the store with other stations_out")
        if len(places) > self._most:
            order = permutations(len(places), 0, 1, "traces of a bag", name_of(self._store.bags, bag))[0]
            places = np.sort(places[order[:self._most]])
        return places.astype(np.int64)

    @property
    def fields(self) -> Mapping[str, Field]:
        """See the class."""
        traces, samples = self._most, self._store.facts.nt
        shapes = {"x": (traces, samples), "source": (samples,), "clean": (traces, samples), "shift": (traces,),
                  "flip": (traces,), "labelled": ()}
        return {"mask": Field((traces,), np.bool_), **{n: Field(s, np.float32) for n, s in shapes.items()}}

    def __len__(self) -> int:
        return len(self._bags)

    def bag(self, row: int) -> int:
        """Which bag of the store a row is."""
        return int(self._bags[row])

    def places(self, row: int) -> NDArray[np.int64]:
        """Which traces of its bag a row delivers, int64 positions within the bag, in the order of delivery."""
        return self._chosen[int(self._bags[row])].copy()

    def read(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> None:
        """See :class:`groundswell.data.source.Source` and the class."""
        store = self._store
        for name in out:
            if name not in ("x", "labelled"):
                out[name][...] = 0
        out["labelled"][...] = store.has_truth
        for i, bag in enumerate(self._bags[np.asarray(rows, np.int64)].tolist()):
            places = self._chosen[bag]
            count = len(places)
            out["x"][i, :count] = store.read(bag)[places]
            out["x"][i, count:] = 0
            out["mask"][i, :count] = True
            if store.has_truth:
                out["source"][i] = store.truth("source", bag)
                out["clean"][i, :count] = store.truth("clean", bag)[places]
                out["shift"][i, :count] = store.truth("shift", bag)[places] / store.facts.dt
                out["flip"][i, :count] = store.truth("flip", bag)[places]

    def close(self) -> None:
        """Nothing is held open but the store's memory maps, which it keeps."""
