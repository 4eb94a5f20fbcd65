"""biodiversity: what is true of a simulated store, written beside it, and its vectors taken apart again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from groundswell.core.errors import InputError
from groundswell.core.files import atomic_path, read_json, write_json
from groundswell.core.recipe import build_recipe
from groundswell.pipelines.biodiversity.simulate.effects import Effects, Floats, Seen
from groundswell.pipelines.biodiversity.simulate.recipe import SimulateRecipe

_ROWS = "truth.parquet"


@dataclass(frozen=True)
class Truth:
    """What is true of a simulated store.

    Attributes:
        recipe: the knobs.
        frame: one row an observation, in the table's order: observation_id, gbif_id, taxon_name, taxon, latitude,
            longitude, season_rad (nan where the date is not known), missing, and two lists of latent numbers: species
            (the same for all of a species) and individual.
        facts: all of truth.json.
        effects: the effects themselves.
    """

    recipe: SimulateRecipe
    frame: pd.DataFrame
    facts: Mapping[str, Any]
    effects: Effects

    def parts(self, rows: slice) -> dict[str, Floats]:
        """What each effect adds to the pooled vision vectors of some rows of the frame; see :meth:`Effects.parts`.

        Their sum, in the order in which they are given, is the vector, to rounding.
        """
        return self.effects.parts(_seen(self.frame.iloc[rows]))

    @classmethod
    def read(cls, folder: Path) -> Truth:
        """The truth of the store in ``folder``.

        Raises:
            InputError: there is none, so that the store was not simulated; or it is damaged.
        """
        path = Path(folder) / "truth.json"
        if not path.is_file():
            raise InputError("There is no truth here; only simulated stores have one", where=path)
        facts = read_json(path)
        try:
            recipe = build_recipe(SimulateRecipe, facts["recipe"], where=str(path))
            frame = pq.read_table(path.with_name(_ROWS)).to_pandas()
            return cls(recipe, frame, facts, Effects(recipe, facts["taxa"]))
        except (OSError, KeyError, TypeError, pa.ArrowException) as error:
            raise InputError(f"The truth cannot be read: {error!r}", where=folder,
                             fix="Simulate the store again") from error


def write_truth(folder: Path, effects: Effects, frame: pd.DataFrame, *, source: str,
                measured: Mapping[str, float]) -> None:
    """Write ``truth.parquet`` and ``truth.json``.

    Args:
        folder: of the store.
        effects: of the recipe on its species.
        frame: the observations, with ``has_vision``.
        source: what the observations are, in words.
        measured: root mean square of what each effect added to a number, over all vectors that are there.
    """
    seen = Seen.of(frame, effects.taxa)
    columns = {
        "observation_id": pa.array(frame["observation_id"], pa.string()), "gbif_id": seen.number,
        "taxon_name": pa.array(frame["taxon_name"], pa.string()), "taxon": seen.taxon, "latitude": seen.latitude,
        "longitude": seen.longitude, "season_rad": seen.season_rad, "missing": ~frame["has_vision"].to_numpy(bool),
        "species": _lists(effects.latent[seen.taxon]), "individual": _lists(effects.individual(seen.number))}
    with atomic_path(folder / _ROWS) as temporary:
        pq.write_table(pa.table(columns).replace_schema_metadata({b"simulated": b"true"}), temporary)
    write_json(folder / "truth.json", {
        "simulated": True, "observations": source, "taxa": list(effects.taxa),
        "rms": {name: round(value, 6) for name, value in measured.items()},
        "recipe": effects.recipe.model_dump(mode="json")})


def _lists(rows: np.ndarray[Any, np.dtype[np.float64]]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def _seen(frame: pd.DataFrame) -> Seen:
    return Seen(*(frame[name].to_numpy() for name in ("gbif_id", "taxon", "latitude", "longitude", "season_rad")))
