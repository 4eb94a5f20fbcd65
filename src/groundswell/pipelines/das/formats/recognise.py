"""das: which format a file has, told by what it holds; from there to its records and their readers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import h5py

from groundswell.core.errors import GroundswellError, InputError
from groundswell.pipelines.das.formats import (
    acoustic,
    ap_sensing,
    contents,
    dasdae,
    febus,
    gdr,
    generic,
    hdf5,
    miniseed,
    optodas,
    prodml,
    segy,
    tdms,
    terra15,
)
from groundswell.pipelines.das.formats.clock import steady
from groundswell.pipelines.das.formats.health import zeros_verdict
from groundswell.pipelines.das.formats.reading import Reader, stamp
from groundswell.pipelines.das.record import Record

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_INSTRUMENTS: tuple[ModuleType, ...] = (dasdae, febus, gdr, prodml, optodas, acoustic, terra15, ap_sensing)
_READERS: dict[str, type[Reader]] = {"miniseed": miniseed.MiniseedReader, "segy": segy.SegyReader,
                                     "tdms": tdms.TdmsReader, "febus": febus.FebusReader}


def _is_hdf5(path: Path, head: bytes) -> bool:
    # The signature may stand behind a block of the user's own, at 512 bytes or any doubling of it.
    return head.startswith(_HDF5_SIGNATURE) or bool(h5py.is_hdf5(path))


def find_records(path: Path) -> list[Record]:
    """See :func:`groundswell.pipelines.das.formats.find_records`."""
    stamp(path)
    try:
        return [_judged(record) for record in _described(path)]
    except GroundswellError:
        raise
    except (OSError, LookupError, ValueError, TypeError, ArithmeticError, RuntimeError, MemoryError,
            SystemError) as error:
        raise InputError(f"The file's own description of its records does not hold ({type(error).__name__}: {error})",
                         where=path, fix="Copy it again from its source, or leave it out") from error


def _described(path: Path) -> list[Record]:
    with open(path, "rb") as file:
        head = file.read(3600)
    if _is_hdf5(path, head):
        return _hdf5_records(path)
    if head.startswith(tdms.SIGNATURE):
        return tdms.describe(path)
    if miniseed.looks_like(head):
        return miniseed.describe(path)
    if path.suffix.lower() in (".sgy", ".segy") and segy.looks_like(head):
        return segy.describe(path)
    raise InputError("The file is of no format that is known here", where=path,
                     fix="Known are HDF5, TDMS, SEG-Y and miniSEED; if it should be one of them it is damaged")


def _hdf5_records(path: Path) -> list[Record]:
    with contents.opened(path) as file:
        instrument = next((module for module in _INSTRUMENTS if module.recognises(file)), generic)
        records: list[Record] = instrument.describe(file, path)
        return records + [_link(path, name, target) for name, target in contents.external_links(file)]


def _link(path: Path, name: str, target: str) -> Record:
    size_bytes, modified_ns = stamp(path)
    clock = steady(0, None, None)
    return Record(path=path, dataset=name, format="", samples=clock.samples, channels=0, rate_hz=None, spacing_m=None,
                  gauge_m=None, start_time=None, axis_order="", axis_order_known="", dtype="", units="",
                  kind="unreadable", layout="external link", gaps=(), size_bytes=size_bytes, modified_ns=modified_ns,
                  verdict=f"a link to another file ({target}), which is not followed; scan that file itself", detail={})


def _judged(record: Record) -> Record:
    """Call a record of nothing but zeros what it is; a file that cannot be read there says so too."""
    if record.verdict != "ok":
        return record
    reader = open_reader(record)
    try:
        return replace(record, verdict=zeros_verdict(reader))
    except InputError as error:
        return replace(record, verdict=error.what, format="", kind="unreadable")
    finally:
        reader.close()


def open_reader(record: Record) -> Reader:
    """See :func:`groundswell.pipelines.das.formats.open_reader`."""
    if record.kind == "unreadable":
        raise InputError(f"The record cannot be read: {record.verdict}", where=f"{record.path}, {record.dataset}",
                         fix="Leave it out")
    return _READERS.get(record.format, hdf5.Hdf5Reader)(record)
