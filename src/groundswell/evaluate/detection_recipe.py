"""evaluate: the part of a recipe that says how boxes are judged."""

from __future__ import annotations

from pydantic import Field

from groundswell.core.recipe import RecipePart


class DetectionEvaluateRecipe(RecipePart):
    """How boxes are turned into numbers one can defend."""

    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Coverage of every interval."""
    bootstrap: int = Field(2000, ge=100)
    """Resamples of groups (clips, dives) for every interval."""
    most: int = Field(100, ge=1)
    """Most boxes of an image that count for average precision, the surest ones (COCO: 100)."""
    count_at: float = Field(0.25, ge=0, le=1)
    """Score from which a box is counted, for precision, recall, confusion and counting errors."""
    n_min: int = Field(10, ge=1)
    """Fewest true boxes that a class, a priority group or a source needs for a number of its own."""
    controls: tuple[str, ...] = ("class_prior", "permuted_labels")
    """Null controls that stand beside the score; those that learn are taught on the same split."""
    control_epochs: int = Field(0, ge=0)
    """Epochs of the controls that train a network; 0 means as many as the model itself."""
