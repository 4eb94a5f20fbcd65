"""symae: stores of bags written: all files beside their place first, then renamed into it at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_folder, write_json
from groundswell.pipelines.symae.store_layout import (
    FORMAT,
    NEEDED_TRUTH,
    TRUTH,
    StoreFacts,
    name_of,
    tables_digest,
    truth_shape,
    typed_bags,
    typed_traces,
)

BLOCK = 65536
"""Traces looked at in one go."""


def write_store(path: Path, facts: StoreFacts, traces: pd.DataFrame, bags: pd.DataFrame,
                x: NDArray[Any] | Iterable[NDArray[Any]], truth: Mapping[str, NDArray[Any]] | None, *,
                replace: bool) -> None:
    """Write a store; see :meth:`groundswell.pipelines.symae.store.BagStore.create`."""
    traces = typed_traces(traces)
    bags = typed_bags(bags, traces)
    truth = dict(truth or {})
    _check_truth(truth, len(traces), len(bags), facts.nt)
    refuse_taken(Path(path), replace)
    with atomic_folder(Path(path), replaces="store.json" if replace else "") as folder:
        digest = hashlib.blake2b(tables_digest(facts, traces, bags).encode(), digest_size=16)
        _write_traces(folder / "traces.npy", facts.nt, traces, bags, x, digest)
        traces.to_parquet(folder / "traces.parquet", index=False)
        bags.to_parquet(folder / "bags.parquet", index=False)
        if truth:
            (folder / "truth").mkdir()
        for name in sorted(truth):
            array = np.ascontiguousarray(truth[name], TRUTH[name][2])
            np.save(folder / "truth" / f"{name}.npy", array, allow_pickle=False)
            digest.update(name.encode() + array.tobytes())
        write_json(folder / "store.json", {
            "format": FORMAT, **facts.as_json(), "traces": len(traces), "bags": len(bags), "truth": sorted(truth),
            "tables": tables_digest(facts, traces, bags), "fingerprint": digest.hexdigest()})


def content_digest(folder: Path, tables: str, truth: Iterable[str]) -> str:
    """The fingerprint that the files in ``folder`` have now, hexadecimal."""
    digest = hashlib.blake2b(tables.encode(), digest_size=16)
    x = np.load(folder / "traces.npy", mmap_mode="r", allow_pickle=False)
    for start in range(0, len(x), BLOCK):
        digest.update(np.ascontiguousarray(x[start:start + BLOCK]).tobytes())
    for name in sorted(truth):
        digest.update(name.encode() + np.load(folder / "truth" / f"{name}.npy", allow_pickle=False).tobytes())
    return digest.hexdigest()


def _check_truth(truth: Mapping[str, NDArray[Any]], traces: int, bags: int, nt: int) -> None:
    unknown, lacking = sorted(set(truth) - set(TRUTH)), sorted(set(NEEDED_TRUTH) - set(truth))
    if truth and (unknown or lacking):
        raise InputError(f"Truth has {', '.join(NEEDED_TRUTH)} and may have path and shared; "
                         + (f"unknown: {', '.join(unknown)}" if unknown else f"missing: {', '.join(lacking)}"))
    for name, array in truth.items():
        shape = truth_shape(name, traces, bags, nt)
        if np.shape(array) != shape:
            raise InputError(f"The truth '{name}' has the shape {np.shape(array)}, not {shape}")
        if not np.isfinite(array).all():
            raise InputError(f"The truth '{name}' holds values that are not finite")


def _write_traces(path: Path, nt: int, traces: pd.DataFrame, bags: pd.DataFrame,
                  x: NDArray[Any] | Iterable[NDArray[Any]], digest: Any) -> None:
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32,  # type: ignore[no-untyped-call]
                                    shape=(len(traces), nt))
    done = 0
    for block in _blocks(x):
        if block.ndim != 2 or block.shape[1] != nt or done + len(block) > len(traces):
            raise InputError(f"Traces come as (n, {nt}), {len(traces)} in all; after {done} there came {block.shape}")
        values = np.ascontiguousarray(block, np.float32)
        bad = ~np.isfinite(values).all(axis=1) | ~values.any(axis=1)
        if bad.any():
            row = done + int(np.argmax(bad))
            raise InputError("A trace is zero throughout, or holds values that are not finite",
                             where=f"{name_of(bags, int(traces['bag'].iloc[row]))}/{traces['station'].iloc[row]}")
        out[done:done + len(values)] = values
        digest.update(values.tobytes())
        done += len(values)
    if done != len(traces):
        raise InputError(f"The table has {len(traces)} traces, but waveforms of {done} came")
    out.flush()


def _blocks(x: NDArray[Any] | Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    if isinstance(x, np.ndarray):
        if x.ndim != 2:
            raise InputError(f"Traces come as (traces, samples), not {x.shape}")
        for start in range(0, len(x), BLOCK):
            yield x[start:start + BLOCK]
    else:
        yield from x


def refuse_taken(path: Path, replace: bool) -> bool:
    """Whether a store is at ``path`` that is to be replaced.

    Raises:
        InputError: something else is there, or a store that is not to be replaced.
    """
    taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if taken and not (replace and (path / "store.json").is_file()):
        raise InputError("There is something here already", where=path,
                         fix="Name another folder, or remove this one" if not replace
                         else "It is no store of bags, so it is not replaced; name another folder")
    return taken
