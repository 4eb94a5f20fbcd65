"""biodiversity: the page of a split's audit, one file that loads nothing, and the files beside it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from groundswell import __version__
from groundswell.core.files import write_json, write_text
from groundswell.data.table import SampleTable
from groundswell.evaluate.figures import png_of, svg_of
from groundswell.pipelines.biodiversity.audit_figures import distances_figure, likeness_figure, months_figure
from groundswell.pipelines.biodiversity.maps import draw_map, map_of, save_figure, write_geojson
from groundswell.splits.autocorrelation import PAIRS
from groundswell.splits.manifest import SplitManifest
from groundswell.splits.regions import Box, as_regions
from groundswell.splits.spatial_audit import BUFFERS_M, spatial_audit
from groundswell.splits.spatial_results import SpatialAudit
from groundswell.splits.spatial_words import metres_text, percent_text

PAGE, FACTS, MAP, DISTANCES, LIKENESS, POINTS = ("audit.html", "audit.json", "map", "distances", "likeness",
                                                 "split.geojson")
"""Names of what :func:`write_audit` writes; pictures are there as PNG and as SVG."""


def write_audit(folder: Path, table: SampleTable, manifest: SplitManifest, *, fold: int = 0, seed: int = 0,
                regions: Iterable[Box | Mapping[str, Any]] | None = None,
                prediction: tuple[ArrayLike, ArrayLike] | None = None, name: str = "") -> SpatialAudit:
    """Audit one fold of a split and write the page, its facts, its pictures and the split as GeoJSON to a folder.

    Args:
        folder: made where it is missing.
        table, manifest: the observations, and the split of them.
        fold, seed, regions, prediction: see :func:`groundswell.splits.spatial_audit.spatial_audit`.
        name: of the data, for the page's title.

    Returns:
        What was found.

    Raises:
        InputError: see there; nothing is written then.
    """
    regions = None if regions is None else as_regions(regions)
    audit = spatial_audit(table, manifest, fold=fold, seed=seed, regions=regions, prediction=prediction)
    folder = Path(folder)
    write_json(folder / FACTS, audit.to_json())
    for kind in (".png", ".svg"):
        draw_map(table, manifest, folder / f"{MAP}{kind}", fold=fold, regions=regions)
        save_figure(distances_figure(audit), folder / f"{DISTANCES}{kind}")
        likeness = likeness_figure(audit)
        if likeness is not None:
            save_figure(likeness, folder / f"{LIKENESS}{kind}")
    write_geojson(table, manifest, folder / POINTS, fold=fold, regions=regions)
    audit_page(folder / PAGE, audit, table, manifest, regions=regions, name=name)
    return audit


def audit_page(path: Path, audit: SpatialAudit, table: SampleTable, manifest: SplitManifest, *,
               regions: Iterable[Box | Mapping[str, Any]] | None = None, name: str = "") -> Path:
    """Write the page of an audit: verdict first, then maps, curves, tables, and what is for the curious folded away.

    Args:
        path: of the file.
        audit: what was found, of this table and split.
        table, manifest, regions: see :func:`write_audit`.
        name: of the data. Text may come from files: everything is escaped.

    Returns:
        The path.
    """
    environment = Environment(loader=ChoiceLoader([PackageLoader("groundswell.pipelines.biodiversity"),
                                                   PackageLoader("groundswell.evaluate")]),
                              autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"metres": metres_text, "percent": percent_text, "unbroken": _unbroken}
    prediction = [audit.prediction.nearness] if audit.prediction is not None else []
    labels = audit.labels
    text = environment.get_template("audit.html.j2").render(
        title=f"Where the test lies: {name}" if name else "Where the test lies", subtitle=_subtitle(audit), audit=audit,
        findings=audit.findings(), rows=[*audit.nearness, *prediction], near=audit.near_m, buffers=BUFFERS_M,
        labels={"in the table": labels.total, "in training": labels.train, "in the test": labels.test,
                "in both": labels.shared, "in the test alone": len(labels.test_only)},
        pictures=_pictures(audit, map_of(table, manifest, fold=audit.fold, regions=regions)), most_pairs=PAIRS,
        group_audit=manifest.audit.summary(), version=__version__,
        settings=json.dumps({"regime": manifest.regime, "seed": manifest.seed, **manifest.settings}, indent=2,
                            ensure_ascii=False, default=str))
    write_text(Path(path), text)
    return Path(path)


def _subtitle(audit: SpatialAudit) -> str:
    parts = ", ".join(f"{count:,} {'left out' if name == 'excluded' else name}" for name, count in audit.counts.items()
                      if count)
    regime = f"Split “{audit.regime}” of" if audit.regime else "A split of"
    fold = f"; fold {audit.fold + 1} of {audit.folds}" if audit.folds > 1 else ""
    return f"{regime} {audit.samples:,} observations: {parts}{fold}."


def _pictures(audit: SpatialAudit, where: Figure) -> dict[str, dict[str, str]]:
    whole = audit.nearness[0]
    counts = ", ".join(f"{name} {count:,}" for name, count in audit.counts.items())
    # The map holds a mark for every observation: as a picture of points it is a third of the size.
    drawn = {"map": {"source": _embed(png_of(where, 170), "png"),
                     "alt": f"Map of the observations by part: {counts}."}}
    others = {"distances": (distances_figure(audit), f"Cumulative curves of the distance to the nearest training "
                            f"observation; median of the whole test {metres_text(whole.median_m)}."),
              "likeness": (likeness_figure(audit), "Pairs of one label relative to chance, by distance; range "
                           f"{metres_text(audit.autocorrelation.range_m)}."),
              "months": (months_figure(audit), "Bars of the share of each month in training and test.")}
    for name, (figure, alt) in others.items():
        if figure is not None:
            drawn[name] = {"source": _embed(svg_of(figure), "svg+xml"), "alt": alt}
    return drawn


def _unbroken(text: str) -> str:
    """The text with no line break between a number and its unit."""
    return re.sub(r"(?<=\d) (?=(?:m|km|%)\b|%)", "\u00a0", text)


def _embed(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
