"""marine: how underwater images are corrected, as a pydantic model; names and defaults are the seed's."""

from __future__ import annotations

from pydantic import Field, field_validator

from groundswell.core.recipe import RecipePart


class PrepareRecipe(RecipePart):
    """Grey world in Lab, then the dark channel's haze removed, then local contrast of the lightness."""

    strength: float = Field(1.1, ge=0, le=2)
    """How far the mean colour is moved towards grey where it is bright; 0 leaves colours as they are."""
    window: int = Field(15, ge=1, le=201)
    """Edge of the square in which the dark channel is sought, pixels; odd."""
    omega: float = Field(0.95, ge=0, le=1)
    """Share of the haze that is taken away; 0 takes none."""
    least_transmission: float = Field(0.1, gt=0, le=1)
    """Transmission below which none is believed, or noise would be all that is left."""
    brightest: float = Field(0.001, gt=0, le=1)
    """Share of the dark channel's pixels, its brightest, whose mean colour is taken for the light of the water."""
    clip: float = Field(2.0, ge=0)
    """Clip limit of the histogram equalisation; 0 leaves the contrast as it is."""
    tiles: int = Field(8, ge=1, le=64)
    """Tiles each way of the histogram equalisation."""

    @field_validator("window")
    @classmethod
    def _has_a_middle(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("a window is odd: it has a pixel in its middle")
        return value
