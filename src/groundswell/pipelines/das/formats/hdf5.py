"""das: HDF5 files: opened with their faults named, what is in them, how an array is laid out, and its reader."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the compression filters that instruments use
import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import inside
from groundswell.pipelines.das.formats.clock import Clock
from groundswell.pipelines.das.formats.reading import Reader, stamp
from groundswell.pipelines.das.record import AxisOrder, Record

_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf",
            32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32013: "zfp", 32015: "zstd", 32026: "blosc2"}


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file, read-only.

    Raises:
        InputError: not HDF5, truncated, damaged, or being written by another process.
    """
    try:
        file = h5py.File(path, "r", locking="best-effort")
    except OSError as error:
        raise InputError(f"The HDF5 file cannot be opened: {_reason(error)}", where=path,
                         fix="Copy it again from its source, or leave it out") from error
    try:
        with file:
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(f"The HDF5 file is damaged: {_reason(error)}", where=path,
                         fix="Copy it again from its source, or leave it out") from error


def _reason(error: Exception) -> str:
    text = str(error).strip("'\"")
    if "truncated file" in text:
        return "it is truncated; its end is missing"
    if "unable to lock" in text.lower():
        return "another process is writing it"
    inner = text[text.find("(") + 1:text.rfind(")")] if "(" in text and ")" in text else text
    return inner or type(error).__name__


def members(group: h5py.Group) -> Iterator[tuple[str, h5py.HLObject]]:
    """Names and objects of a group that are in this file; links to other places are not followed."""
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            yield name, group[name]


def _child(group: h5py.Group, path: str) -> h5py.HLObject | None:
    node: h5py.HLObject = group
    for name in path.split("/"):
        if not isinstance(node, h5py.Group) or not isinstance(node.get(name, getlink=True), h5py.HardLink):
            return None
        node = node[name]
    return node


def array(group: h5py.Group, path: str) -> h5py.Dataset | None:
    """The data set at ``path`` below ``group``, if it is one and in this file."""
    found = _child(group, path)
    return found if isinstance(found, h5py.Dataset) else None


def subgroup(group: h5py.Group, path: str) -> h5py.Group | None:
    """The group at ``path`` below ``group``, if it is one and in this file."""
    found = _child(group, path)
    return found if isinstance(found, h5py.Group) else None


def two_dimensional(dataset: h5py.Dataset | None) -> bool:
    """Whether there is a data set, of two axes."""
    return dataset is not None and len(dataset.shape or ()) == 2


def value(node: h5py.HLObject, name: str) -> Any:
    """An attribute, or a scalar data set below a group, as a Python or numpy value; ``None`` if it has none."""
    try:
        found = node.attrs.get(name)
        if found is None and isinstance(node, h5py.Group):
            inner = array(node, name)
            if inner is not None and inner.size is not None and inner.size <= 16:
                found = inner[()]
    except (OSError, KeyError, TypeError, ValueError, RuntimeError):
        return None  # an attribute of a type that nobody can read says nothing
    return None if isinstance(found, h5py.Empty) else found


def number(node: h5py.HLObject, *names: str) -> float | None:
    """The first of ``names`` that holds a finite number; an array counts by its first element."""
    for name in names:
        found = np.ravel(np.asarray(value(node, name)))
        if found.size == 0 or found[0] is None:
            continue
        first = found[0].decode(errors="replace") if isinstance(found[0], bytes) else found[0]
        try:
            # The shortest text of a single-precision number is what its writer meant: 0.1, not 0.10000000149.
            as_float = float(str(first)) if isinstance(first, np.float32) else float(first)
        except (TypeError, ValueError):
            continue
        if np.isfinite(as_float):
            return as_float
    return None


def words(node: h5py.HLObject, *names: str) -> list[str]:
    """The first of ``names`` that holds text, as a list; one text with commas or spaces is split."""
    for name in names:
        found = [item.decode(errors="replace") if isinstance(item, bytes) else item
                 for item in np.ravel(np.asarray(value(node, name)))]
        texts = [item.strip() for item in found if isinstance(item, str) and item.strip()]
        if texts:
            return texts[0].replace(",", " ").split() if len(texts) == 1 else texts
    return []


def text(node: h5py.HLObject, *names: str) -> str:
    """The first of ``names`` that holds text; empty if none does, or if it says that nothing is known."""
    for name in names:
        found = np.ravel(np.asarray(value(node, name)))
        if found.size and isinstance(found[0], (bytes, str)):
            shown = found[0].decode(errors="replace") if isinstance(found[0], bytes) else str(found[0])
            if shown.strip() and shown.strip().lower() not in ("nan", "none", "unitless"):
                return shown.strip()
    return ""


def arrays(file: h5py.File) -> list[h5py.Dataset]:
    """Every data set that is in this file, each once; links are not followed."""
    found: list[h5py.Dataset] = []

    def look(_: str, node: h5py.HLObject) -> None:
        if isinstance(node, h5py.Dataset):
            found.append(node)

    file.visititems(look)
    return found


