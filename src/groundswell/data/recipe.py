"""data: the part of a recipe that says how samples are loaded."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from groundswell.core.recipe import RecipePart


class LoaderRecipe(RecipePart):
    """How samples get from files into batches."""

    threads: int = Field(4, ge=1)
    """Threads that read samples of a batch side by side (the seed's num_workers)."""
    prefetch_batches: int = Field(2, ge=0)
    """Batches read ahead of the one in use; the ring holds this many and one more. 0 reads when asked."""
    bad_windows: Literal["stop", "skip"] = "stop"
    """What becomes of a sample that cannot be read, or holds NaN or infinite values. stop: training ends and names file
    and place; skip: the sample counts for nothing and is written down in logs/quarantine.jsonl."""
    bad_windows_most: int = Field(100, ge=0)
    """How many different samples of a fit may be skipped before it ends all the same."""
