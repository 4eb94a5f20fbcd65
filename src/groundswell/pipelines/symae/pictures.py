"""symae: bags before and after alignment, for the report."""

from __future__ import annotations

from typing import Any

from groundswell.evaluate.report import Picture
from groundswell.pipelines.workflow import Archive


def alignment_pictures(recipe: Any, archive: Archive, evaluation: Any) -> list[Picture]:
    """Filled in by the figures of the pipeline."""
    return []
