"""biodiversity: the making of a simulated store: observations, vision and language vectors, and the truth beside."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from groundswell.core.errors import InputError
from groundswell.core.files import free_gib
from groundswell.core.progress import progress
from groundswell.core.recipe import build_recipe
from groundswell.core.seeds import derive_seed
from groundswell.data.embeddings.spec import STORED, TableSpec
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.data.embeddings.writing import TableWriter
from groundswell.pipelines.biodiversity.observations import checked, read_observations
from groundswell.pipelines.biodiversity.simulate.effects import EFFECTS, LANGUAGE, VISION, Effects, Seen
from groundswell.pipelines.biodiversity.simulate.observed import simulate_observations
from groundswell.pipelines.biodiversity.simulate.recipe import SimulateRecipe
from groundswell.pipelines.biodiversity.simulate.tiers import SHAPES, rows_of
from groundswell.pipelines.biodiversity.simulate.truth import write_truth

_AT_ONCE = 256  # observations whose pooled vectors are made together
_CHUNK_BYTES = 64 << 20  # of the largest table's rows that are made together; a row alone may be more
_GIB = 2**30


def simulate(recipe: SimulateRecipe, out: Path, *, observations: pd.DataFrame | None = None) -> list[str]:
    """Write a simulated store of embeddings, with ``truth.json`` and ``truth.parquet`` in it.

    The same recipe gives the same bytes on the same machine, but for the time at which ``store.json`` was created.
    Memory holds the observations, the language vectors and a part (half a GiB) of each table.

    Args:
        recipe: the knobs.
        out: the store's folder, empty or absent. It appears when all is written.
        observations: a table to use instead of the recipe's, as :func:`read_observations` gives it.

    Returns:
        Lines for a person.

    Raises:
        InputError: the folder is not empty; the table cannot be used, or an image's number stands in it twice; or the
            store would be larger than ``most_gib`` or the free space. Nothing was written then.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("The folder for the simulated store is not empty", where=out, fix="Choose another")
    frame, source = _observations(recipe, observations)
    taxa = sorted(frame["taxon_name"].unique())
    effects = Effects(recipe, taxa)
    gib = _gib(recipe, len(frame), len(taxa))
    if gib > min(recipe.most_gib, free_gib(out.parent)):
        raise InputError(f"The store would be {gib:.1f} GiB large; {recipe.most_gib:g} are allowed (most_gib) and "
                         f"{free_gib(out.parent):.1f} are free", where=out,
                         fix="Leave out larger tiers, take fewer observations (count), or choose dtype=float16")
    with _whole(out) as folder:
        store = EmbeddingStore.create(folder, note={
            "simulated": True, "made_by": "biodiversity simulate", "observations": source, "seed": recipe.seed})
        store.add_taxa(taxa)
        store.write_observations(frame)
        measured = _write_vision(store, effects, frame)
        if recipe.language:
            with store.writer(TableSpec("language", (LANGUAGE,), recipe.dtype, "taxon"), facts=_facts(recipe)) as to:
                to.add(np.arange(len(taxa)), effects.language())
        write_truth(folder, effects, frame, source=source, measured=measured)
        store.close()
    return _lines(effects, frame, source, measured, gib)


def simulate_store(out: Path, *, observations: pd.DataFrame | Path | None = None, **knobs: Any) -> EmbeddingStore:
    """:func:`simulate` by keywords; the open store.

    Args:
        out: the store's folder, empty or absent.
        observations: a real table or its path; absent simulates one.
        knobs: keys of :class:`SimulateRecipe`; those of ``observed`` as a mapping.

    Raises:
        InputError: as :func:`simulate`, or a knob that is not known.
    """
    frame = observations if isinstance(observations, pd.DataFrame) else None
    if observations is not None and frame is None:
        knobs["observations"] = str(observations)
    simulate(build_recipe(SimulateRecipe, knobs), out, observations=frame)
    return EmbeddingStore.open(out)


def small_store(folder: Path, seed: int = 42) -> Path:
    """60 observations of 3 species, pooled vision and language, in a second: for tests; ``folder`` itself."""
    simulate(build_recipe(SimulateRecipe, {
        "seed": seed, "count": 60, "species": 3, "class_effect": 1.5, "genus_share": 0.0,
        "observed": {"places": 20, "abundance_spread": 0.2, "patchiness": 0.5, "observers": 8}}), folder)
    return Path(folder)


