"""marine: what became of imported annotations, for programs and for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from groundswell.core.files import shown
from groundswell.pipelines.marine.exchange.entries import Findings
from groundswell.pipelines.marine.images import ImageSet


def report_of(source: Path, kind: str, sent: int, found: Sequence[tuple[Mapping[str, Any], bool]], made: ImageSet,
              findings: Findings, *, drawn: int) -> dict[str, Any]:
    """The report, for JSON.

    Args:
        source: what was imported.
        kind: its format.
        sent: images in the package.
        found: boxes of each imported image, and whether they are all.
        made: the new set.
        findings: what was wrong.
        drawn: boxes that were read.
    """
    labels = np.concatenate([boxes["label"] for boxes, _ in found])
    counts = np.bincount(labels, minlength=len(made.classes))
    empty = sum(whole and not len(boxes["label"]) for boxes, whole in found)
    some = sum(len(boxes["label"]) > 0 for boxes, _ in found)
    return {
        "source": shown(source), "format": kind, "simulated": made.simulated,
        "images": {"in_package": sent, "imported": len(found), "with_boxes": some,
                   "without_animals": empty, "in_set": len(made)},
        "boxes": {"drawn": drawn, "imported": len(labels)},
        "boxes_of_class": {name: int(count) for name, count in zip(made.classes, counts, strict=True) if count},
        "findings": findings.listed(),
    }


def text_of(report: Mapping[str, Any]) -> str:
    """The report for a person: counts, and every kind of finding with examples."""
    images, boxes = report["images"], report["boxes"]
    lines = [f"Imported {images['imported']} of {images['in_package']} images ({report['format']}"
             f"{', simulated' if report['simulated'] else ''}): {images['with_boxes']} with animals, "
             f"{images['without_animals']} reviewed and without; {boxes['imported']} of {boxes['drawn']} readable "
             "boxes."]
    lines += [f"  {name}: {count}" for name, count in report["boxes_of_class"].items()]
    for row in report["findings"]:
        lines.append(f"{row['count']} {row['says']}:")
        lines += [f"  {example}" for example in row["examples"]]
        lines += ["  ..."] if row["count"] > len(row["examples"]) else []
    return "\n".join(lines) + "\n"
