"""das: how an array lies in its HDF5 file, and why it cannot be read if it cannot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the compression filters that instruments use

from groundswell.core.errors import InputError
from groundswell.core.files import inside
from groundswell.pipelines.das.formats import contents
from groundswell.pipelines.das.formats import hdf5_selections as selections
from groundswell.pipelines.das.formats.reading import stamp

_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf",
            32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp", 32015: "zstd", 32026: "blosc2"}


@dataclass(frozen=True)
class Storage:
    """How an array lies in its file: ``text`` for people, ``chunk`` and ``sources`` for the reader, or its fault."""

    text: str
    chunk: tuple[int, ...] | None = None
    sources: tuple[tuple[str, int, int], ...] = ()
    fault: str = ""


def storage(dataset: h5py.Dataset, path: Path) -> Storage:
    """The layout of ``dataset``, and why it cannot be read if it cannot.

    Samples kept in other files (external storage) are not read. A virtual data set is, if every source lies in the
    folder of its file and has the array named, and if together they fill it once and in full.
    """
    creation = dataset.id.get_create_plist()
    layout = creation.get_layout()
    if layout == h5py.h5d.VIRTUAL:
        return _virtual(dataset, path)
    if creation.get_external_count():
        name = creation.get_external(0)[0].decode(errors="replace")
        return Storage("external", fault=f"its samples are stored in another file ('{name}'), which is not read")
    if layout != h5py.h5d.CHUNKED:
        return Storage("compact" if layout == h5py.h5d.COMPACT else "contiguous", fault=_unwritten(dataset))
    codes = [creation.get_filter(index)[0] for index in range(creation.get_nfilters())]
    names = [_FILTERS.get(code, f"filter {code}") for code in codes]
    missing = [name for name, code in zip(names, codes, strict=True) if not h5py.h5z.filter_avail(code)]
    fault = f"it is compressed with {missing[0]}, which this installation cannot undo" if missing else ""
    shown = " ".join(["chunks " + "x".join(map(str, dataset.chunks)), *names])
    return Storage(shown, chunk=tuple(dataset.chunks), fault=fault or _unwritten(dataset))


def _unwritten(dataset: h5py.Dataset) -> str:
    """Which part of ``dataset`` was never written: HDF5 gives its fill value for it, which nobody measured."""
    if not dataset.size:
        return ""
    if not dataset.id.get_storage_size():
        return "nothing was ever written to it"
    if dataset.chunks is None:
        return ""
    chunks = math.prod(-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    missing = chunks - dataset.id.get_num_chunks()
    return f"{missing} of its {chunks} chunks were never written" if missing > 0 else ""


def _virtual(dataset: h5py.Dataset, path: Path) -> Storage:
    sources: dict[str, tuple[str, int, int]] = {}
    mapped: list[tuple[Any, str]] = []  # parts of the data set, and the source of each
    for source in dataset.virtual_sources():
        name = source.file_name
        if "%" in name or "%" in source.dset_name:
            return _refused("whose sources are named by a pattern, not read")
        found = selections.parts(source.vspace)
        if found is None:
            return _refused(f"whose source '{name}' has no fixed length or is mapped sample by sample, not read")
        mapped += [(part, name) for part in found]
        try:
            target = path if name == "." else inside(path.parent, name)
        except InputError:
            return _refused(f"with a source outside its folder ('{name}'), which is not read")
        fault = _source_fault(dataset.file, source) if name == "." else _file_fault(target, source)
        if fault:
            return _refused(f"whose source '{name}' {fault}")
        if name != ".":
            sources[name] = (name, *stamp(target))
    fault = _not_covered(dataset, mapped)
    return _refused(fault) if fault else Storage(f"virtual, {max(1, len(sources))} sources",
                                                 sources=tuple(sources.values()))


def _refused(why: str) -> Storage:
    return Storage("virtual", fault=f"it is a virtual data set {why}")


def _not_covered(dataset: h5py.Dataset, mapped: list[tuple[Any, str]]) -> str:
    """Why the sources do not fill ``dataset`` once and in full.

    Where two fill the same samples, HDF5 does not say which it gives, and counts them twice: it then takes samples that
    have no source for filled and leaves the memory that they are read into as it was.
    """
    found = [part for part, _ in mapped]
    if any(selections.end(axis) > size for part in found for axis, size in zip(part, dataset.shape, strict=True)):
        return "with a source that reaches beyond its end, not read"
    pair = selections.overlapping(found)
    if pair:
        first, second = (mapped[place][1] for place in sorted(pair))
        return f"whose sources '{first}' and '{second}' overlap: which of them counts is not known"
    missing = dataset.size - sum(map(selections.points, found))
    if not missing:
        return ""
    # Rounding must not make a hole of a few samples look like none.
    share = f"{missing / dataset.size:.0%}" if missing >= dataset.size / 100 else "less than 1%"
    return f"of which {share} has no source"


def _file_fault(target: Path, source: Any) -> str:
    if not target.is_file():
        return "is missing"
    try:
        with h5py.File(target, "r", locking="best-effort") as file:
            return _source_fault(file, source)
    except (OSError, KeyError, RuntimeError) as error:
        return f"cannot be opened ({contents.reason_of(error)})"


def _source_fault(file: h5py.File, source: Any) -> str:
    try:
        found = contents.array(file, source.dset_name.strip("/"))
    except (KeyError, ValueError):  # a name that no array can have
        found = None
    if found is None:
        return f"has no array '{source.dset_name}'"
    if _too_small(found, source):
        return f"has an array '{source.dset_name}' that is too small"
    if found.is_virtual or found.external:
        return "refers to yet another file"
    unwritten = _unwritten(found)
    return f"has an array '{source.dset_name}' that was not written in full: {unwritten}" if unwritten else ""


def _too_small(found: h5py.Dataset, source: Any) -> bool:
    wanted = source.src_space
    if wanted.get_select_type() == h5py.h5s.SEL_ALL:  # its own extent is not kept: as many samples as it fills
        return bool(found.size < source.vspace.get_select_npoints())
    return any(last >= size for last, size in zip(wanted.get_select_bounds()[1], found.shape, strict=True))