def _observations(recipe: SimulateRecipe, given: pd.DataFrame | None) -> tuple[pd.DataFrame, str]:
    """The table, with ``has_vision`` as it will be, and what it is."""
    if given is not None:
        frame, source = checked(given, "the observations given"), "given"
    elif recipe.observations:
        frame = read_observations(Path(recipe.observations))
        source = f"those of {Path(recipe.observations).name}"
    else:
        frame, source = checked(simulate_observations(recipe), "simulated observations"), "simulated"
    if recipe.count > len(frame):
        raise InputError(f"The table has {len(frame)} observations, not {recipe.count}", where="count",
                         fix="Ask for fewer, or 0 for all")
    chance = np.random.default_rng(derive_seed(recipe.seed, "biodiversity.simulate", "which"))
    if recipe.count:
        frame = frame.iloc[np.sort(chance.permutation(len(frame))[:recipe.count])].reset_index(drop=True)
    repeated = frame["gbif_id"].duplicated()
    if repeated.any():
        raise InputError(f"{int(repeated.sum())} gbif_id(s) stand in the table more than once, first "
                         f"{frame.loc[repeated, 'gbif_id'].iloc[0]}", where="column 'gbif_id'",
                         fix="A store holds one vision vector for each; keep one image of an observation")
    gone = chance.permutation(len(frame))[:round(recipe.missing_share * len(frame))]
    there = frame["has_vision"].to_numpy(bool, copy=True)
    there[gone] = False
    return frame.assign(has_vision=there), source


def _write_vision(store: EmbeddingStore, effects: Effects, frame: pd.DataFrame) -> dict[str, float]:
    """Write the recipe's tables in one pass; the root mean square of what each effect added to a number."""
    recipe, seen, there = effects.recipe, Seen.of(frame, effects.taxa), frame["has_vision"].to_numpy(bool)
    order = np.argsort(seen.number)
    size = max((4 * int(np.prod(SHAPES[name])) for name in recipe.tiers), default=1)
    few = max(1, _CHUNK_BYTES // size)
    square = dict.fromkeys(EFFECTS, 0.0)
    with contextlib.ExitStack() as stack:
        writers: dict[str, TableWriter] = {}
        for tier in recipe.tiers:
            spec = TableSpec(tier, SHAPES[tier], recipe.dtype)
            writers[tier] = stack.enter_context(store.writer(spec, facts=_facts(recipe)))
        bar = stack.enter_context(progress(len(order), "simulate", "observations"))
        for start in range(0, len(order), _AT_ONCE):
            rows = order[start:start + _AT_ONCE]
            parts = effects.parts(seen.take(rows))
            for name, part in parts.items():
                square[name] += float(np.square(part[there[rows]], dtype=np.float64).sum())
            pooled = effects.total(parts)
            for first in range(0, len(rows), few):
                some, vectors = rows[first:first + few], pooled[first:first + few]
                made = rows_of(recipe.tiers, vectors, seen.number[some], spread=recipe.token_spread, seed=recipe.seed)
                for table, values in made.items():
                    writers[table].add(seen.number[some], values, ~there[some])
                bar.advance(len(some))
    return {name: float(np.sqrt(total / max(1, there.sum() * VISION))) for name, total in square.items()}


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that becomes it on leaving without error, and is removed otherwise."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", suffix=".part", dir=out.parent))
    except OSError as error:
        raise InputError(f"Cannot write here: {error.strerror}", where=out.parent,
                         fix="Choose a folder that exists and can be written to") from error
    folder = aside / "store"
    folder.mkdir()  # with the permissions that a folder has here; a temporary one is its owner's alone
    try:
        yield folder
        os.replace(folder, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _gib(recipe: SimulateRecipe, observations: int, taxa: int) -> float:
    itemsize = np.dtype(STORED[recipe.dtype]).itemsize
    values = observations * sum(int(np.prod(SHAPES[name])) for name in recipe.tiers)
    return itemsize * (values + recipe.language * taxa * LANGUAGE) / _GIB


def _facts(recipe: SimulateRecipe) -> dict[str, Any]:
    return {"simulated": True, "made_by": "biodiversity simulate", "seed": recipe.seed}


def _lines(effects: Effects, frame: pd.DataFrame, source: str, measured: dict[str, float], gib: float) -> list[str]:
    recipe, missing = effects.recipe, int((~frame["has_vision"]).sum())
    tables = [*recipe.tiers, *(["language"] if recipe.language else [])]
    lines = ["These embeddings are simulated.",
             f"Observations: {source}; {len(frame)} of {len(effects.taxa)} species"
             + (f", {missing} without a vision vector." if missing else "."),
             f"Tables: {', '.join(tables)}; {recipe.dtype}, {gib:.2g} GiB."]
    if recipe.tiers:
        lines.append(f"Of the variance of a vision vector: {_shares(measured)}.")
        lines.append(f"The correlation of the place's effect is 0.05 at {recipe.place_range_m:g} m and nothing at "
                     f"{2.5 * recipe.place_range_m:g} m." if recipe.place_effect else "Places have no effect.")
    if recipe.tiers and not recipe.class_effect:
        lines.append("Species have no effect: what finds them in these vectors goes by place or season, or is luck.")
    return lines


def _shares(measured: dict[str, float]) -> str:
    square = {name: measured[name] ** 2 for name in EFFECTS if name != "offset"}
    total = sum(square.values())
    return ", ".join(f"{name} {100 * value / total:.0f} %" for name, value in square.items()) if total else "nothing"
