"""biodiversity: dividing observations, and auditing divisions, with documents, maps and a page to look at."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from groundswell.core.errors import InputError
from groundswell.core.files import write_json
from groundswell.data.table import SampleTable
from groundswell.pipelines.biodiversity.audit_page import write_audit
from groundswell.pipelines.biodiversity.data import observations_of, with_clusters
from groundswell.pipelines.biodiversity.observations import observation_table, read_observations
from groundswell.pipelines.biodiversity.published_json import read_split_json, stratum_in_words, write_split_json
from groundswell.pipelines.biodiversity.recipe import BiodiversityRecipe
from groundswell.pipelines.verbs import check_split_place, write_split
from groundswell.splits.audit import require_clean
from groundswell.splits.knndm_words import matching_in_words
from groundswell.splits.make import make_split
from groundswell.splits.manifest import EXCLUDED, TEST, TRAIN, VALIDATION, SplitManifest

_WORDS = {EXCLUDED: "excluded", TRAIN: "train", VALIDATION: "validation", TEST: "test"}


def split_observations(recipe: BiodiversityRecipe, out: Path | None) -> list[str]:
    """Divide the recipe's observations; what to tell the person, line by line.

    Args:
        recipe: whose data and split are looked at. With ``data.observations`` no store is needed.
        out: ``.json`` for a document that names the part of every observation (of regime published the very document
            that was published), or a folder for that with the manifest, maps, GeoJSON and a page; None writes nothing.

    Raises:
        InputError: the observations cannot be divided like this, or ``out`` is in the folder of a run.
        RefusedError: the division leaks.
    """
    if out is not None:
        check_split_place(out)
    frame, origin = _frame(recipe)
    table = with_clusters(observation_table(frame, group=recipe.data.group, origin=origin), recipe.data.cluster_km)
    manifest = make_split(table, recipe.split)
    lines = [_counts(manifest)]
    if recipe.split.regime == "published":
        lines.append(_published(manifest))
    if manifest.stratum is not None:
        kinds, counts = np.unique(manifest.stratum[manifest.stratum != ""].astype(str), return_counts=True)
        lines += [f"  tested, {kind}: {count}" for kind, count in zip(kinds, counts, strict=True)]
    lines += matching_in_words(manifest.settings)
    lines += manifest.audit.summary()
    require_clean(manifest, recipe.split.allow_leakage)
    if out is None:
        return lines
    if out.suffix == ".json":
        _write_document(recipe, frame, manifest, out)
        return [*lines, f"Wrote {out}. Next: groundswell biodiversity audit {out}"]
    audit = write_audit(out, table, manifest)
    write_split(manifest, out)
    _write_document(recipe, frame, manifest, out / "observations.json")
    return [*lines, *audit.verdict(), f"Wrote {out}. Look at {out / 'audit.html'}"]


def _frame(recipe: BiodiversityRecipe) -> tuple[pd.DataFrame, dict[str, Any]]:
    if not recipe.data.observations:
        frame, origin = observations_of(recipe)
        if str(origin.get("observations", "simulated")) not in ("simulated", "given"):
            # A division looks at observations alone, and these are real: only the vectors beside them are simulated.
            origin = {key: value for key, value in origin.items() if key != "simulated"}
        return frame, origin
    frame = read_observations(Path(recipe.data.observations))
    lost = int((~frame["has_vision"]).sum())
    left_out = {"left_out": {"observations without a vision vector": f"{lost} of {len(frame)}"}} if lost else {}
    return frame[frame["has_vision"]].reset_index(drop=True), left_out


def _counts(manifest: SplitManifest) -> str:
    each = manifest.counts()[0]
    first = f", in the first of {manifest.folds} folds" if manifest.folds > 1 else ""
    left = int((manifest.assignment[:, 0] == EXCLUDED).sum())
    return (f"Split: {manifest.regime}{first}: " + ", ".join(f"{count:,} {name}" for name, count in each.items())
            + (f", {left:,} left out" if left else ""))


def _published(manifest: SplitManifest) -> str:
    each, facts = manifest.counts()[0], manifest.settings
    return (f"  published: {each['train'] + each['validation']:,} train, {each['test']:,} test "
            f"({facts['tested_for_time']:,} temporal, {facts['tested_for_place']:,} spatial); regions around "
            + ", ".join(str(square["centre"]) for square in facts["squares"]))


def _write_document(recipe: BiodiversityRecipe, frame: pd.DataFrame, manifest: SplitManifest, out: Path) -> None:
    if recipe.split.regime == "published":
        write_split_json(frame, out)
        return
    tested = (manifest.assignment == TEST).argmax(axis=1)
    folds = manifest.folds > 1
    part = np.where((manifest.assignment == TEST).any(axis=1), TEST, manifest.assignment[:, 0])
    reason = manifest.stratum if manifest.stratum is not None else np.full(len(frame), "", object)
    names = ("gbif_id", "taxon_id", "taxon_name", "image_index", "latitude", "longitude", "year", "month", "day")
    rows = {}
    for i, entry in enumerate(frame[list(names)].to_dict("records")):
        entry = {name: None if pd.isna(value) else value for name, value in entry.items()}
        entry |= {"split": _WORDS[int(part[i])], "split_reason": str(reason[i])}
        entry |= {"fold": int(tested[i]) + 1} if folds and part[i] == TEST else {}
        rows[str(frame["observation_id"].iloc[i])] = entry
    write_json(out, {
        "dataset_info": {"split_created": datetime.now().isoformat(), "table_fingerprint": manifest.table_fingerprint,
                         "description": f"Regime {manifest.regime}, seed {manifest.seed}"},
        "split_strategy": {"regime": manifest.regime, "seed": manifest.seed, "settings": manifest.settings},
        "split_statistics": {"counts": manifest.counts(), "audit": manifest.audit.to_json()},
        "observation_mappings": rows})


def audit_file(split: Path, out: Path) -> list[str]:
    """Audit a division that exists; what to tell the person, line by line.

    Args:
        split: document of :func:`split_observations` or of the published data set.
        out: folder for ``audit.html``, ``audit.json``, maps and GeoJSON.

    Raises:
        InputError: the document cannot be used.
    """
    frame, regions = read_document(split)
    table = observation_table(frame)
    kinds = np.array([stratum_in_words(reason) for reason in frame["split_reason"]], object)
    manifest = manifest_of(table, frame["split"].to_numpy(object), kinds)
    audit = write_audit(out, table, manifest, regions=regions or None, name=split.stem)
    return [_counts(manifest), *audit.verdict(), f"Wrote {out}. Look at {out / 'audit.html'}"]


def read_document(path: Path) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Observations of a document with their ``split`` and ``split_reason``, and the regions it tests, if any."""
    split = read_split_json(path)
    return split.frame, split.regions


def manifest_of(table: SampleTable, split: NDArray[np.object_], reason: NDArray[np.object_]) -> SplitManifest:
    """The manifest of parts that are given in words.

    Raises:
        InputError: a word that is no part.
    """
    codes = {word: code for code, word in _WORDS.items()}
    unknown = sorted({str(word) for word in split} - set(codes))
    if unknown:
        raise InputError(f"There is no part '{unknown[0]}'", where="split", fix=f"Parts are: {', '.join(codes)}")
    assignment = np.array([codes[str(word)] for word in split], np.int8)
    stratum = np.where(assignment == TEST, reason.astype(str), "").astype(object)
    return SplitManifest.of(table, assignment, "given", 0, {}, stratum if (stratum != "").any() else None)
