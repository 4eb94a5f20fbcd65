"""biodiversity: what a map of a split shows: its parts and strata, the regions and cells it was made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.splits.cells import cells_of, outlines_of
from groundswell.splits.manifest import SplitManifest
from groundswell.splits.parts import EXCLUDED, PARTS, TEST
from groundswell.splits.regions import Box, as_regions
from groundswell.splits.spatial_audit import coordinates_of

LEFT_OUT = "left out"
"""Name of the layer of samples that are in no part."""


@dataclass(frozen=True)
class Layers:
    """One fold of a split, as a map shows it.

    Attributes:
        latitude, longitude: degrees, float64, shape (n,).
        part: name of the part of each sample, or :data:`LEFT_OUT`; object, shape (n,).
        stratum: kind of test of each tested sample, "" for others; object, shape (n,).
        boxes: regions that tests were taken from.
        cell: number of the cell of each sample, int64, shape (n,); None where no cells were used.
        rings: by cell, longitude and latitude of its corners, shape (corners, 2), counterclockwise.
    """

    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    part: NDArray[np.object_]
    stratum: NDArray[np.object_]
    boxes: tuple[Box, ...]
    cell: NDArray[np.int64] | None
    rings: dict[int, NDArray[np.float64]]

    def kinds(self) -> dict[str, NDArray[np.int64]]:
        """Rows by what a legend calls them: parts, then the test, by strata where it has several, large ones first.
        None is empty."""
        several = len({str(kind) for kind in self.stratum if kind}) > 1
        found = {}
        for name in (LEFT_OUT, *(name for code, name in PARTS.items() if code != TEST), PARTS[TEST]):
            mine = self.part == name
            if name == PARTS[TEST] and several:
                for kind, _ in Counter(self.stratum[mine].tolist()).most_common():
                    found[f"{name}: {kind}" if kind else name] = np.flatnonzero(mine & (self.stratum == kind))
            elif mine.any():
                found[name] = np.flatnonzero(mine)
        return found


def layers_of(table: SampleTable, manifest: SplitManifest, *, fold: int = 0,
              regions: Iterable[Box | Mapping[str, Any]] | None = None, cells: bool = True) -> Layers:
    """What there is to see of one fold.

    Args:
        table: with latitude and longitude.
        manifest: of its split.
        fold: from 0.
        regions: boxes; None takes the squares of the manifest's settings, if any.
        cells: whether to look for cells among the settings, and lay their outlines.

    Raises:
        InputError: there is no such fold, the split is of another table, or a place is missing.
    """
    latitude, longitude = coordinates_of(table)
    if len(manifest.assignment) != len(table):
        raise InputError(f"The split has {len(manifest.assignment):,} samples and the table {len(table):,}",
                         fix="Use the table that the split was made for")
    if not 0 <= fold < manifest.folds:
        raise InputError(f"There is no fold {fold + 1}: the split has {manifest.folds}",
                         fix=f"Name one from 1 to {manifest.folds}")
    names = np.array([LEFT_OUT if code == EXCLUDED else PARTS[code] for code in (EXCLUDED, *PARTS)], object)
    codes = manifest.assignment[:, fold]
    part = names[np.searchsorted(np.array((EXCLUDED, *PARTS)), codes)]
    stratum = np.full(len(table), "", object)
    if manifest.stratum is not None:
        tested = codes == TEST
        stratum[tested] = [str(kind or "") for kind in manifest.stratum[tested]]
    settings = manifest.settings
    boxes = as_regions(settings.get("squares", ()) if regions is None else regions)
    cell, rings = None, {}
    if cells and settings.get("cells") and {"cell_km", "cell_level"} <= settings.keys():
        kind, km, level = settings["cells"], float(settings["cell_km"]), int(settings["cell_level"])
        cell = cells_of(latitude, longitude, kind, km=km, level=level)
        there = np.unique(cell)
        rings = dict(zip(there.tolist(), outlines_of(there, kind, km=km, level=level), strict=True))
    return Layers(latitude, longitude, part, stratum, boxes, cell, rings)
