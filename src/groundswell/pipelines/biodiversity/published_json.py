"""biodiversity: the published split as a JSON file, written as it was published, and such files read as splits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from groundswell.core.errors import InputError
from groundswell.core.files import read_json, write_text
from groundswell.data.table import SampleTable
from groundswell.pipelines.biodiversity.observations import checked
from groundswell.splits.division import Division
from groundswell.splits.parts import EXCLUDED, TEST, TRAIN, VALIDATION
from groundswell.splits.published import Published, PublishedRule, draw_validation, published_division
from groundswell.splits.recipe import SplitRecipe

_NEEDED = ("gbif_id", "image_index", "taxon_id", "taxon_name", "latitude", "longitude", "year", "month", "day")
_PARTS = {"train": TRAIN, "test": TEST, "validation": VALIDATION, "excluded": EXCLUDED}


@dataclass(frozen=True)
class DatasetInfo:
    """What the file says of the data set; by default what the published one says."""

    name: str = "central-florida-native-plants"
    version: str = "0.2.0"
    description: str = "Spatial and temporal train/test split for DeepEarth ML training"


@dataclass(frozen=True)
class SplitFile:
    """A split that was read.

    Attributes:
        document: the JSON as it is.
        frame: its observations in the file's order, with the columns of
            :data:`groundswell.pipelines.biodiversity.observations.COLUMNS`, and ``split`` (``"train"`` or ``"test"``;
            other regimes' files have ``"validation"`` and ``"excluded"`` too) and ``split_reason`` (text, empty where
            the file gives none).
        path: of the file.
    """

    document: dict[str, Any]
    frame: pd.DataFrame
    path: Path

    @property
    def regions(self) -> list[dict[str, Any]]:
        """The squares that are tested, as the file has them; empty where it has none."""
        return list(self.document.get("test_spatial_regions", []))


def split_document(frame: pd.DataFrame, *, rule: PublishedRule | None = None, info: DatasetInfo | None = None,
                   created: str | None = None) -> dict[str, Any]:
    """Split observations by the published procedure and say so in the published words, keys and order.

    The rows' order is part of the input, see :func:`groundswell.splits.published.published_division`. Columns that say
    how observations were split before are not looked at. Only observations that count are in the document.

    Args:
        frame: from :func:`groundswell.pipelines.biodiversity.observations.read_observations`.
        rule: other numbers than the published ones.
        info: of another data set.
        created: when, ISO 8601; now by default.

    Returns:
        JSON-able. Unlike the published program's, distance and number of regions are those that were kept to.

    Raises:
        InputError: the observations cannot be split so, or lack a column, or one is there twice.
    """
    missing = [name for name in ("observation_id", *_NEEDED) if name not in frame]
    if missing:
        raise InputError(f"A split file needs the column(s) {', '.join(missing)}", where="the observation table",
                         fix=f"There are: {', '.join(map(str, frame.columns))}")
    repeated = frame["observation_id"].duplicated().to_numpy()
    if repeated.any():
        raise InputError(f"{int(repeated.sum())} observation(s) are there more than once, first "
                         f"'{frame['observation_id'].iloc[int(repeated.argmax())]}'", where="the observation table",
                         fix="Leave the repeated rows out")
    made, info = published_division(frame, rule), info or DatasetInfo()
    train = frame.loc[made.train, ["latitude", "longitude"]].astype(np.float64)
    return {
        "dataset_info": {"dataset_name": info.name, "version": info.version,
                         "split_created": created or datetime.now(UTC).isoformat(), "description": info.description},
        "split_strategy": _strategy(made),
        "train_spatial_bounds": {"north": float(train["latitude"].max()), "south": float(train["latitude"].min()),
                                 "east": float(train["longitude"].max()), "west": float(train["longitude"].min())},
        "test_spatial_regions": [
            {"region_id": region.number, "center_gbif_id": int(frame["gbif_id"].iloc[region.row]),
             "center_species": str(frame["taxon_name"].iloc[region.row]), "center_lat": region.latitude,
             "center_lng": region.longitude, "bounds": {"north": region.north, "south": region.south,
                                                        "east": region.east, "west": region.west},
             "size_km": _plain(made.rule.region_km)} for region in made.regions],
        "split_statistics": _statistics(frame, made),
        "observation_mappings": dict(_mappings(frame, made)),
    }


def write_split_json(frame: pd.DataFrame, path: Path, *, rule: PublishedRule | None = None,
                     info: DatasetInfo | None = None, created: str | None = None) -> dict[str, Any]:
    """Write :func:`split_document` to ``path``, atomically and in the published layout.

    Returns:
        The document.

    Raises:
        InputError: as :func:`split_document`; then nothing is written. Or the folder cannot be written to.
    """
    document = split_document(frame, rule=rule, info=info, created=created)
    write_text(path, json.dumps(document, indent=2, allow_nan=False))
    return document


def read_split_json(path: Path) -> SplitFile:
    """Read a split file: the published one, one of :func:`write_split_json`, or another's in the same form.

    Raises:
        InputError: missing, no JSON, no observations, or an entry that cannot be used; the message names it.
    """
    path, document = Path(path), read_json(Path(path))
    mappings = document.get("observation_mappings") if isinstance(document, dict) else None
    if not isinstance(mappings, dict) or not mappings:
        raise InputError("The file is no split of observations: it has no 'observation_mappings'", where=path,
                         fix="Make one with: groundswell biodiversity split --regime published")
    regions = document.get("test_spatial_regions", [])
    if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
        raise InputError("'test_spatial_regions' is no list of objects", where=path, fix="Make the split again")
    for name, entry in mappings.items():
        _check_entry(name, entry, path)
    frame = pd.DataFrame.from_records(list(mappings.values()))
    frame["split_reason"] = frame["split_reason"].fillna("") if "split_reason" in frame else ""
    if "observation_id" in frame:
        del frame["observation_id"]
    frame.insert(0, "observation_id", list(mappings))
    return SplitFile(document, checked(frame, str(path)), path)


def divide_by_file(table: SampleTable, split: SplitFile, recipe: SplitRecipe) -> Division:
    """Divide a table as a split file says; where it has no validation part, draw one from what it trains on.

    Args:
        table: with ids of observations for ``sample_id``, in any order. Samples that the file does not name are in no
            part, and counted.
        split: from :func:`read_split_json`.
        recipe: of it, ``validation`` and ``seed`` are looked at.

    Returns:
        One fold; the stratum of a tested sample is the file's reason in plain words, as
        :func:`groundswell.splits.published.divide_published` has it.

    Raises:
        InputError: the file leaves the table without a training or a test part, or there are too few groups to validate
            on.
    """
    names = table.column("sample_id")
    found = pd.Index(split.frame["observation_id"]).get_indexer(pd.Index(names))
    known = found >= 0
    chosen = split.frame.iloc[found[known]]
    part, stratum = np.full(len(table), EXCLUDED, np.int8), np.full(len(table), "", object)
    part[known] = chosen["split"].map(_PARTS)
    for code, called in ((TRAIN, "train"), (TEST, "test")):
        if not (part == code).any():
            raise InputError(f"Of {len(table):,} samples the split file has none in its {called} part; it names "
                             f"{int(known.sum()):,} of them", where=split.path,
                             fix="Use the split that was made for these observations")
    stratum[known] = [stratum_in_words(reason) for reason in chosen["split_reason"]]
    stratum[part != TEST] = ""
    if not (part == VALIDATION).any():
        part[draw_validation(table, np.asarray(part == TRAIN, bool), recipe)] = VALIDATION
    return Division(part[:, None], stratum, {
        "file": split.path.name, "not_in_file": int((~known).sum()),
        "not_in_table": int((~split.frame["observation_id"].isin(names)).sum())})


def _strategy(made: Published) -> dict[str, Any]:
    year = made.rule.test_year
    return {"temporal_split": {"train_years": f"all except {year}", "test_years": [year],
                               "description": f"Exclude {year} from training to test temporal generalization"},
            "spatial_split": {"num_test_regions": len(made.regions), "region_size_km": float(made.rule.region_km),
                              "min_distance_km": float(made.kept_km),
                              "description": "Spatial carve-outs for testing geographic generalization"}}


def _statistics(frame: pd.DataFrame, made: Published) -> dict[str, Any]:
    total, train, test = (int(rows.sum()) for rows in (made.eligible, made.train, made.test))
    return {"total_observations": total, "train_count": train, "test_count": test,
            "train_percentage": train / total * 100, "test_percentage": test / total * 100,
            "temporal_test_count": int(made.temporal.sum()), "spatial_test_count": int((made.region > 0).sum()),
            "unique_species_train": int(frame.loc[made.train, "taxon_name"].nunique()),
            "unique_species_test": int(frame.loc[made.test, "taxon_name"].nunique())}


def _mappings(frame: pd.DataFrame, made: Published) -> Iterator[tuple[str, dict[str, Any]]]:
    frame = frame[["observation_id", *_NEEDED]].assign(
        split=np.where(made.train, "train", "test"), split_reason=made.reason)[made.eligible]
    columns = {name: frame[name].tolist() for name in frame}
    for k, name in enumerate(columns["observation_id"]):
        yield str(name), {
            "gbif_id": int(columns["gbif_id"][k]), "taxon_id": _number_or_text(columns["taxon_id"][k]),
            "taxon_name": str(columns["taxon_name"][k]), "image_index": int(columns["image_index"][k]),
            "split": columns["split"][k], "split_reason": columns["split_reason"][k],
            "latitude": float(columns["latitude"][k]), "longitude": float(columns["longitude"][k]),
            **{part: None if pd.isna(columns[part][k]) else int(columns[part][k]) for part in ("year", "month", "day")}}


def _number_or_text(value: Any) -> int | str:
    # GBIF's taxa are numbers, which the file has as such; we hold them as text, as others' ids of taxa are.
    text = str(value)
    return int(text) if re.fullmatch("0|[1-9][0-9]{0,17}", text) else text


def _plain(number: float) -> float:
    return int(number) if float(number).is_integer() else float(number)


def stratum_in_words(reason: str) -> str:
    """Why a file tests an observation, in the words of the published regime; other regimes have their own."""
    region = re.fullmatch("spatial_test_region_([0-9]+)", reason)
    return f"spatial region {region[1]}" if region else "temporal" if reason == "temporal_test" else reason or "test"


def _check_entry(name: str, entry: Any, path: Path) -> None:
    where, fix = f"{path}, observation '{name}'", "Correct the entry, or make the split again"
    if not isinstance(entry, dict):
        raise InputError("An observation of the split is no object", where=where, fix=fix)
    odd = [key for key, value in entry.items() if not isinstance(value, (str, int, float, type(None)))]
    missing = [key for key in ("split", "taxon_name", "latitude", "longitude") if key not in entry]
    if missing or odd:
        what = f"lacks {', '.join(missing)}" if missing else f"has a list or an object for {', '.join(odd)}"
        raise InputError(f"An observation of the split {what}", where=where, fix=fix)
    if entry["split"] not in _PARTS:
        raise InputError(f"The split {entry['split']!r} is none of {', '.join(_PARTS)}", where=where, fix=fix)
    if not isinstance(entry.get("split_reason", ""), (str, type(None))):
        raise InputError(f"The split_reason {entry['split_reason']!r} is no text", where=where, fix=fix)
