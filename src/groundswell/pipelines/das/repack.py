"""das: an archive rewritten so that windows are read fast: file by file, compared bit for bit, resumable."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from groundswell.core.errors import FailureError, GroundswellError, InputError
from groundswell.core.files import atomic_path, free_gib, is_full, read_json, write_json
from groundswell.core.progress import progress
from groundswell.pipelines.das import checksums, formats
from groundswell.pipelines.das.formats import contents
from groundswell.pipelines.das.formats.reading import check_unchanged, stamp
from groundswell.pipelines.das.record import Record
from groundswell.pipelines.das.repack_file import Packing, forget, waveforms, write_packed

PLAN, DONE = Path(".groundswell") / "repack.json", Path(".groundswell") / "repacked.jsonl"
"""In the new folder: what is made of what, and the files that are done."""
_SPARE_GIB = 0.1


@dataclass
class Repacked:
    """What was done.

    Attributes:
        written: files with records that were written anew.
        copied: other files, copied as they are and compared.
        outdated: lists of checksums, left behind: they hold for the old files only.
        kept: files that an earlier call had done already.
        failed: files left out, by path inside the folder, with the reason.
        bytes_before, bytes_after: of the files written.
    """

    written: list[str] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    bytes_before: int = 0
    bytes_after: int = 0


@dataclass(frozen=True)
class _Job:
    """One file: the waveforms to be rewritten in it, or none, and about how much room its copy takes."""

    name: str
    source: Path
    size_bytes: int
    modified_ns: int
    records: tuple[Record, ...]
    work: int
    room: int

    @property
    def line(self) -> dict[str, Any]:
        """What the journal of files that are done says of it."""
        return {"file": self.name, "size_bytes": self.size_bytes, "modified_ns": self.modified_ns}


def repack(source: Path, out: Path, packing: Packing) -> Repacked:
    """Rewrite a file, or all HDF5 files of a folder; labels, tables and other files are copied as they are.

    Records keep their axis order, values, attributes, times and spacing; only how waveforms are stored changes. Each
    file is written beside its place, read back from the disk, compared with its source and only then given its name.
    The same call goes on where an earlier one was stopped. Hidden files and links are left behind.

    Args:
        source: a file or folder; never changed.
        out: the new file, or a folder that is new, empty, or made by the same call before.
        packing: how waveforms are stored.

    Raises:
        InputError: there is nothing to repack, or ``out`` holds something else, lies inside ``source`` or around it.
        FailureError: there is not enough room, or what was written is not what was read.
    """
    source, out = Path(source), Path(out)
    if not source.exists():
        raise InputError("There is no such file or folder", where=source, fix="Check the path")
    _check_apart(source, out)
    single = not source.is_dir()
    if single and out.is_dir():
        out = out / source.name
    if single and out.exists():
        raise InputError("There is a file here already, and nothing is overwritten", where=out, fix="Name another one")
    result = Repacked()
    if single:
        jobs = [_job(source, source.name, packing)]
        _check_room(jobs, out.parent)
        _do(jobs, lambda job: out, packing, result, None)
        return result
    done = _begin(source, out, packing)
    jobs = []
    for path in _walk(source):
        name = path.relative_to(source).as_posix()
        if path.name == checksums.NAME:
            result.outdated.append(name)
            continue
        try:
            job = _job(path, name, packing)
        except GroundswellError as error:
            result.failed[name] = error.what
            continue
        if _is_done(job, out / name, done):
            result.kept.append(name)
        else:
            jobs.append(job)
    if not any(job.records for job in jobs) and not result.kept:
        raise InputError("There is no HDF5 file with a record to repack", where=source,
                         fix="'groundswell das scan' says what the files hold")
    _check_room(jobs, out)
    write_json(out / PLAN, _plan(source, packing))
    _do(jobs, lambda job: out / job.name, packing, result, out / DONE)
    return result


def _check_apart(source: Path, out: Path) -> None:
    inner, outer = source.resolve(), out.resolve()
    if inner == outer or (source.is_dir() and (outer.is_relative_to(inner) or inner.is_relative_to(outer))):
        raise InputError("The new folder must lie neither in the old one nor around it", where=out,
                         fix="Name a folder beside it")


def _walk(folder: Path) -> Iterator[Path]:
    """Files to carry over, sorted; hidden ones, unfinished ones and links stay behind."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and not path.is_symlink() and path.is_file():
                yield path


def _job(path: Path, name: str, packing: Packing) -> _Job:
    size_bytes, modified_ns = stamp(path) if path.stat().st_size else (0, path.stat().st_mtime_ns)
    if path.suffix.lower() not in formats.SUFFIXES or not size_bytes or not h5py.is_hdf5(path):
        return _Job(name, path, size_bytes, modified_ns, (), 0, size_bytes)
    records = tuple(waveforms(path))
    plain = stored = 0
    with contents.opened(path) as file:
        for record in records:
            dataset = file[record.dataset]
            plain += dataset.size * dataset.dtype.itemsize
            stored += dataset.id.get_storage_size()
        share = _share(file[records[0].dataset], records[0], packing) if records else 1.0
    room = max(0, size_bytes - stored) + int(plain * share)
    return _Job(name, path, size_bytes, modified_ns, records, 2 * plain, room)


