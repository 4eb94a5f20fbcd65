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
    workers: int = Field(0, ge=0)
    """Processes that read batches instead of threads; 0 for none. Worth it where reading holds Python up."""
    read_once: Literal["auto", "always", "never"] = "auto"
    """Whether samples that share what is read for them are read in blocks, in an order that keeps them near each other.
    auto: where records are compressed, or windows overlap and there are 8 GiB of samples or more (das only)."""
    block_windows: int = Field(4, ge=1)
    """Neighbouring samples in a block."""
    pool_blocks: int = Field(128, ge=1)
    """Blocks that samples of a batch are drawn from: more mix better, and take more memory."""
    pool_mb: int = Field(2048, ge=1)
    """Memory for blocks in MiB, of each process that trains. With less than its blocks need, some are read again."""
    bad_windows: Literal["stop", "skip"] = "stop"
    """What becomes of a sample that cannot be read, or holds NaN or infinite values. stop: training ends and names file
    and place; skip: the sample counts for nothing and is written down in logs/quarantine.jsonl."""
    bad_windows_most: int = Field(100, ge=0)
    """How many different samples of a fit may be skipped before it ends all the same."""