def external_links(file: h5py.File) -> list[tuple[str, str]]:
    """``(path of the link, what it leads to)`` for every link into another file."""
    found: list[tuple[str, str]] = []

    def look(name: str, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink):
            found.append((name, f"{link.filename}:{link.path}"))

    file.visititems_links(look)
    return found


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
        mapped += source.vspace.get_select_npoints()
        if source.file_name == ".":
            continue
        if "%" in source.file_name:
            return Storage("virtual", fault="it is a virtual data set whose sources are named by a pattern, not read")
        try:
            target = inside(path.parent, source.file_name)
        except InputError:
            return Storage("virtual", fault=f"it is a virtual data set with a source outside its folder "
                                            f"('{source.file_name}'), which is not read")
        fault = _source_fault(target, source.dset_name, source.src_space)
        if fault:
            return Storage("virtual", fault=f"it is a virtual data set whose source '{source.file_name}' {fault}")
        sources[source.file_name] = (source.file_name, *stamp(target))
    if mapped < dataset.size:
        share = 1 - mapped / dataset.size
        return Storage("virtual", fault=f"it is a virtual data set of which {share:.0%} has no source")
    return Storage(f"virtual, {max(1, len(sources))} sources", sources=tuple(sources.values()))


def _source_fault(target: Path, dataset: str, wanted: Any) -> str:
    if not target.is_file():
        return "is missing"
    try:
        with h5py.File(target, "r", locking="best-effort") as file:
            found = array(file, dataset.strip("/"))
            if found is None:
                return f"has no array '{dataset}'"
            if any(last >= size for last, size in zip(wanted.get_select_bounds()[1], found.shape, strict=True)):
                return f"has an array '{dataset}' that is too small"
            if found.is_virtual or found.external:
                return "refers to yet another file"
    except (OSError, KeyError, RuntimeError) as error:
        return f"cannot be opened ({_reason(error)})"
    return ""


@dataclass(frozen=True)
class Facts:
    """What a format knows of one of its arrays; :func:`record_of` joins it with what HDF5 knows."""

    format: str
    order: AxisOrder
    order_known: str
    clock: Clock
    channels: int
    spacing_m: float | None = None
    gauge_m: float | None = None
    units: str = ""
    kind: str = "waveform"
    verdict: str = ""
    start_known: str = "metadata"
    detail: Mapping[str, Any] = field(default_factory=dict)


def dtype_name(dtype: np.dtype[Any]) -> str:
    """``int16`` for native byte order, ``>i2`` for the other; numpy understands both."""
    return dtype.name if dtype.isnative else dtype.str


def record_of(dataset: h5py.Dataset, path: Path, facts: Facts) -> Record:
    """The record of ``dataset``. A fault of its storage makes its kind ``unreadable`` and its format empty."""
    place = storage(dataset, path)
    clock = facts.clock
    size_bytes, modified_ns = stamp(path)
    detail: dict[str, Any] = {"start_known": facts.start_known if clock.start_time is not None else "", **facts.detail}
    if place.chunk:
        detail["chunk"] = list(place.chunk)
    if place.sources:
        detail["sources"] = [list(source) for source in place.sources]
    if len(clock.pieces) > 1 or clock.pieces[0] != (0, 0, clock.samples):
        detail["pieces"] = [list(piece) for piece in clock.pieces]
    if clock.measured_hz is not None:
        detail["measured_hz"] = clock.measured_hz
    verdict = place.fault or facts.verdict or clock.problem or not_a_waveform(facts.kind)
    if not verdict and not clock.rate_hz:
        verdict = "sampling rate unknown"
    fault = bool(place.fault)
    return Record(
        path=path, dataset=str(dataset.name).lstrip("/"), format="" if fault else facts.format,
        samples=clock.samples, channels=facts.channels, rate_hz=clock.rate_hz, spacing_m=facts.spacing_m,
        gauge_m=facts.gauge_m, start_time=clock.start_time, axis_order=facts.order,
        axis_order_known="metadata" if facts.order_known == "metadata" else "guess" if facts.order_known else "",
        dtype=dtype_name(dataset.dtype), units=facts.units, kind="unreadable" if fault else facts.kind,
        layout=place.text, gaps=clock.gaps, verdict=verdict or "ok", size_bytes=size_bytes, modified_ns=modified_ns,
        detail=detail)


def not_a_waveform(kind: str) -> str:
    """The verdict on an array that is no waveform; empty for one that is."""
    return "" if kind == "waveform" else f"not a waveform: {kind}"


class Hdf5Reader(Reader):
    """Reads a two-dimensional data set in either axis order."""

    def files(self) -> Iterable[tuple[Path, int, int]]:
        """The file, and the sources of a virtual data set."""
        yield from super().files()
        for name, size_bytes, modified_ns in self.record.detail.get("sources", ()):
            yield inside(self.record.path.parent, name), size_bytes, modified_ns

    def _open(self) -> tuple[h5py.File, h5py.Dataset]:
        record = self.record
        try:
            file = h5py.File(record.path, "r", locking="best-effort")
        except OSError as error:
            raise InputError(f"The HDF5 file cannot be opened: {_reason(error)}", where=record.path,
                             fix="Copy it again from its source") from error
        dataset = file[record.dataset]
        return file, dataset

    def _close(self, handle: tuple[h5py.File, h5py.Dataset]) -> None:
        handle[0].close()

    def _read_stored(self, handle: tuple[h5py.File, h5py.Dataset], start: int, stop: int, channels: slice,
                     out: NDArray[Any]) -> None:
        dataset = handle[1]
        if self.record.axis_order == "channel,time":
            out[...] = dataset[channels, start:stop].T
        elif out.flags.c_contiguous and out.dtype == dataset.dtype.newbyteorder("="):
            dataset.read_direct(out, np.s_[start:stop, channels])
        else:
            out[...] = dataset[start:stop, channels]
