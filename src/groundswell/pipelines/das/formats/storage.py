"""das: how an array lies in its HDF5 file, and why it cannot be read if it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the compression filters that instruments use

from groundswell.core.errors import InputError
from groundswell.core.files import inside
from groundswell.pipelines.das.formats import contents
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
    folder of its file and has the array named.
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
    return "nothing was ever written to it" if dataset.size and not dataset.id.get_storage_size() else ""


def _virtual(dataset: h5py.Dataset, path: Path) -> Storage:
    sources: dict[str, tuple[str, int, int]] = {}
    mapped = 0
    for source in dataset.virtual_sources():
        if "%" in source.file_name or "%" in source.dset_name:
            return Storage("virtual", fault="it is a virtual data set whose sources are named by a pattern, not read")
        mapped += source.vspace.get_select_npoints()
        if source.file_name == ".":
            continue
        try:
            target = inside(path.parent, source.file_name)
        except InputError:
            return Storage("virtual", fault=f"it is a virtual data set with a source outside its folder "
                                            f"('{source.file_name}'), which is not read")
        fault = _source_fault(target, source)
        if fault:
            return Storage("virtual", fault=f"it is a virtual data set whose source '{source.file_name}' {fault}")
        sources[source.file_name] = (source.file_name, *stamp(target))
    if mapped < dataset.size:
        share = 1 - mapped / dataset.size
        return Storage("virtual", fault=f"it is a virtual data set of which {share:.0%} has no source")
    return Storage(f"virtual, {max(1, len(sources))} sources", sources=tuple(sources.values()))


def _source_fault(target: Path, source: Any) -> str:
    if not target.is_file():
        return "is missing"
    try:
        with h5py.File(target, "r", locking="best-effort") as file:
            found = contents.array(file, source.dset_name.strip("/"))
            if found is None:
                return f"has no array '{source.dset_name}'"
            if _too_small(found, source):
                return f"has an array '{source.dset_name}' that is too small"
            if found.is_virtual or found.external:
                return "refers to yet another file"
    except (OSError, KeyError, RuntimeError) as error:
        return f"cannot be opened ({contents.reason_of(error)})"
    return ""


def _too_small(found: h5py.Dataset, source: Any) -> bool:
    wanted = source.src_space
    if wanted.get_select_type() == h5py.h5s.SEL_ALL:  # its own extent is not kept: as many samples as it fills
        return bool(found.size < source.vspace.get_select_npoints())
    return any(last >= size for last, size in zip(wanted.get_select_bounds()[1], found.shape, strict=True))