def _share(dataset: h5py.Dataset, record: Record, packing: Packing) -> float:
    """How many bytes one byte will take, told from one chunk in the middle."""
    chunk = packing.chunk_of(record, dataset.shape, dataset.dtype.itemsize)
    if packing.compression == "none" or chunk is None:
        return 1.0
    middle = tuple(slice((size - step) // 2, (size - step) // 2 + step)
                   for size, step in zip(dataset.shape, chunk, strict=True))
    with h5py.File("share", "w", driver="core", backing_store=False) as memory:
        trial = memory.create_dataset("x", data=dataset[middle], chunks=chunk, **packing.filters())
        memory.flush()
        return float(trial.id.get_storage_size() / max(1, trial.size * trial.dtype.itemsize))


def _check_room(jobs: Sequence[_Job], folder: Path) -> None:
    wanted, free = sum(job.room for job in jobs) / 2**30, free_gib(folder)
    if wanted + _SPARE_GIB > free:
        raise FailureError(f"The new files take about {wanted:.1f} GiB, and {free:.1f} GiB are free", where=folder,
                           fix="Free some space, name a folder on another disk, or choose --compression lz4")


def _plan(source: Path, packing: Packing) -> dict[str, Any]:
    return {"source": str(source.resolve()), **asdict(packing)}


def _begin(source: Path, out: Path, packing: Packing) -> dict[str, dict[str, Any]]:
    """What an earlier call of the same kind has done; empty for a new folder."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return {}
    if not (out / PLAN).is_file():
        raise InputError("There is something here already, and nothing is overwritten", where=out,
                         fix="Name a folder that is new or empty")
    before = read_json(out / PLAN)
    if before != _plan(source, packing):
        raise InputError("Something else was being repacked here, or with other options", where=out,
                         fix="Name another folder, or give the same source and options as before")
    done: dict[str, dict[str, Any]] = {}
    if (out / DONE).exists():
        for line in (out / DONE).read_text("utf-8").splitlines():
            try:
                entry = json.loads(line)
                done[entry["file"]] = entry
            except (ValueError, KeyError, TypeError):
                continue  # the last line of a call that was killed
    return done


def _is_done(job: _Job, place: Path, done: dict[str, dict[str, Any]]) -> bool:
    """Whether the file is there and was made of the source as it is now.

    Raises:
        InputError: it was made of another source, was changed since, or was not made here.
    """
    if not place.exists():
        return False
    entry = done.get(job.name)
    if entry is None:
        raise InputError("There is a file here already, and nothing is overwritten", where=place,
                         fix="Remove it, or name another folder")
    if {key: entry.get(key) for key in job.line} != job.line or entry.get("new_bytes") != place.stat().st_size:
        raise InputError(f"'{job.name}' or its source has changed since it was repacked", where=place,
                         fix="Remove it, and run again")
    return True


def _do(jobs: Sequence[_Job], place_of: Callable[[_Job], Path], packing: Packing, result: Repacked,
        journal: Path | None) -> None:
    with progress(max(1, sum(job.work for job in jobs) // 2**20), "repack", "MiB") as bar:
        done = 0

        def advance(size: int) -> None:
            nonlocal done
            before, done = done, done + size
            bar.advance(done // 2**20 - before // 2**20)

        for job in jobs:
            bar.note(job.name)
            try:
                after = _one(job, place_of(job), packing, advance, journal)
            except InputError as error:
                if journal is None:
                    raise
                result.failed[job.name] = error.what
                continue
            (result.written if job.records else result.copied).append(job.name)
            if job.records:
                result.bytes_before += job.size_bytes
                result.bytes_after += after


def _one(job: _Job, place: Path, packing: Packing, advance: Callable[[int], None], journal: Path | None) -> int:
    """Make one file; its size in bytes."""
    with atomic_path(place) as temporary:
        if job.records:
            write_packed(job.source, temporary, job.records, packing, advance)
        else:
            _copy(job.source, temporary)
        check_unchanged(job.source, job.size_bytes, job.modified_ns)
        after = temporary.stat().st_size
        if journal is not None:
            # Before the file gets its name: one that has it and is not in the journal was not made here.
            with open(journal, "a", encoding="utf-8") as lines:
                lines.write(json.dumps({**job.line, "new_bytes": after}) + "\n")
                lines.flush()
                os.fsync(lines.fileno())
    return after


def _copy(source: Path, target: Path) -> None:
    """Copy a file, and compare what the disk has with it."""
    try:
        before = checksums.sha256_of(source)
        shutil.copyfile(source, target)
        forget(target)
        same = before == checksums.sha256_of(target)
    except OSError as error:
        if is_full(error):
            raise
        raise InputError(f"The file cannot be copied: {error.strerror}", where=source,
                         fix="Make it readable, or leave it out") from error
    if not same:
        raise FailureError("The copy is not what was read", where=source,
                           fix="Check the disk, and that nothing else writes the file; the copy was not kept")


def packing_of(layout: str, chunk_samples: int, compression: str) -> Packing:
    """What the options of the command line ask for; an empty ``layout`` is what the compression needs.

    Raises:
        InputError: they contradict one another.
    """
    for value, known, name in ((layout or "contiguous", ("contiguous", "chunks"), "--layout"),
                               (compression, ("none", "lz4", "gzip"), "--compression")):
        if value not in known:
            raise InputError(f"'{value}' is none of {', '.join(known)}", where=name)
    if layout == "contiguous" and (compression != "none" or chunk_samples):
        raise InputError("Contiguous storage has no chunks and cannot be compressed", where="--layout contiguous",
                         fix="Leave --layout away, or choose chunks")
    if chunk_samples < 0 or chunk_samples > np.iinfo(np.int32).max:
        raise InputError(f"{chunk_samples} is no length of chunks", where="--chunk-samples")
    chosen: Any = layout or ("chunks" if chunk_samples or compression != "none" else "contiguous")
    squeezed: Any = compression
    return Packing(chosen, chunk_samples, squeezed)
