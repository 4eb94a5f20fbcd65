"""geomag: real minutes of one observatory as the background that signals are planted on."""

from __future__ import annotations

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.building.indices import read_indices
from groundswell.pipelines.geomag.building.minutes import iso_minute
from groundswell.pipelines.geomag.building.sources import read_records
from groundswell.pipelines.geomag.simulate.background import Background
from groundswell.pipelines.geomag.simulate.recipe import BackgroundRecipe


def real_background(recipe: BackgroundRecipe) -> Background:
    """Read the files that the recipe names.

    Raises:
        InputError: a file is missing, damaged or holds no minutes, several observatories and none is chosen, or the
            component cannot be had.
    """
    wanted = [recipe.station] if recipe.station else []
    stations = read_records(recipe.files, [recipe.component], wanted).stations
    if len(stations) > 1:
        raise InputError(f"The files hold the minutes of {len(stations)} observatories ({', '.join(sorted(stations))})"
                         " and one is needed", where="background.files",
                         fix="Choose one: --set background.station=CODE")
    series = next(iter(stations.values())).series
    told = (f"real: {series.station}, component {recipe.component}, {iso_minute(series.start_minute)} to "
            f"{iso_minute(series.stop_minute)}")
    known = read_indices(recipe.indices) if recipe.indices else None
    return Background(series, known, bool(series.facts.get("simulated")), told, {
        "background": told, "background_source": series.facts.get("source", ""),
        "indices": "real: " + ", ".join(sorted(known.read)) if known else "none; range_mean_nt is of the background"})
