"""symae: archives in HDF5, one group for each event and in it one for each pixel, with a dataset for each station."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from groundswell.core.errors import InputError
from groundswell.pipelines.symae.catalogue import Quakes
from groundswell.pipelines.symae.pixels import focal_pixel, pixels_in
from groundswell.pipelines.symae.prepare_recipe import PrepareRecipe
from groundswell.pipelines.symae.raw import Earthquake, Left, RawTrace, UnusableTrace, time_in_name

_MOST_SAMPLES = 1 << 24  # longer than any record of one P wave
_RATES = {"rate_hz": False, "sampling_rate": False, "fs": False, "dt": True, "delta": True}
_PLACES = {"azimuth": ("azimuth", "az"), "takeoff": ("takeoff",), "distance": ("distance", "gcarc"),
           "latitude": ("latitude", "stla"), "longitude": ("longitude", "stlo"), "snr": ("snr",)}
_EVENT = {"latitude": ("latitude", "evla"), "longitude": ("longitude", "evlo"), "depth_km": ("depth_km",),
          "magnitude": ("magnitude", "mag")}


class EventFile:
    """An HDF5 file of ``event/pixel/station``, each a row of samples.

    How many samples there are in a second and which of them is the theoretical P stands in the attributes of the
    dataset or of the groups around it (``rate_hz``, ``sampling_rate``, ``fs``, or ``dt`` or ``delta`` in seconds;
    ``p_sample``, from 0), in the file's attribute ``layout`` as "10 Hz; sample 384 = theoretical P", or else in the
    recipe. Where they contradict each other the file is refused, and nothing is assumed.

    A pick is the attribute ``pick`` (seconds after the theoretical P; its kind in ``pick_kind``), or ``t3_mccc`` with
    ``t0``, the theoretical P on the same clock. Links are not followed.

    Args:
        path: the file.
        recipe: of the preparation.
        quakes: catalogue that tells what the file does not of its events; by their names' origin times.

    Raises:
        InputError: missing, or no HDF5.
    """

    def __init__(self, path: Path, recipe: PrepareRecipe, quakes: Quakes | None = None) -> None:
        self.path, self._recipe, self._quakes = Path(path), recipe, quakes
        self._agree = self._known = 0
        with self._open() as file:
            self._layout = _layout(file)
            self._count = sum(len(pixel) for _, event in _groups(file) for _, pixel in _groups(event))

    def __len__(self) -> int:
        return self._count

    @property
    def facts(self) -> dict[str, Any]:
        """Its kind and name, and how many pixels agree with azimuths and take-off angles, where it has these."""
        return {"archive": "HDF5 event/pixel/station", "name": self.path.name,
                "pixels": {"with_angles": self._known, "agree": self._agree}}

    def traces(self) -> Iterator[RawTrace | Left]:
        """Every trace, by the names of event, pixel and station.

        Raises:
            InputError: an event has no pixels, or a pixel no number; or neither file nor recipe tells rate or P.
        """
        self._agree = self._known = 0
        with self._open() as file:
            for name, event in _groups(file):
                quake = self._quake(name, event)
                for text, group in sorted(self._pixels(name, event), key=lambda found: int(found[0])):
                    around = [_attributes(parent) for parent in (group, event, file)]
                    for station in sorted(group):
                        yield self._trace(quake, int(text), station, group, around)

    def _open(self) -> h5py.File:
        if not self.path.is_file():
            raise InputError("There is no such archive", where=self.path)
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise InputError(f"This is no HDF5 file, or a damaged one: {error}", where=self.path,
                             fix="Give an HDF5 file of event/pixel/station, or a folder of SAC or miniSEED") from error

    def _pixels(self, name: str, event: h5py.Group) -> list[tuple[str, h5py.Group]]:
        found = _groups(event)
        if not found:
            raise InputError(f"The event '{name}' has no pixels", where=self.path,
                             fix="The layout is event/pixel/station")
        most = pixels_in(self._recipe.nside)
        wrong = [text for text, _ in found if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most]
        if wrong:
            raise InputError(f"The event '{name}' has a pixel '{wrong[0]}', but pixels of nside {self._recipe.nside} "
                             f"are the numbers 1 to {most}", where=self.path, fix="Correct the file, or set nside")
        return found

    def _quake(self, name: str, event: h5py.Group) -> Earthquake:
        attributes = _attributes(event)
        told = {ours: _number(attributes, *theirs) for ours, theirs in _EVENT.items()}
        time = time_in_name(name)
        if "time" in attributes:
            time = pd.to_datetime(str(attributes["time"]), utc=True, errors="coerce")
        known = self._quakes.near(time) if self._quakes is not None and time is not pd.NaT else None
        if known is not None:
            told = {k: v if np.isfinite(v) else float(getattr(known, k)) for k, v in told.items()}
            time = known.time
        return Earthquake(name, time=time, **told)

    def _trace(self, quake: Earthquake, pixel: int, station: str, group: h5py.Group,
               around: list[dict[str, Any]]) -> RawTrace | Left:
        where = f"{quake.name}/{pixel}/{station}"
        dataset = group.get(station) if isinstance(group.get(station, getlink=True), h5py.HardLink) else None
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 1 or dataset.dtype.kind not in "iuf" or (
                not 2 <= dataset.size <= _MOST_SAMPLES):
            shape = f"{dataset.dtype} {dataset.shape}" if isinstance(dataset, h5py.Dataset) else "no dataset"
            return Left(UnusableTrace("no row of samples", f"A station is a row of samples; this one is {shape}",
                                      where=f"{self.path}, {where}"))
        try:
            samples = np.asarray(dataset[()], np.float64)
        except OSError as error:
            return Left(UnusableTrace("damaged", f"The samples cannot be read: {error}",
                                      where=f"{self.path}, {where}", fix="The file is damaged; copy it again"))
        own = _attributes(dataset)
        rate, p_sample = self._axis([own, *around], where)
        facts = {ours: _number(own, *theirs) for ours, theirs in _PLACES.items()}
        if np.isfinite(facts["azimuth"]) and 0 <= facts["takeoff"] <= 180:
            self._known += 1
            self._agree += int(focal_pixel(facts["takeoff"], facts["azimuth"], self._recipe.nside)) == pixel
        pick, kind = _pick(own)
        return RawTrace(quake, pixel, station, samples, rate, p_sample, pick=pick, pick_kind=kind, **facts)

    def _axis(self, attributes: list[dict[str, Any]], where: str) -> tuple[float, float]:
        """Samples a second, and the sample of P."""
        rates = [_number(a, name) ** (-1 if inverse else 1) for a in attributes for name, inverse in _RATES.items()
                 if _number(a, name) > 0]
        rate = self._agreed("rate_hz", "samples a second", [*rates, self._layout.get("rate_hz")], where)
        told = [_number(a, "p_sample") for a in attributes if "p_sample" in a]
        return rate, self._agreed("p_sample", "sample of the theoretical P", [*told, self._layout.get("p_sample")],
                                  where)

    def _agreed(self, key: str, what: str, told: list[float | None], where: str) -> float:
        stated = next((value for value in told if value is not None and np.isfinite(value)), None)
        wanted: float | None = getattr(self._recipe, key)
        if stated is None and wanted is None:
            raise InputError(f"The archive does not tell the {what}", where=f"{self.path}, {where}",
                             fix=f"Set prepare.{key}; the original's archive has 1 sample a second and P at about "
                                 "the 200th of 400")
        if stated is not None and wanted is not None and not np.isclose(stated, wanted):
            raise InputError(f"The archive says {what}: {stated:g}, the recipe {wanted:g}",
                             where=f"{self.path}, {where}", fix=f"Leave prepare.{key} out to go by the archive")
        return float(stated if stated is not None else wanted)  # type: ignore[arg-type]


def _groups(parent: h5py.Group) -> list[tuple[str, h5py.Group]]:
    """Groups within a group, by name; links that lead elsewhere are no part of it."""
    return [(name, parent[name]) for name in sorted(parent)
            if isinstance(parent.get(name, getlink=True), h5py.HardLink)
            and parent.get(name, getclass=True) is h5py.Group]


def _layout(file: h5py.File) -> dict[str, float]:
    """Rate and sample of P as the file's attribute ``layout`` words them."""
    text = str(_attributes(file).get("layout", ""))
    found = {"rate_hz": re.search(r"(\d+(?:\.\d+)?) ?Hz\b", text),
             "p_sample": re.search(r"sample (\d+(?:\.\d+)?) ?= ?theoretical P", text)}
    return {key: float(match[1]) for key, match in found.items() if match is not None}


def _attributes(of: h5py.HLObject) -> dict[str, Any]:
    """All attributes, read once; those that cannot be read are passed over."""
    found: dict[str, Any] = {}
    for name in of.attrs:
        with contextlib.suppress(OSError, TypeError, KeyError):
            found[name] = of.attrs[name]
    return found


def _number(attributes: Mapping[str, Any], *names: str) -> float:
    """The first of these attributes that is there and is a number; NaN where none is."""
    for name in names:
        try:
            return float(np.asarray(attributes[name]).reshape(()))
        except (KeyError, TypeError, ValueError):
            continue
    return float("nan")


def _pick(attributes: Mapping[str, Any]) -> tuple[float, str]:
    """Seconds after the theoretical P, and how it was measured."""
    own = _number(attributes, "pick")
    if np.isfinite(own):
        return own, str(attributes.get("pick_kind", ""))
    mccc = _number(attributes, "t3_mccc") - _number(attributes, "t0")
    return (mccc, "MCCC") if np.isfinite(mccc) else (float("nan"), "")
