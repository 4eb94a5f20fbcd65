"""das: the label maps that people drew into the files of the seed's data set (HDF5 group ``region``).

``region/data`` is an image over fibre and time on a grid of its own, whose pixels hold region numbers;
``region/distance`` (m) and ``region/time`` (s, on the same clock as the waveform's own ``time``) are its axes,
``region/region_id`` lists the numbers and ``region/classe_str`` the class of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.pipelines.das.labels import NOISE, BoundLabels, Interval, RecordLabels, event_of_file, label_of
from groundswell.pipelines.das.recipe import Channels
from groundswell.pipelines.das.record import Record

GROUP = "region"
_BLOCK = 4_000_000  # pixels read at once


def read_region_maps(records: Mapping[str, Record], classes: Sequence[str],
                     channels: Channels | None = None) -> BoundLabels:
    """Labels of every record whose file holds a region map.

    A class fills the times at which any of the channels in use lies in one of its regions; each unbroken stretch is an
    interval. Regions of classes that the recipe does not know (traffic, ...) are noise. All stretches of one class in
    one file are one event: ``"<file>:<class>"``.

    Args:
        records: the records in use, by key; their rates are known.
        classes: names of the labels.
        channels: half-open range of channels in use, whatever its step; all when absent.

    Raises:
        InputError: a map is there but not as described above; the message names the file.
    """
    found: dict[str, RecordLabels] = {}
    for key, record in records.items():
        if Path(record.path).suffix.lower() not in (".h5", ".hdf5", ".hdf", ".he5"):
            continue
        try:
            with h5py.File(record.path, "r") as file:
                if GROUP in file:
                    found[key] = RecordLabels(intervals=_intervals(key, record, file, classes, channels))
        except OSError as error:
            raise InputError(f"The file cannot be read: {error}", where=record.path) from error
    return BoundLabels(found)


def _intervals(key: str, record: Record, file: h5py.File, classes: Sequence[str],
               channels: Channels | None) -> tuple[Interval, ...]:
    image, time_s, distance_m, class_of = _parts(record, file[GROUP], classes)
    clock = _sibling(record, file, "time")
    time_s = time_s - (float(clock[0]) if clock is not None else 0.0)
    pixels = _pixels_in_use(record, file, distance_m, channels)
    present = {label: np.zeros(len(time_s), bool) for label in sorted({c for c in class_of.values() if c != NOISE})}
    for first, block in _time_blocks(image, time_s, distance_m, pixels):
        for label, times in present.items():
            numbers = [number for number, its in class_of.items() if its == label]
            times[first:first + len(block)] = np.isin(block, numbers).any(axis=1)
    step = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 1.0 / (record.rate_hz or 1.0)
    made = []
    for label, times in present.items():
        for start, stop in _stretches(times):
            a, b = (float(time_s[start]), float(time_s[stop - 1]) + step)
            rate = record.rate_hz or 0.0
            made.append(Interval(round(a * rate), max(round(b * rate), round(a * rate) + 1), label,
                                 f"{event_of_file(key)}:{classes[label]}"))
    return tuple(sorted(made, key=lambda i: (i.start, i.stop, i.label)))


def _parts(record: Record, group: Any, classes: Sequence[str],
           ) -> tuple[Any, NDArray[np.float64], NDArray[np.float64], dict[int, int]]:
    """The image, its axes, and the label (or ``NOISE``) of each region number."""
    where = f"{record.path}, {GROUP}"
    missing = [n for n in ("data", "distance", "time", "region_id", "classe_str")
               if not isinstance(group, h5py.Group) or not isinstance(group.get(n), h5py.Dataset)]
    if missing:
        raise InputError(f"The region map lacks {', '.join(missing)}", where=where,
                         fix="Set data.region_labels to false, or complete the map")
    time_s = np.asarray(group["time"][()], np.float64).ravel()
    distance_m = np.asarray(group["distance"][()], np.float64).ravel()
    image = group["data"]
    if image.shape not in ((len(time_s), len(distance_m)), (len(distance_m), len(time_s))):
        raise InputError(f"The region map has the shape {image.shape}, its axes {len(distance_m)} distances and "
                         f"{len(time_s)} times", where=where)
    numbers = np.atleast_1d(group["region_id"][()]).ravel()
    words = [w.decode(errors="replace") if isinstance(w, bytes) else str(w)
             for w in np.atleast_1d(group["classe_str"][()]).ravel()]
    if len(numbers) != len(words):
        raise InputError(f"The region map has {len(numbers)} numbers and {len(words)} classes", where=where)
    labels = {int(n): label_of(w, classes) for n, w in zip(numbers, words, strict=True)}
    return image, time_s, distance_m, {n: NOISE if label is None else label for n, label in labels.items()}


def _pixels_in_use(record: Record, file: h5py.File, distance_m: NDArray[np.float64],
                   channels: Channels | None) -> slice:
    """Pixels along the fibre that the channels in use lie in; all of them where that cannot be told."""
    if channels is None or not record.spacing_m or len(distance_m) == 0:
        return slice(0, len(distance_m))
    own = _sibling(record, file, "distance")
    origin = float(own[0] if own is not None else distance_m[0])
    low, high = (origin + c * record.spacing_m for c in (channels[0], channels[1] - 1))
    # A pixel reaches half way to its neighbours.
    edges = (distance_m[1:] + distance_m[:-1]) / 2
    return slice(int(np.searchsorted(edges, low, side="left")), int(np.searchsorted(edges, high, side="right")) + 1)


def _sibling(record: Record, file: h5py.File, name: str) -> Any:
    """The one-dimensional data set beside the waveform, ``None`` where there is none."""
    found = file.get(f"{record.dataset.rpartition('/')[0]}/{name}")
    return found if isinstance(found, h5py.Dataset) and found.ndim == 1 and found.size else None


def _time_blocks(image: Any, time_s: NDArray[np.float64], distance_m: NDArray[np.float64],
                 pixels: slice) -> Iterator[tuple[int, NDArray[Any]]]:
    """The image in pieces (first time, array over time and fibre), never more than a few million pixels at once."""
    # Where both axes are equally long the order is that of the data set's waveforms: fibre first.
    fibre_first = image.shape == (len(distance_m), len(time_s))
    step = max(1, _BLOCK // max(1, pixels.stop - pixels.start))
    for first in range(0, len(time_s), step):
        times = slice(first, min(first + step, len(time_s)))
        yield first, image[pixels, times].T if fibre_first else image[times, pixels]


def _stretches(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open ranges in which ``mask`` is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
