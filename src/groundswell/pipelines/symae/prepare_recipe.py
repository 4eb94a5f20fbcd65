"""symae: the part of a recipe that says how seismograms become bags."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from groundswell.core.recipe import RecipePart


class PrepareRecipe(RecipePart):
    """How seismograms become bags of traces. ``way: seed`` with ``dt: 1.0`` is the original's preparation."""

    way: Literal["groundswell", "seed"] = "groundswell"
    """groundswell: cut the window, taper it, and normalise it, so that mean 0 and deviation 1 hold in the end. seed: as
    the original did it: 400 samples with P at the 200th, tapered, 100 cut off either side, tapered again, normalised,
    and samples 9 to 200 kept."""
    dt: float = Field(0.45, gt=0)
    """Seconds between samples of prepared traces; 0.45 lets 192 of them span the 86.4 s of the real events."""
    nt: int = Field(192, ge=16)
    """Samples in a prepared trace."""
    before_p_s: float = Field(38.4, gt=0)
    """Seconds from the first sample to the theoretical P (way groundswell)."""
    taper: float = Field(0.1, ge=0, le=1)
    """Share of a trace that Tukey's window tapers, both ends together."""
    most_padding_s: float = Field(0.0, ge=0)
    """A record may be shorter than the window by so many seconds, either side; the rest is zero."""
    least_traces: int = Field(4, ge=2)
    """Pixels with fewer traces of an event are left out, and counted (the original: 21)."""
    nside: int = Field(4, ge=1, le=64)
    """Of the HEALPix pixels of the focal sphere."""
    polarity: bool = True
    """Turn traces over so that those of a bag agree, by correlation; the polarity applied is kept with each trace."""
    polarity_lag_s: float = Field(10.0, gt=0)
    """Largest difference in arrival at which two traces are compared for their polarity."""
    drop_bad: bool = False
    """Leave out traces that cannot be used, and count them by reason, instead of refusing the archive."""
    stations_out: float = Field(0.0, ge=0, lt=1)
    """Share of the stations of each bag to mark as held out (the original: 0.1); by name, whatever their order."""
    seed: int = 1234
    """Of the choice of stations held out."""
    events: tuple[str, ...] = ()
    """Events to take; all where none is named."""
    rate_hz: float | None = Field(None, gt=0)
    """HDF5: samples a second, where the file does not say."""
    p_sample: float | None = Field(None, ge=0)
    """HDF5: sample, counted from 0, at which the theoretical P arrives, where the file does not say."""
    model: Literal["iasp91", "prem", "ak135"] = "iasp91"
    """SAC and miniSEED: earth model of the theoretical P arrival."""
    angle_model: Literal["iasp91", "prem", "ak135"] = "prem"
    """SAC and miniSEED: earth model of the take-off angle, and so of the pixel."""
    p_header: str = Field("", pattern=r"^(t\d)?$")
    """SAC: header that holds the theoretical P (such as t0), used instead of the model where it is set."""
    pick_header: str = Field("", pattern=r"^(a|t\d)?$")
    """SAC: header that holds a measured arrival (such as t3)."""
    pick_kind: str = ""
    """SAC: how that arrival was measured, such as MCCC."""
    sac_depth: Literal["auto", "km", "m"] = "auto"
    """SAC: unit of the depth in headers; auto takes what is larger than 1000 for metres."""

    @model_validator(mode="after")
    def _seed_has_192(self) -> PrepareRecipe:
        if self.way == "seed" and self.nt != 192:
            raise ValueError("the seed's way leaves 192 samples: nt must be 192")
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "groundswell": {},
    "seed": {"way": "seed", "dt": 1.0, "least_traces": 21, "stations_out": 0.1},
}
"""Values of the recipe by the name of a preparation. The seed's archive states neither rate nor P: set both keys."""
