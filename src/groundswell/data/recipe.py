"""data: the part of a recipe that says how samples are loaded."""

from __future__ import annotations

from pydantic import Field

from groundswell.core.recipe import RecipePart


class LoaderRecipe(RecipePart):
    """How samples get from files into batches."""

    threads: int = Field(4, ge=1)
    """Threads that read samples of a batch side by side (the seed's num_workers)."""
    prefetch_batches: int = Field(2, ge=0)
    """Batches read ahead of the one in use; the ring holds this many and one more. 0 reads when asked."""
