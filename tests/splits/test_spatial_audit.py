"""The audit in space and time finds what was put there and says it in numbers, and finds nothing where nothing is."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from place_tables import AROUND, apart_m, make_places

from groundswell.core.errors import InputError
from groundswell.data.table import SampleTable
from groundswell.splits.manifest import SplitManifest
from groundswell.splits.nearest import nearest_m
from groundswell.splits.nearness import CURVE_M, nearness_of_sets
from groundswell.splits.parts import EXCLUDED, TEST, TRAIN, VALIDATION
from groundswell.splits.regions import read_regions
from groundswell.splits.spatial_audit import BUFFERS_M, spatial_audit

KM = 1 / 111.195  # degrees of latitude


def parts_of(count, seed, shares=(0.1, 0.6, 0.1, 0.2)):
    codes = np.array([EXCLUDED, TRAIN, VALIDATION, TEST], np.int8)
    return np.random.default_rng(seed).choice(codes, count, p=shares)


def kinds(audit):
    return {finding.kind for finding in audit.findings() if finding.defect}


def two_towns(gap_km, *, each=150, seed=0, patch_km=0.5, classes=8):
    """Two squares of 4 km, so far apart, each of patches of one label; all simulated. Training is the first."""
    chance = np.random.default_rng(seed)
    x, y = chance.uniform(0, 4, (2, 2 * each))
    label = chance.integers(0, classes, (400, 400))[(x // patch_km).astype(int), (y // patch_km).astype(int)]
    town = np.repeat([0, 1], each)
    day = chance.integers(0, 365, 2 * each)
    frame = pd.DataFrame({
        "sample_id": [f"s{k}" for k in range(2 * each)], "record": "r", "label": label,
        "latitude": 10 + y * KM, "longitude": 20 + (x + town * (4 + gap_km)) * KM / np.cos(np.radians(10)),
        "group": [f"g{k}" for k in range(2 * each)], "time": pd.Timestamp("2020-01-01") + pd.to_timedelta(day, "D")})
    return SampleTable(frame, [f"c{k}" for k in range(classes)], origin={"simulated": True}), town


@settings(max_examples=15)
@given(st.sampled_from(AROUND), st.integers(0, 10**6))
def test_distances_shares_and_buffers_are_those_of_all_pairs(around, seed):
    table = make_places(60, seed, around)
    part = parts_of(60, seed)
    part[:2] = TRAIN, TEST
    audit = spatial_audit(table, part, draws=3)
    apart = apart_m(table)[part == TEST][:, part == TRAIN]
    nearest = apart.min(1)
    test = audit.of("test")
    assert test is not None and test.count == test.measured == (part == TEST).sum()
    assert test.median_m == pytest.approx(np.median(nearest), abs=0.01)
    assert test.least_m == pytest.approx(nearest.min(), abs=0.01)
    for metres, share in test.near.items():
        assert share == pytest.approx((nearest <= metres + 0.001).mean())
    assert audit.buffers["test"] == {m: int((apart <= m).any(0).sum()) for m in BUFFERS_M}
    assert all(a <= b for a, b in zip(test.curve, test.curve[1:], strict=False)) and len(test.curve) == len(CURVE_M)


def test_a_random_test_is_as_random_and_one_elsewhere_is_harder():
    table = make_places(1500, 3)
    chance = np.where(np.random.default_rng(1).random(1500) < 0.2, TEST, TRAIN).astype(np.int8)
    audit = spatial_audit(table, chance)
    assert audit.of("test").comparison == "as random" and audit.verdict()[0].startswith(
        "Is the test harder than a random one? No: it is no farther")
    assert "nearness" in kinds(audit)
    east = table.column("longitude") > table.column("longitude").quantile(0.8)
    audit = spatial_audit(table, np.where(east, TEST, TRAIN).astype(np.int8))
    assert audit.of("test").comparison == "harder" and "? Yes: it is much farther" in audit.verdict()[0]
    assert "nearness" not in kinds(audit)


def test_a_random_split_keeps_the_sizes_of_all_sets_and_is_the_same_for_a_seed():
    table = make_places(400, 5)
    lat, lon = table.column("latitude").to_numpy(), table.column("longitude").to_numpy()
    sets = {"a": np.arange(40), "b": np.arange(30, 50), "c": np.arange(3)}
    found = nearness_of_sets(lat, lon, np.arange(100, 400), sets, (100.0,), 1, draws=40)
    again = nearness_of_sets(lat, lon, np.arange(100, 400), sets, (100.0,), 1, draws=40)
    assert found == again and [n.count for n in found] == [40, 20, 3] and all(n.draws == 40 for n in found)
    wide = {n.name: n.random_median_m.high - n.random_median_m.low for n in found}
    assert wide["c"] > wide["a"], "few samples spread more"


@pytest.mark.parametrize(("gap_km", "answer"), [(10.0, "Yes"), (0.05, "No")])
def test_a_gap_is_held_against_the_range(gap_km, answer):
    table, town = two_towns(gap_km)
    part = np.where(town == 0, TRAIN, TEST).astype(np.int8)
    if answer == "No":
        part[::2] = TRAIN  # training in both towns
    audit = spatial_audit(table, part)
    assert 350 <= audit.autocorrelation.range_m <= 1500, "patches of 500 m"
    line = audit.verdict()[1]
    assert line.startswith("Does the gap between test and training exceed the range of autocorrelation? " + answer)
    assert ("buffer" in kinds(audit) or "nearness" in kinds(audit)) == (answer == "No")


def test_labels_without_a_range_are_said_to_have_none():
    table = make_places(600, 11)
    audit = spatial_audit(table.replaced(label=np.random.default_rng(0).integers(0, 4, 600)), parts_of(600, 1))
    assert audit.autocorrelation.range_m == 0 and "There is none to exceed" in audit.verdict()[1]


def observed(rows):
    """A table of (label, latitude, longitude, day, observer) and its parts."""
    frame = pd.DataFrame([{"sample_id": f"s{k}", "record": f"r{k}", "group": f"g{k}", "label": label, "latitude": lat,
                           "longitude": lon, "time": day, "observer": who}
                          for k, (_, label, lat, lon, day, who) in enumerate(rows)])
    frame["place_day"] = frame["latitude"].astype(str) + "@" + frame["time"].fillna("").astype(str)
    return SampleTable(frame, ("oak", "fern", "moss", "palm")), np.array([row[0] for row in rows], np.int8)


def test_twins_shared_values_and_unseen_labels_are_counted():
    table, part = observed([
        (TRAIN, 0, 1.0, 1.0, "2020-03-01T08:00:00Z", "ann"), (TRAIN, 1, 2.0, 2.0, "2020-04-01", "bob"),
        (TRAIN, 2, 3.0, 3.0, None, ""), (EXCLUDED, 3, 4.0, 4.0, "2020-05-01", "cyd"),
        (TEST, 0, 1.0, 1.0, "2020-03-01T17:00:00Z", "ann"),  # a twin
        (TEST, 1, 2.0, 2.0, "2021-06-01", "dan"),            # the place again, another day
        (TEST, 2, 3.0, 3.0, None, ""),                       # no day is no common day, no observer no common one
        (TEST, 3, 5.0, 5.0, "2021-06-02", "cyd"), (TEST, 0, 2.0, 2.0, "2021-06-03", "ann")])
    audit = spatial_audit(table, part, draws=3)
    assert (audit.twins, audit.same_place) == (1, 3)
    shared = {s.column: (s.values, s.tested) for s in audit.shared}
    assert shared == {"observer": (1, 2), "place_day": (1, 1), "group": (0, 0)}
    assert audit.labels.test_only == ("palm",) and audit.labels.test_only_samples == 1
    assert (audit.labels.train, audit.labels.test, audit.labels.shared) == (3, 4, 3)
    text = " ".join(f.text for f in audit.findings())
    assert "1 class of the test is in no training sample: palm (in all, tested 1 times)" in text
    assert {"duplicates", "shared", "unseen labels", "no validation"} <= kinds(audit)


def test_a_future_of_fewer_months_is_confounded_and_a_whole_one_is_not():
    days = pd.date_range("2018-01-01", "2020-12-31", freq="5D", tz="UTC")
    chance = np.random.default_rng(0)
    frame = pd.DataFrame({"sample_id": [f"s{k}" for k in range(len(days))], "record": "r", "group": "g", "time": days,
                          "label": chance.integers(0, 2, len(days)), "latitude": chance.uniform(0, 1, len(days)),
                          "longitude": chance.uniform(0, 1, len(days))})
    table = SampleTable(frame, ("a", "b"))
    part = np.where(days.year == 2020, TEST, TRAIN).astype(np.int8)
    whole = spatial_audit(table, part, draws=3)
    assert "season" not in kinds(whole) and whole.season.future_months == tuple(range(1, 13))
    part[(days.year == 2020) & ~np.isin(days.month, (2, 3, 7))] = EXCLUDED
    some = spatial_audit(table, part, draws=3)
    assert "season" in kinds(some) and some.season.future_months == (2, 3, 7)
    assert any("they are of 2020, February to March and July, 3 of the 12 months" in f.text for f in some.findings())


def test_regions_that_overlap_the_edge_or_have_training_beside_them_are_found():
    chance = np.random.default_rng(2)
    frame = pd.DataFrame({"sample_id": [f"s{k}" for k in range(800)], "record": "r", "group": "g",
                          "label": chance.integers(0, 3, 800), "latitude": chance.uniform(0, 1, 800),
                          "longitude": (179.5 + chance.uniform(0, 1, 800) + 180) % 360 - 180})
    frame.loc[0, ["latitude", "longitude"]] = 0.5, 179.5
    table = SampleTable(frame, ("a", "b", "c"))
    boxes = [{"name": "edge", "south": 0.4, "north": 0.6, "west": 179.4, "east": 179.6},
             {"region_id": 7, "bounds": {"south": 0.2, "north": 0.6, "west": 179.9, "east": -179.9}}]
    lon = table.column("longitude").to_numpy()
    lat = table.column("latitude").to_numpy()
    inside = (((lat >= 0.4) & (lat <= 0.6) & (lon >= 179.4) & (lon <= 179.6))
              | ((lat >= 0.2) & (lat <= 0.6) & ((lon >= 179.9) | (lon <= -179.9))))
    audit = spatial_audit(table, np.where(inside, TEST, TRAIN).astype(np.int8), regions=boxes, draws=3)
    edge, middle = audit.regions
    assert edge.beyond == {"west": pytest.approx(0.5, abs=0.01)} and not middle.beyond
    assert middle.name == "region 7" and edge.train == middle.train == 0 and edge.test + middle.test == inside.sum()
    outside = np.flatnonzero(~inside)
    fence = np.linspace(0.2, 0.6, 2001)
    sides = np.concatenate([np.column_stack([fence, np.full(2001, w)]) for w in (179.9, -179.9)]
                           + [np.column_stack([np.full(2001, s), np.linspace(179.9, 180.1, 2001)]) for s in (0.2, 0.6)])
    gap = nearest_m(lat[outside], lon[outside], sides[:, 0], sides[:, 1])
    assert middle.gap_m == pytest.approx(gap.min(), abs=15)
    assert middle.train_near[5000.0] == pytest.approx((gap <= 5000).sum(), abs=1)
    assert "regions on the edge" in kinds(audit) and "one region dominates" in kinds(audit)


def test_strata_of_a_manifest_are_looked_at_and_small_ones_named():
    table = make_places(300, 4)
    part = parts_of(300, 4)
    stratum = np.where(part == TEST, "seen place, past", "").astype(object)
    stratum[np.flatnonzero(part == TEST)[:5]] = "unseen place, past"
    audit = spatial_audit(table, SplitManifest.of(table, part, "spatiotemporal", 1, {"buffer_m": 500.0}, stratum))
    assert {n.name for n in audit.nearness} == {"test", "seen place, past", "unseen place, past", "validation"}
    assert audit.of("unseen place, past").count == 5 and "small strata" in kinds(audit)
    assert "buffer of 500 m" in audit.verdict()[1] or "none to exceed" in audit.verdict()[1]
    assert not any(f.defect and "“seen place" in f.text.split(" does")[0] for f in audit.findings()
                   if f.kind == "nearness")


def test_all_folds_are_measured_and_one_is_looked_at():
    table = make_places(200, 6)
    folds = np.stack([np.roll(parts_of(200, 6), 40 * k) for k in range(3)], axis=1)
    audit = spatial_audit(table, folds, fold=2, draws=3)
    assert audit.fold == 2 and audit.folds == 3 and [f.fold for f in audit.fold_facts] == [0, 1, 2]
    assert audit.fold_facts[2].median_m == pytest.approx(audit.of("test").median_m)


def test_places_to_predict_at_are_compared():
    table = make_places(400, 8)
    lat, lon = table.column("latitude").to_numpy(), table.column("longitude").to_numpy()
    part = parts_of(400, 8)
    near = spatial_audit(table, part, prediction=(lat, lon), draws=3).prediction
    far = spatial_audit(table, part, prediction=(lat + 2, lon), draws=3).prediction
    assert far.apart_m > near.apart_m and far.nearness.median_m > 100_000 and near.nearness.count == 400
    with pytest.raises(InputError, match="no coordinates"):
        spatial_audit(table, part, prediction=([], []), draws=3)


def test_facts_are_json_and_say_the_verdict():
    table = make_places(300, 9)
    facts = spatial_audit(table, parts_of(300, 9), draws=3).to_json()
    back = json.loads(json.dumps(facts, allow_nan=False))
    assert back["verdict"] == facts["verdict"] and back["simulated"] is True
    assert set(back["nearness"][0]["near"]) >= {"100", "1000", "5000"} and back["findings"]


def test_what_cannot_be_audited_gets_one_clear_paragraph():
    table = make_places(50, 1)
    part = parts_of(50, 1)
    for change, words in (({"latitude": np.nan}, "50 sample.s. have no latitude"), ({"longitude": 181.0}, "longitude")):
        with pytest.raises(InputError, match=words):
            spatial_audit(table.replaced(**change), part)
    with pytest.raises(InputError, match="The test part is empty"):
        spatial_audit(table, np.where(part == TEST, EXCLUDED, part))
    with pytest.raises(InputError, match="There is no fold 2: the split has 1"):
        spatial_audit(table, part, fold=1)
    with pytest.raises(InputError, match="south"):
        spatial_audit(table, part, regions=[{"north": 1.0, "east": 2.0, "west": 0.0}])


@pytest.fixture(scope="module")
def published(real_biodiversity):
    """The real table with its published division."""
    frame = pd.read_csv(real_biodiversity / "central_florida_observations.csv")
    names = sorted(frame["taxon_name"].unique())
    made = pd.DataFrame({
        "sample_id": frame["observation_id"], "record": frame["gbif_id"].astype(str), "taxon": frame["taxon_name"],
        "label": pd.Categorical(frame["taxon_name"], categories=names).codes, "latitude": frame["latitude"],
        "longitude": frame["longitude"], "time": pd.to_datetime(frame[["year", "month", "day"]]),
        "year": frame["year"], "month": frame["month"]})
    place = frame["latitude"].astype(str) + "," + frame["longitude"].astype(str)
    made["group"] = place + made["time"].dt.strftime("@%F")
    table = SampleTable(made, names)
    part = np.where(frame["split"] == "train", TRAIN, TEST).astype(np.int8)
    stratum = frame["split_reason"].str.replace("temporal_train", "").to_numpy(object)
    return table, part, stratum, read_regions(real_biodiversity / "central_florida_test_regions.json")


def test_the_published_split_is_found_to_be_what_it_is(published):
    table, part, stratum, regions = published
    audit = spatial_audit(table, part, stratum=stratum, regions=regions)
    assert audit.counts == {"train": 6439, "test": 674, "excluded": 0}
    temporal, inside = audit.of("temporal_test"), audit.of("inside the regions")
    # In space the temporal test is a random one; a random test of 674 is at a median of 56 m among others.
    assert temporal.count == 490 and round(temporal.median_m) == 49 and temporal.comparison == "as random"
    assert [round(100 * share, 1) for share in (temporal.near[100.0], temporal.identical)] == [61.8, 5.5]
    random = audit.of("test").random_median_m, audit.of("test").random_near[100.0]
    assert random[0].low < 55.85 < random[0].high and random[1].low < 0.6142 < random[1].high
    # No buffer.
    assert inside.count == 184 and list(audit.buffers["inside the regions"].values()) == [5, 96, 277, 815]
    gaps = {r.name: round(r.gap_m) for r in audit.regions}
    assert gaps["region 4"] == 94 and gaps["region 1"] == 116 and audit.regions[0].train_near[5000.0] == 266
    assert [r.test for r in audit.regions] == [120, 19, 6, 22, 17] and round(100 * audit.regions[0].share) == 65
    # On the edge.
    over = {r.name: [round(100 * share) for share in r.beyond.values()] for r in audit.regions}
    assert over == {"region 1": [6], "region 2": [34, 40], "region 3": [39, 11], "region 4": [], "region 5": [41]}
    # Season and year.
    assert audit.season.future == 506 and audit.season.future_months == (1, 2, 3, 4, 5)
    assert audit.season.future_years == (2025, 2025) and sum(audit.both.values()) == 16
    # Species.
    assert set(audit.labels.test_only) == {"Juncus roemerianus", "Panicum amarum", "Hydrangea quercifolia"}
    assert (audit.labels.most, audit.labels.at_most, audit.labels.total) == (50, 81, 227) and audit.labels.capped
    assert (audit.labels.train, audit.labels.test) == (224, 167)
    # Likeness reaches kilometres beyond what any buffer keeps.
    assert 4000 < audit.autocorrelation.range_m < 25_000 and 700 < audit.autocorrelation.double_m < 4000


def test_the_defects_of_the_published_split_are_said_in_numbers(published):
    table, part, stratum, regions = published
    audit = spatial_audit(table, part, stratum=stratum, regions=regions)
    said = " ".join(f.text for f in audit.findings() if f.defect)
    for words in ("median of 49 m", "61.8 %", "5.5 % at identical coordinates", "94 m to region 4, 116 m to region 1",
                  "266 lie within 5 km of region 1", "5, 96, 277 and 815 training samples", "region 5 (west 41 %)",
                  "region 1 holds 120 of the 184", "2025, January to May, 5 of the 12 months", "no validation part",
                  "Hydrangea quercifolia, Juncus roemerianus and Panicum amarum", "81 of 227 species have exactly 50"):
        assert words in said, words
    assert "“spatial_test_region_3” (6)" in said
    assert any(f.kind == "counted once" and f.text.startswith("16 tested samples") for f in audit.findings())
    assert "Only in part" in audit.verdict()[0] and "autocorrelation? No" in audit.verdict()[1]
    assert "10 findings" in audit.verdict()[2]


def test_a_random_draw_of_674_gives_the_figures_it_is_known_for(published):
    table = published[0]
    lat, lon = table.column("latitude").to_numpy(), table.column("longitude").to_numpy()
    drawn = np.random.default_rng(0).permutation(len(table))
    metres = nearest_m(lat[drawn[:674]], lon[drawn[:674]], lat[drawn[674:]], lon[drawn[674:]])
    assert round(np.median(metres)) == 56 and (metres <= 100).mean() == pytest.approx(0.614, abs=5e-4)
