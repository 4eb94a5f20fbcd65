"""marine: the keys of tracking and counting."""

from __future__ import annotations

from pydantic import Field, model_validator

from groundswell.core.recipe import RecipePart


class TrackRecipe(RecipePart):
    """How animals are followed from frame to frame, and when they are counted; the first names are the seed's."""

    activation: float = Field(0.25, gt=0, lt=1)
    """Score from which a box begins a track and is matched first."""
    buffer_s: float = Field(1.0, gt=0)
    """How long an animal may be out of sight and keep its track, seconds (the seed's 30 frames of 30 in a second)."""
    match: float = Field(0.8, gt=0, lt=1)
    """Largest distance, 1 - intersection over union, between where a track is expected and a box that continues it."""
    fps: float = Field(5.0, gt=0)
    """Frames looked at in a second of recording; a recording with fewer is looked at whole."""
    min_hits: int = Field(3, ge=1)
    """Frames that an animal must be found in before it is counted."""
    floor: float = Field(0.1, gt=0, lt=1)
    """Score below which boxes are ignored; between it and activation they only continue a track."""
    weak_match: float = Field(0.5, gt=0, lt=1)
    """As match, for boxes with scores below activation."""
    reach: float = Field(3.0, ge=0, le=10)
    """How far, in standard deviations of what is expected, a box may be from a track that it does not overlap and still
    continue it, where nothing else does: at few frames a second a small animal leaves its own box before its speed is
    known. 0 does without."""
    same_place: float = Field(0.9, gt=0, le=1)
    """Overlap from which two boxes of one frame are one animal, whatever their classes; the higher score stays."""

    @model_validator(mode="after")
    def _floor_is_lowest(self) -> TrackRecipe:
        if self.floor > self.activation:
            raise ValueError("floor must not be above activation")
        return self


PRESETS = {
    "nano": TrackRecipe(),
    "shore": TrackRecipe(activation=0.15, buffer_s=50 / 30, match=0.85),
}
"""The seed's two settings: a station with a small computer, and a server on the shore."""
