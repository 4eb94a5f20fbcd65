"""evaluate: the part of a recipe that says how a model is judged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

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
    n_min: int = Field(30, ge=1)
    """Fewest tested samples that a part of the test needs for a number of its own: a stratum of the split, a class
    (where the unit is the sample, or there are more than 12 classes), the samples of classes that training had none of.
    Smaller ones are listed with the reason. The whole test part is always scored."""
    prevalence: dict[str, float] = Field(default_factory=dict)
    """How frequent each class is where the model will be used, for the score weighted by it (only where the unit is the
    sample); on any scale, a class that is not named counts 0. Empty: as in the training part, which is no natural
    frequency where the samples of a class were capped."""

    @field_validator("prevalence")
    @classmethod
    def _not_negative(cls, value: dict[str, float]) -> dict[str, float]:
        if value and (min(value.values()) < 0 or not 0 < sum(value.values()) < float("inf")):
            raise ValueError("frequencies of classes must be 0 or more, and some of them more than 0")
        return value


def too_few(number: int, what: str, recipe: EvaluateRecipe) -> str:
    """Why a part of the test with so many samples (or events) gets no number of its own."""
    return f"{number} tested {what}{'' if number == 1 else 's'}, and a number needs {recipe.n_min}"
