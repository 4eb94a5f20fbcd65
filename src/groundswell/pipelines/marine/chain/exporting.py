"""marine: the chain's last step: every member as a file, through the parity gate, and the ensemble beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from groundswell.pipelines.marine.chain.members import Members
from groundswell.pipelines.marine.chain.plan import Stage
from groundswell.pipelines.marine.detecting import ENSEMBLE


def export_stage(stage: Stage, out: Path, quiet: bool) -> dict[str, Any]:
    """Export the members and what was found of their fusion, views and calibration."""
    from groundswell.pipelines.marine.deploying.exporting import export_members

    members = Members.open([out / name for name in stage.needs], stage.recipe)
    ensemble = next((out / name / ENSEMBLE for name in ("calibrate", "fuse") if (out / name / ENSEMBLE).exists()), None)
    named = [(run.path.name, run, weight) for run, weight in zip(members.runs, members.weights, strict=True)]
    facts: dict[str, Any] = export_members(named, stage.recipe, ensemble, out / stage.name)
    return facts
