"""biodiversity: a split as GeoJSON (RFC 7946), for any map that reads it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.files import atomic_path
from groundswell.data.table import SampleTable
from groundswell.pipelines.biodiversity.layers import Layers, layers_of
from groundswell.splits.manifest import SplitManifest
from groundswell.splits.regions import Box, bounding_box

_DECIMALS = 6
Ring = list[list[float]]


def write_geojson(table: SampleTable, manifest: SplitManifest, path: Path, *, fold: int = 0,
                  regions: Iterable[Box | Mapping[str, Any]] | None = None, cells: bool = True) -> Path:
    """Write one fold of a split as a FeatureCollection, feature by feature, atomically.

    Points are observations with ``id``, ``part``, and ``stratum`` (of what is tested), ``species`` and ``date`` where
    known; polygons are the regions that tests were taken from and the cells that observations were dealt out by, with
    the number of observations of each part in them. Positions are longitude and latitude (WGS 84) with six decimals,
    about 0.1 m; outer rings go counterclockwise, and what crosses 180° is cut there in two, as the standard asks.

    Args:
        table, manifest, fold, regions, cells: see :func:`groundswell.pipelines.biodiversity.layers.layers_of`.
        path: of the file, usually ``.geojson``.

    Returns:
        The path.

    Raises:
        InputError: see there.
    """
    layers = layers_of(table, manifest, fold=fold, regions=regions, cells=cells)
    box = bounding_box(layers.latitude, layers.longitude)
    head: dict[str, Any] = {
        "type": "FeatureCollection", "bbox": [round(v, _DECIMALS) for v in (box.west, box.south, box.east, box.north)],
        "properties": {"regime": manifest.regime, "fold": fold + 1, "folds": manifest.folds,
                       "simulated": bool(table.origin.get("simulated"))}}
    with atomic_path(Path(path)) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "features": [\n')
        for number, feature in enumerate(_features(table, layers)):
            file.write((",\n" if number else "") + json.dumps(feature, ensure_ascii=False, allow_nan=False))
        file.write("\n]}\n")
    return Path(path)


def _features(table: SampleTable, layers: Layers) -> Iterator[dict[str, Any]]:
    for box in layers.boxes:
        inside = box.inside(layers.latitude, layers.longitude)
        ring = np.array([[0.0, box.south], [box.width, box.south], [box.width, box.north], [0.0, box.north]])
        ring[:, 0] += box.west
        yield _polygon(ring, {"kind": "region", "name": box.name, **_counts(layers.part[inside])})
    if layers.cell is not None:
        order = np.argsort(layers.cell, kind="stable")
        cells, starts = np.unique(layers.cell[order], return_index=True)
        for cell, rows in zip(cells.tolist(), np.split(order, starts[1:]), strict=True):
            yield _polygon(layers.rings[cell], {"kind": "cell", "cell": str(cell), **_counts(layers.part[rows])})
    yield from _points(table, layers)


def _points(table: SampleTable, layers: Layers) -> Iterator[dict[str, Any]]:
    names = np.array([*table.classes, ""], object)[table.labels()]  # an unknown label is the last, -1
    dates = (table.column("time").dt.strftime("%Y-%m-%d").fillna("") if table.has("time")
             else [""] * len(table))
    rows = zip(table.column("sample_id"), layers.part, layers.stratum, names, dates, layers.longitude.tolist(),
               layers.latitude.tolist(), strict=True)
    for sample, part, stratum, name, date, lon, lat in rows:
        known = {"stratum": stratum, "species": name, "date": date}
        yield {"type": "Feature",
               "geometry": {"type": "Point", "coordinates": [round(lon, _DECIMALS), round(lat, _DECIMALS)]},
               "properties": {"kind": "observation", "id": sample, "part": part,
                              **{key: value for key, value in known.items() if value}}}


def _counts(parts: NDArray[np.object_]) -> dict[str, int]:
    return dict(sorted(Counter(parts.tolist()).items()))


def _polygon(ring: NDArray[np.float64], properties: dict[str, Any]) -> dict[str, Any]:
    pieces = [_closed(piece) for piece in cut_at_180(ring)]
    geometry: dict[str, Any] = ({"type": "Polygon", "coordinates": [pieces[0]]} if len(pieces) == 1 else
                                {"type": "MultiPolygon", "coordinates": [[piece] for piece in pieces]})
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _closed(ring: NDArray[np.float64]) -> Ring:
    corners: Ring = np.round(ring, _DECIMALS).tolist()
    return [*corners, corners[0]]


def cut_at_180(ring: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """A convex ring cut along 180° into rings within ±180; each counterclockwise as the ring was.

    Args:
        ring: longitude and latitude of corners, degrees, shape (m, 2), the first not repeated; longitudes may go on
            beyond ±180, so that neighbours are never more than 180 apart.
    """
    pieces = []
    for turn in (-360.0, 0.0, 360.0):
        piece = ring + np.array([turn, 0.0])
        for side in (1.0, -1.0):
            piece = _clipped(piece, side)
        if len(piece) > 2 and np.ptp(piece[:, 0]) > 0:
            pieces.append(piece)
    return pieces


def _clipped(ring: NDArray[np.float64], side: float) -> NDArray[np.float64]:
    # What of a convex ring has side * longitude <= 180 (Sutherland and Hodgman, 1974).
    kept: list[NDArray[np.float64]] = []
    for here, there in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        inside, next_inside = side * here[0] <= 180, side * there[0] <= 180
        if inside:
            kept.append(here)
        if inside != next_inside:
            share = (side * 180 - here[0]) / (there[0] - here[0])
            kept.append(np.array([side * 180.0, here[1] + share * (there[1] - here[1])]))
    return np.array(kept).reshape(-1, 2)
