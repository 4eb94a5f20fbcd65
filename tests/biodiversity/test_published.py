"""The published split: made again to the letter, and refused in one clear sentence where it cannot be made."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError, MissingExtraError
from groundswell.data.sphere import great_circle_km
from groundswell.data.table import SampleTable
from groundswell.pipelines.biodiversity.observations import observation_table, read_observations
from groundswell.pipelines.biodiversity.published_json import (
    DatasetInfo,
    divide_by_file,
    read_split_json,
    split_document,
    write_split_json,
)
from groundswell.splits import published_regions
from groundswell.splits.manifest import SplitManifest
from groundswell.splits.parts import EXCLUDED, TEST, TRAIN, VALIDATION
from groundswell.splits.published import PublishedRule, divide_published, published_division
from groundswell.splits.recipe import SplitRecipe

CENTRES = [4901122435, 4923642029, 3759970308, 4129783569, 3044828353]
IN_REGION = [120, 19, 6, 22, 17]
RECIPE = SplitRecipe(regime="published")
BUT_ITS_SPLIT = ["split", "split_reason"]


@pytest.fixture(scope="module")
def plants(real_biodiversity: Path) -> pd.DataFrame:
    """The real observations without what the file says of their split."""
    return read_observations(real_biodiversity / "central_florida_observations.csv").drop(columns=BUT_ITS_SPLIT)


def made_frame(rows: int = 300, *, seed: int = 0, species: int = 6, years: tuple[int, ...] = (2023, 2024, 2025),
               degrees: float = 2.0) -> pd.DataFrame:
    """Observations scattered over a square, in no order of place or time."""
    chance = np.random.default_rng(seed)
    kind = chance.integers(0, species, rows)
    return pd.DataFrame({
        "observation_id": [f"{1000 + k}_1" for k in range(rows)], "gbif_id": 1000 + np.arange(rows), "image_index": 1,
        "taxon_id": [str(70 + k) for k in kind], "taxon_name": [f"Planta {chr(97 + k)}" for k in kind],
        "latitude": 28 + degrees * chance.random(rows), "longitude": -82 + degrees * chance.random(rows),
        "year": pd.array(np.resize(years, rows), "Int64"), "month": pd.array(chance.integers(1, 13, rows), "Int64"),
        "day": pd.array(chance.integers(1, 28, rows), "Int64"), "hour": pd.array([pd.NA] * rows, "Int64"),
        "has_vision": True})


def at(places: list[tuple[float, float]], years: list[int]) -> pd.DataFrame:
    """Observations at given places and of given years."""
    return made_frame(len(places)).assign(latitude=[lat for lat, _ in places], longitude=[lon for _, lon in places],
                                          year=pd.array(years, "Int64"))


# The real data


def test_the_published_numbers_come_out(plants: pd.DataFrame) -> None:
    made = published_division(plants)
    assert plants["gbif_id"].iloc[[r.row for r in made.regions]].tolist() == CENTRES
    assert [round(r.nearest_km, 1) for r in made.regions if r.nearest_km] == [115.0, 95.6, 62.2, 56.4]
    assert (len(plants), made.train.sum(), made.test.sum()) == (7113, 6439, 674)
    assert made.temporal.sum() == 490 and np.bincount(made.region)[1:].tolist() == IN_REGION
    species = plants["taxon_name"]
    assert [species[rows].nunique() for rows in (made.eligible, made.train, made.test)] == [227, 224, 167]
    assert (made.future & (made.region > 0)).sum() == 16


def test_the_file_is_the_published_one_to_the_letter_but_for_its_time(plants: pd.DataFrame, real_biodiversity: Path,
                                                                      tmp_path: Path) -> None:
    write_split_json(plants, tmp_path / "split.json")
    ours = (tmp_path / "split.json").read_text().split("\n")
    theirs = (real_biodiversity / "central_florida_split.json").read_text().split("\n")
    assert len(ours) == len(theirs)
    assert [a.split(":")[0].strip() for a, b in zip(ours, theirs, strict=True) if a != b] == ['"split_created"']


def test_with_the_published_time_not_a_byte_differs(plants: pd.DataFrame, real_biodiversity: Path,
                                                    tmp_path: Path) -> None:
    published = real_biodiversity / "central_florida_split.json"
    created = json.loads(published.read_text())["dataset_info"]["split_created"]
    write_split_json(plants, tmp_path / "split.json", created=created)
    assert (tmp_path / "split.json").read_bytes() == published.read_bytes()


def test_a_column_of_a_former_split_changes_nothing(plants: pd.DataFrame) -> None:
    lying = plants.assign(split="test", split_reason="by hand")
    assert split_document(lying, created="now") == split_document(plants, created="now")


def test_distances_on_a_sphere_would_choose_other_centres(plants: pd.DataFrame,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_regions, "_geodesic_km",
                        lambda places, centre: great_circle_km(places[:, 0], places[:, 1], tuple(centre)))
    made = published_division(plants)
    found = plants["gbif_id"].iloc[[region.row for region in made.regions]].tolist()
    assert [a == b for a, b in zip(found, CENTRES, strict=True)] == [True, True, False, True, False]


def test_the_published_file_used_as_a_split_is_the_split_made_again(plants: pd.DataFrame,
                                                                    real_biodiversity: Path) -> None:
    table, split = observation_table(plants), read_split_json(real_biodiversity / "central_florida_split.json")
    made, read = divide_published(table, RECIPE), divide_by_file(table, split, RECIPE)
    np.testing.assert_array_equal(made.assignment, read.assignment)
    assert made.stratum is not None and read.stratum is not None and (made.stratum == read.stratum).all()
    assert Counter(made.stratum) == {"": 6439, "temporal": 490,
                                     **{f"spatial region {k + 1}": n for k, n in enumerate(IN_REGION)}}
    assert read.settings["not_in_file"] == read.settings["not_in_table"] == 0


def test_the_validation_part_is_drawn_from_training_in_whole_visits(plants: pd.DataFrame) -> None:
    table = observation_table(plants, group="place_day")
    made = divide_published(table, SplitRecipe(regime="published", validation=0.2))
    part, groups = made.assignment[:, 0], table.groups()
    assert (part == TEST).sum() == 674 and (part == TRAIN).sum() + (part == VALIDATION).sum() == 6439
    assert not set(groups[part == TRAIN]) & set(groups[part == VALIDATION])
    drawn, both = set(groups[part == VALIDATION]), set(groups[np.isin(part, (TRAIN, VALIDATION))])
    assert len(drawn) / len(both) == pytest.approx(0.2, abs=0.001)
    assert set(table.labels()[part == VALIDATION]) <= set(table.labels()[part == TRAIN])
    assert SplitManifest.of(table, made.assignment, "published", 42, made.settings, made.stratum).audit.passed
    assert made.settings["tested_for_time"] == 490 and made.settings["tested_for_place"] == 184
    assert [s["centre"] for s in made.settings["squares"]] == [f"{c}_1" for c in CENTRES]
    assert sum(s["future"] for s in made.settings["squares"]) == 16
    json.dumps(made.settings, allow_nan=False)


# Any data


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(60, 200), regions=st.integers(1, 6),
       region_km=st.floats(1, 60), least_km=st.floats(0, 300))
def test_every_observation_is_trained_on_or_tested_for_its_place_or_for_its_time(
        seed: int, rows: int, regions: int, region_km: float, least_km: float) -> None:
    frame = made_frame(rows, seed=seed % 1000)
    rule = PublishedRule(regions=regions, region_km=region_km, least_km=least_km, candidates=50, seed=seed)
    try:
        made = published_division(frame, rule)
    except InputError as error:
        assert "Of " in str(error)  # a part without an observation
        return
    assert ((made.train.astype(int) + made.temporal + (made.region > 0)) == 1).all()
    assert (made.future == (frame["year"] == 2025)).all()
    lat, lon = frame["latitude"].to_numpy(), frame["longitude"].to_numpy()
    inside = np.array([region.holds(lat, lon) for region in made.regions])
    np.testing.assert_array_equal(made.region, np.where(inside.any(axis=0), inside.argmax(axis=0) + 1, 0))
    assert all(r.nearest_km is None or r.nearest_km >= made.kept_km for r in made.regions) and made.kept_km <= least_km
    assert [r.nearest_km is None for r in made.regions] == [k == 0 for k in range(len(made.regions))]
    for region in made.regions:  # the square has the edge that was asked for, within what a degree's length varies by
        high = great_circle_km(np.array([region.south]), np.array([region.longitude]), (region.north, region.longitude))
        wide = great_circle_km(np.array([region.latitude]), np.array([region.west]), (region.latitude, region.east))
        assert high[0] == pytest.approx(region_km, rel=0.01) and wide[0] == pytest.approx(region_km, rel=0.01)
    reasons = made.reason
    assert all((reason == "temporal_train") == train for reason, train in zip(reasons, made.train, strict=True))


def test_a_distance_that_nobody_keeps_is_relaxed_and_costs_a_region() -> None:
    # 0.1 degrees of latitude are 11.1 km: too near for 15 and for 12, far enough for 9.6.
    frame = at([(28.0, -82.0), (28.1, -82.0)] * 20 + [(28.05, -82.0)] * 4, [2024] * 41 + [2024, 2024, 2025])
    made = published_division(frame, PublishedRule(regions=4, region_km=1.0))
    assert len(made.regions) == 2 and made.kept_km == pytest.approx(15 * 0.8 * 0.8)
    document = split_document(frame, rule=PublishedRule(regions=4, region_km=1.0))
    assert document["split_strategy"]["spatial_split"]["num_test_regions"] == 2
    assert document["split_strategy"]["spatial_split"]["min_distance_km"] == made.kept_km
    division = divide_published(table_of(frame), RECIPE, PublishedRule(regions=4, region_km=1.0))
    assert division.settings["squares_lost"] == 2


def test_fewer_observations_than_candidates_are_all_candidates() -> None:
    frame = made_frame(40)
    made = published_division(frame, PublishedRule(regions=2))
    assert len(made.regions) == 2
    distances = great_circle_km(frame["latitude"].to_numpy(), frame["longitude"].to_numpy(),
                                (made.regions[0].latitude, made.regions[0].longitude))
    assert made.regions[1].row == distances.argmax()


def test_observations_without_vision_are_in_no_part_and_move_no_region() -> None:
    seen = made_frame(200)
    blind = seen.assign(has_vision=False, year=pd.NA, latitude=np.nan,
                        observation_id=[f"{5000 + k}_1" for k in range(200)])
    mixed = pd.concat([blind.iloc[:150], seen, blind.iloc[150:]], ignore_index=True).astype({"year": "Int64"})
    alone, made = published_division(seen), published_division(mixed)
    np.testing.assert_array_equal(made.region[150:350], alone.region)
    np.testing.assert_array_equal(made.reason[150:350], alone.reason)
    assert not made.eligible[:150].any() and set(made.reason[:150]) == {""}
    assert split_document(mixed, created="now") == split_document(seen, created="now")


def test_a_sample_table_without_years_is_split_by_its_times_and_without_vision_excluded() -> None:
    frame = made_frame(200)
    frame.loc[:9, "has_vision"] = False
    division = divide_published(table_of(frame), RECIPE)
    by_time = divide_published(SampleTable(table_of(frame).frame.drop(columns="year"), table_of(frame).classes), RECIPE)
    np.testing.assert_array_equal(division.assignment, by_time.assignment)
    assert (division.assignment[:10] == EXCLUDED).all() and (division.assignment[10:] != EXCLUDED).all()
    assert division.settings["not_eligible"] == 10


def test_once_the_squares_are_known_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    frame = made_frame(400)
    write_split_json(frame, tmp_path / "split.json")
    table, split = table_of(frame), read_split_json(tmp_path / "split.json")
    order = np.random.default_rng(3).permutation(len(frame))
    straight, turned = (divide_by_file(t, split, RECIPE) for t in (table, table.take(order)))
    np.testing.assert_array_equal(straight.assignment[order], turned.assignment)
    np.testing.assert_array_equal(straight.assignment, divide_published(table, RECIPE).assignment)


def test_another_seed_draws_another_validation_part_and_the_same_test() -> None:
    table = table_of(made_frame(400))
    one, other = (divide_published(table, SplitRecipe(regime="published", seed=seed)).assignment for seed in (1, 2))
    assert (one != other).any() and ((one == TEST) == (other == TEST)).all()


# Bad input


@pytest.mark.parametrize(("change", "what"), [
    ({"year": pd.array([2024] * 99 + [pd.NA], "Int64")}, r"1 observation\(s\) have no year.*row 100 \('1099_1'\)"),
    ({"latitude": [np.nan, *[28.0] * 99]}, r"no latitude between -90 and 90.*row 1 \('1000_1'\)"),
    ({"longitude": [-82.0] * 98 + [180.1, -82.0]}, "no longitude between -180 and 180.*row 99"),
    ({"has_vision": False}, "no observation to split that has vision"),
    ({"year": pd.array([2024] * 100, "Int64")}, "none is of 2025, the year to test"),
    ({"year": pd.array([2025] * 100, "Int64")}, "nothing is left to train on: all are of 2025 or in a square"),
    ({"latitude": 28.0, "longitude": -82.0}, "nothing is left to train on"),
])
def test_observations_that_cannot_be_split_are_refused_and_nothing_is_written(change: dict[str, Any], what: str,
                                                                              tmp_path: Path) -> None:
    with pytest.raises(InputError, match=what):
        write_split_json(made_frame(100).assign(**change), tmp_path / "split.json")
    assert not list(tmp_path.iterdir())


def test_a_region_that_earlier_ones_leave_nothing_is_refused() -> None:
    # Centres 20 km apart, squares of 100 km: the second centre lies in the first square, as does all around it.
    frame = at([(28.0, -82.0)] * 30 + [(28.18, -82.0)] * 30 + [(29.5, -80.0)] * 2, [2024] * 60 + [2025, 2024])
    rule = PublishedRule(regions=2, region_km=100.0, candidates=20, seed=5)
    assert not {60, 61} & set(pd.Series(range(62)).sample(20, random_state=5))
    with pytest.raises(InputError, match=r"^Of 62 observations none is left to test in region 2: .* lies in earlier"):
        published_division(frame, rule)


def test_an_empty_frame_a_missing_column_and_a_repeated_observation_are_refused() -> None:
    frame = made_frame(100)
    with pytest.raises(InputError, match="There is no observation to split"):
        published_division(frame.iloc[:0])
    with pytest.raises(InputError, match="needs the column 'longitude'"):
        published_division(frame.drop(columns="longitude"))
    with pytest.raises(InputError, match=r"needs the column\(s\) taxon_id, day"):
        split_document(frame.drop(columns=["taxon_id", "day"]))
    with pytest.raises(InputError, match=r"1 observation\(s\) are there more than once, first '1003_1'"):
        split_document(pd.concat([frame, frame.iloc[3:4]]))


@pytest.mark.parametrize("numbers", [{"regions": 0}, {"candidates": 0}, {"region_km": 0.0}, {"region_km": np.nan},
                                     {"least_km": -1.0}, {"least_km": np.inf}, {"seed": -1}])
def test_numbers_that_no_region_can_have_are_refused(numbers: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"split\.regime=published"):
        PublishedRule(**numbers)


def test_one_group_to_train_on_cannot_be_validated_on() -> None:
    frame = made_frame(100)
    table = table_of(frame).replaced(group=np.where(frame["year"] == 2025, "new", "old"))
    with pytest.raises(InputError, match=r"With 1 group\(s\) to train on.*the validation part is empty"):
        divide_published(table, RECIPE)


def test_without_geopy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "geopy.distance", None)
    with pytest.raises(MissingExtraError, match=r"needs the package 'geopy'.*groundswell\[biodiversity\]"):
        published_division(made_frame(100))


# Files


def test_a_file_that_was_written_is_read_as_it_was(tmp_path: Path) -> None:
    frame = made_frame(200)
    frame.loc[4, ["month", "day"]] = pd.NA
    frame.loc[5, "taxon_id"] = "Planta:x"
    frame.loc[6, "taxon_name"] = "Plantá × minor"
    document = write_split_json(frame, tmp_path / "split.json", info=DatasetInfo("elsewhere", "1", "Ours"))
    split = read_split_json(tmp_path / "split.json")
    assert split.document == document and len(split.regions) == 5
    assert document["dataset_info"]["dataset_name"] == "elsewhere"
    assert document["observation_mappings"]["1004_1"]["month"] is None
    assert [document["observation_mappings"][f"{k}_1"]["taxon_id"] for k in (1004, 1005)] == [
        int(frame["taxon_id"][4]), "Planta:x"]
    columns = [name for name in frame.columns if name != "hour"]
    pd.testing.assert_frame_equal(split.frame[columns], frame[columns], check_dtype=False)
    made = published_division(frame)
    assert (split.frame["split_reason"] == made.reason).all() and ((split.frame["split"] == "test") == made.test).all()


def test_a_failed_write_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text("before")
    with pytest.raises(InputError):
        write_split_json(made_frame(100, years=(2024,)), tmp_path / "split.json")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["before"]


def entry(**change: Any) -> dict[str, Any]:
    """An observation as files have it."""
    return {"gbif_id": 11, "taxon_id": 7, "taxon_name": "Planta a", "image_index": 1, "split": "train",
            "split_reason": "temporal_train", "latitude": 28.0, "longitude": -82.0, "year": 2024, "month": 1, "day": 2,
            **change}


@pytest.mark.parametrize(("text", "what"), [
    ("{", "Not valid JSON"),
    ("[]", "no 'observation_mappings'"),
    ('{"observation_mappings": {}}', "no 'observation_mappings'"),
    ('{"observation_mappings": [1]}', "no 'observation_mappings'"),
    ({"11_1": 3}, "is no object .*'11_1'"),
    ({"11_1": {"split": "train"}}, "lacks taxon_name, latitude, longitude .*'11_1'"),
    ({"11_1": entry(split="both")}, "The split 'both' is none of train, test, "),
    ({"11_1": entry(split=None)}, "The split None is none of"),
    ({"11_1": entry(split_reason=5)}, "split_reason 5 is no text"),
    ({"11_1": entry(latitude=[28.0])}, "has a list or an object for latitude"),
    ({"11_1": entry(latitude=91.0)}, "latitude that is not between -90 and 90 .*11_1"),
    ({"11_1": entry(longitude=float("nan"))}, "longitude that is not between"),
    ({"11_1": entry(longitude="west")}, "longitude that is not between"),
    ({"11_1": entry(), "12_1": entry()}, "does not agree with its gbif_id .*12_1"),
    ({"11_1": entry(gbif_id="eleven")}, "does not agree with its gbif_id"),
    ({"11": entry(), "x_1": entry()}, "is not the id of an observation"),
    ({"11_1": entry(taxon_name="")}, "has no taxon_name"),
    ({"11_1": entry(month=13)}, "month that is no whole number from 1 to 12"),
])
def test_bad_split_files_are_refused_in_one_paragraph(text: str | dict[str, Any], what: str, tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text(text if isinstance(text, str) else json.dumps({"observation_mappings": text}))
    with pytest.raises(InputError, match=what) as caught:
        read_split_json(path)
    assert "split.json" in str(caught.value) and "\n" not in str(caught.value)


def test_regions_that_are_no_list_of_objects_are_refused(tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text(json.dumps({"test_spatial_regions": [1],
                                                     "observation_mappings": {"11_1": entry()}}))
    with pytest.raises(InputError, match="no list of objects"):
        read_split_json(tmp_path / "split.json")


def test_a_file_with_a_validation_part_keeps_it_and_its_own_words(tmp_path: Path) -> None:
    frame = made_frame(40)
    parts = np.resize(["train", "validation", "test", "excluded"], 40)
    entries = {name: entry(gbif_id=1000 + k, split=str(part), split_reason="unseen place, future" if k > 20 else "")
               for k, (name, part) in enumerate(zip(frame["observation_id"], parts, strict=True))}
    (tmp_path / "split.json").write_text(json.dumps({"observation_mappings": entries}))
    split = read_split_json(tmp_path / "split.json")
    division = divide_by_file(table_of(frame), split, RECIPE)
    assert division.assignment[:4, 0].tolist() == [TRAIN, VALIDATION, TEST, EXCLUDED] and split.regions == []
    assert division.stratum is not None
    assert Counter(division.stratum) == {"": 30, "test": 5, "unseen place, future": 5}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file .*absent\.json"):
        read_split_json(tmp_path / "absent.json")


def test_samples_that_a_file_does_not_name_are_in_no_part_and_a_stranger_file_is_refused(tmp_path: Path) -> None:
    frame = made_frame(300)
    write_split_json(frame, tmp_path / "split.json")
    split = read_split_json(tmp_path / "split.json")
    ids = [f"{9000 + k}_1" for k in range(100)]
    more = pd.concat([frame.iloc[:250], frame.iloc[:100].assign(observation_id=ids, gbif_id=9000 + np.arange(100))])
    division = divide_by_file(table_of(more.reset_index(drop=True)), split, RECIPE)
    assert (division.assignment[250:] == EXCLUDED).all() and (division.assignment[:250] != EXCLUDED).all()
    assert (division.settings["not_in_file"], division.settings["not_in_table"]) == (100, 50)
    with pytest.raises(InputError, match=r"Of 100 samples the split file has none in its train part; it names 0"):
        divide_by_file(table_of(more.iloc[250:].reset_index(drop=True)), split, RECIPE)


def table_of(frame: pd.DataFrame) -> SampleTable:
    """A sample table in the frame's order."""
    return observation_table(frame)
