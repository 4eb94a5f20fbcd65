"""das: one HDF5 file written anew with its waveforms stored well; everything else in it is kept as it is."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import FailureError, InputError
from groundswell.pipelines.das import formats
from groundswell.pipelines.das.formats import contents
from groundswell.pipelines.das.record import Record

TILE_BYTES = 128 * 2**20
"""Most of a waveform that is held in memory at once."""
CHUNK_BYTES = 2 * 2**20
"""About how large chunks are where their length is not given."""
_SCALES = frozenset({"DIMENSION_LIST", "REFERENCE_LIST"})
_DIFFERS = frozenset({"path", "layout", "size_bytes", "modified_ns", "detail"})
Advance = Callable[[int], None]
Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Packing:
    """How waveforms are to be stored.

    Attributes:
        layout: ``"contiguous"``, or ``"chunks"`` of all channels and a stretch of time.
        chunk_samples: length of that stretch; 0 makes chunks of about ``CHUNK_BYTES``.
        compression: ``"none"``; ``"lz4"`` (by blosc, with byte shuffle) or ``"gzip"`` (with byte shuffle), in chunks.
    """

    layout: Literal["contiguous", "chunks"] = "contiguous"
    chunk_samples: int = 0
    compression: Literal["none", "lz4", "gzip"] = "none"

    def chunk_of(self, record: Record, shape: tuple[int, ...], itemsize: int) -> tuple[int, ...] | None:
        """Shape of a chunk of an array of ``shape``; ``None`` for contiguous."""
        if self.layout == "contiguous":
            return None
        if len(shape) == 3:
            return (1, *shape[1:])
        axis = 1 if record.axis_order == "channel,time" else 0
        across = shape[1 - axis]
        along = self.chunk_samples or 2 ** int(np.log2(np.clip(CHUNK_BYTES / (across * itemsize), 16, 4096)))
        along = max(1, min(along, shape[axis], (2**32 - 1) // (across * itemsize)))
        return (across, along) if axis else (along, across)

    def filters(self) -> dict[str, Any]:
        """What ``h5py.create_dataset`` is told of the compression."""
        if self.compression == "lz4":
            return dict(hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE))
        return {"compression": "gzip", "compression_opts": 4, "shuffle": True} if self.compression == "gzip" else {}


def waveforms(path: Path) -> list[Record]:
    """The records of an HDF5 file that are rewritten.

    Raises:
        InputError: the file cannot be read, or one of its waveforms cannot.
    """
    found = formats.find_records(path)
    bad = [record for record in found if record.kind == "unreadable" and record.layout != "external link"]
    if bad:
        raise InputError(f"'{bad[0].dataset}' cannot be read: {bad[0].verdict}", where=path, fix="Leave the file out")
    return [record for record in found if record.kind == "waveform"]


def write_packed(source: Path, target: Path, records: Sequence[Record], packing: Packing, advance: Advance) -> None:
    """Write ``source`` anew to ``target`` (which is overwritten) and compare every value and fact with the source's.

    Args:
        source: an HDF5 file.
        target: of any name; the caller moves it into place.
        records: what :func:`waveforms` found in it.
        packing: how these are stored.
        advance: called with bytes read or compared: twice the size of the waveforms in all.

    Raises:
        InputError: the source cannot be read, or holds what cannot be carried over.
        FailureError: what was written is not what was read.
    """
    chosen = {record.dataset: record for record in records}
    with contents.opened(source) as old:
        # No cache of chunks: one that cannot be emptied on a full disk crashes HDF5 as it closes the file.
        with h5py.File(target, "w", libver=_versions(old), userblock_size=old.userblock_size, rdcc_nbytes=0) as new:
            _Copy(old, new, chosen, packing, advance).run()
        if old.userblock_size:
            with open(source, "rb") as head, open(target, "r+b") as place:
                place.write(head.read(old.userblock_size))
        forget(target)
        with h5py.File(target, "r") as new:
            for name in chosen:
                _compare(old[name], new[name], source, advance)
    _compare_records(source, target, formats.find_records(source))


def _address(node: Any) -> int:
    """Where an object lies in its file: the same for all its names."""
    return int(h5py.h5o.get_info(node.id).addr)


def _versions(old: h5py.File) -> tuple[str, str]:
    """How old and how new the form of a copy may be: only files of HDF5 1.8 and later hold attributes beyond 64 KiB."""
    return ("v108" if old.id.get_create_plist().get_version()[0] >= 2 else "earliest", "latest")


def _refers(dtype: np.dtype[Any]) -> bool:
    """Whether values of this type are references to other objects of a file, or hold some."""
    inner = h5py.check_vlen_dtype(dtype)
    parts = [dtype.fields[name][0] for name in dtype.names] if dtype.fields and dtype.names else []
    parts += [dtype.subdtype[0]] if dtype.subdtype else []
    parts += [inner] if isinstance(inner, np.dtype) else []
    return h5py.check_ref_dtype(dtype) is not None or any(map(_refers, parts))


class _Copy:
    """Copies groups, attributes, links and arrays of one file into another."""

    def __init__(self, old: h5py.File, new: h5py.File, chosen: dict[str, Record], packing: Packing,
                 advance: Advance) -> None:
        self.old, self.new, self.packing, self.advance = old, new, packing, advance
        # By address: an array may have several names, and the one that comes first need not be the record's.
        self.chosen = {_address(old[name]): record for name, record in chosen.items()}
        self.places: dict[int, str] = {}

    def run(self) -> None:
        """Everything but what refers to other objects first: these must be there by then."""
        self.places[_address(self.old)] = "/"
        self._group(self.old, self.new)
        for place in list(self.places.values()):
            self._attributes(self.old[place], self.new[place])
        for place in self.places.values():
            if isinstance(self.old[place], h5py.Dataset):
                self._scales(self.old[place], self.new[place])

    def _group(self, old: h5py.Group, new: h5py.Group) -> None:
        for name in old:
            link = old.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                new[name] = link  # to another place or file: copied as it is, never followed
                continue
            node = old[name]
            place = f"{old.name.rstrip('/')}/{name}"
            address = _address(node)
            known = self.places.setdefault(address, place)
            if known != place:
                new[name] = self.new[known]
            elif isinstance(node, h5py.Group):
                self._group(node, new.create_group(name))
            elif isinstance(node, h5py.Dataset) and address in self.chosen:
                self._waveform(node, new, name, self.chosen[address])
            else:
                self._as_it_is(node, new, name)

    def _as_it_is(self, node: Any, new: h5py.Group, name: str) -> None:
        if isinstance(node, h5py.Dataset) and _refers(node.dtype):
            raise InputError(f"'{node.name}' holds references to other arrays, which would no longer hold",
                             where=self.old.filename, fix="Leave the file out")
        # Without its attributes: those that refer to others would be emptied.
        properties = h5py.h5p.create(h5py.h5p.OBJECT_COPY)
        properties.set_copy_object(h5py.h5o.COPY_WITHOUT_ATTR_FLAG)
        h5py.h5o.copy(node.parent.id, node.name.rsplit("/", 1)[-1].encode(), new.id, name.encode(), properties)

    def _waveform(self, node: h5py.Dataset, new: h5py.Group, name: str, record: Record) -> None:
        chunk = self.packing.chunk_of(record, node.shape, node.dtype.itemsize)
        options = {} if chunk is None else {"chunks": chunk, **self.packing.filters()}
        fill = None if node.fillvalue is None or not np.any(node.fillvalue) else node.fillvalue
        target = new.create_dataset(name, node.shape, node.dtype, fillvalue=fill, **options)
        for place in tiles(node.shape, node.dtype.itemsize, node.chunks, chunk):
            values = node[place]
            target[place] = values
            self.advance(values.nbytes)

    def _attributes(self, old: Any, new: Any) -> None:
        for name in old.attrs:
            if name in _SCALES:
                continue
            attribute = old.attrs.get_id(name)
            if h5py.check_ref_dtype(attribute.dtype) is h5py.Reference:
                new.attrs[name] = self._moved(old.attrs[name])
            elif _refers(attribute.dtype) or h5py.check_vlen_dtype(attribute.dtype) not in (None, str, bytes):
                raise InputError(f"The attribute '{name}' of '{old.name}' is of a kind that is not carried over",
                                 where=self.old.filename, fix="Leave the file out")
            else:
                stored = attribute.get_type()
                copied = h5py.h5a.create(new.id, name.encode(), stored, attribute.get_space())
                if attribute.get_space().get_simple_extent_type() != h5py.h5s.NULL:
                    values = np.empty(attribute.shape, attribute.dtype)
                    # As bytes where that can be: translated, a text that ends by a zero would lose its last letter.
                    kind = None if attribute.dtype.hasobject else stored
                    attribute.read(values, mtype=kind)
                    copied.write(values, mtype=kind)

    def _moved(self, references: Any) -> Any:
        """References to the same objects in the new file."""
        def move(reference: h5py.Reference) -> h5py.Reference:
            if not reference:  # it refers to nothing, and goes on doing so
                return reference
            try:
                return self.new[self.places[_address(self.old[reference])]].ref
            except (KeyError, ValueError) as error:
                raise InputError("An attribute refers to an object that no name leads to", where=self.old.filename,
                                 fix="Leave the file out") from error
        if isinstance(references, h5py.Reference):
            return move(references)
        moved = np.empty(references.shape, h5py.ref_dtype)
        for place, reference in np.ndenumerate(references):
            moved[place] = move(reference)
        return moved

    def _scales(self, old: h5py.Dataset, new: h5py.Dataset) -> None:
        if "DIMENSION_LIST" in old.attrs:
            for here, there in zip(old.dims, new.dims, strict=True):
                for scale in here.values():
                    there.attach_scale(self.new[self.places[_address(scale)]])


def tiles(shape: tuple[int, ...], itemsize: int, stored: tuple[int, ...] | None, wanted: tuple[int, ...] | None,
          most_bytes: int = TILE_BYTES) -> Iterator[Slices]:
    """Parts of an array that cover it once, each of at most about ``most_bytes``.

    Whole chunks of both the old storage and the new, as long as they fit: a chunk that is cut is undone (or compressed)
    once for every part of it.
    """
    grain = [1] * len(shape)
    for axis, size in enumerate(shape):
        new = wanted[axis] if wanted else 1
        grain[axis] = min(size, -(-max(new, stored[axis] if stored else 1) // new) * new)
    extent = list(shape)
    for grains in (grain, list(wanted or [1] * len(shape)), [1] * len(shape)):
        for axis in range(len(shape)):
            row = itemsize * int(np.prod(extent)) // extent[axis]
            if row * extent[axis] > most_bytes:
                extent[axis] = max(grains[axis], most_bytes // row // grains[axis] * grains[axis])
    starts = [range(0, size, step) for size, step in zip(shape, extent, strict=True)]
    for corner in itertools.product(*starts):
        yield tuple(slice(a, min(a + step, size)) for a, step, size in zip(corner, extent, shape, strict=True))


def forget(path: Path) -> None:
    """Let the system drop what it holds of a file, so that comparing reads what the disk has."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values).view(np.uint8)  # a value that is not a number differs from itself


def _compare(old: h5py.Dataset, new: h5py.Dataset, path: Path, advance: Advance) -> None:
    for place in tiles(old.shape, old.dtype.itemsize, old.chunks, new.chunks):
        values = old[place]
        if not np.array_equal(_bits(values), _bits(new[place])):
            raise FailureError(f"'{old.name}' was not written as it was read", where=path,
                               fix="Check the disk; nothing was kept of the new file")
        advance(values.nbytes)


def _compare_records(source: Path, target: Path, before: Sequence[Record]) -> None:
    """See that a scan finds the same records, times and spacing in the new file."""
    after = formats.find_records(target)
    named = {f.name for f in fields(Record)} - _DIFFERS
    for old, new in itertools.zip_longest(before, after):
        same = old is not None and new is not None and all(
            getattr(old, name) == getattr(new, name) for name in named
            if name != "start_time" or old.detail.get("start_known") != "file name")
        if not same:
            what = "a record more or less" if old is None or new is None else f"other facts of '{old.dataset}'"
            raise FailureError(f"The rewritten file has {what}", where=source,
                               fix="Leave the file out, and report this")
