"""evaluate: the part of a recipe that says how predicted waveforms are judged."""

from __future__ import annotations

from pydantic import Field

from groundswell.core.recipe import RecipePart


class WaveformEvaluateRecipe(RecipePart):
    """How waveforms are turned into numbers one can defend."""

    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Coverage of every interval."""
    bootstrap: int = Field(2000, ge=100)
    """Resamples of groups (events) for every interval."""
    n_min: int = Field(20, ge=1)
    """Fewest tested samples that a part of the test (one of the simulated worlds, a stratum of the split) needs for a
    number of its own. Smaller ones are listed with the reason. The whole test part is always scored."""
    max_lag_s: float = Field(12.0, ge=0)
    """Farthest that two waveforms may be moved against one another to compare them, seconds either way: the origin of a
    source in time is not known."""
    band: float = Field(0.9, gt=0.5, lt=1)
    """Share of the times at which the band drawn around a waveform should hold the true one."""
    controls: tuple[str, ...] = ("raw_stack", "iccs_stack", "windowed_stack", "envelope_stack", "stack_only", "oracle")
    """Rivals and bounds that stand beside the model; those that learn are taught on the same split."""
    control_epochs: int = Field(0, ge=0)
    """Epochs of the controls that train a network; 0 means as many as the model itself."""
