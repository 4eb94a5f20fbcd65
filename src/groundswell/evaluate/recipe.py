"""evaluate: the part of a recipe that says how a model is judged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from groundswell.core.recipe import RecipePart


class EvaluateRecipe(RecipePart):
    """How predictions are turned into numbers one can defend."""

    aggregate: Literal["average", "vote"] = "average"
    """How the windows of one event make one answer."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Coverage of every interval."""
    bootstrap: int = Field(2000, ge=100)
    """Resamples of groups for bootstrap intervals."""
    bins: int = Field(15, ge=2)
    """Bins of the reliability curve and of the expected calibration error."""
    temperature: bool = True
    """Fit a temperature on the validation part and report calibration before and after."""
    controls: tuple[str, ...] = ("majority", "start_hour", "noise_windows", "permuted_labels", "minirocket")
    """Null controls and rivals that stand beside the score; those that learn are refitted on the same splits."""
    control_epochs: int = Field(0, ge=0)
    """Epochs of the controls that train the recipe's own network; 0 means as many as the model itself."""
