"""Which windows are cut, what is in them, and what is said when there are none."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observatory_files import DAY, field, write_catalogue, write_year

from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe, commented_yaml, keys_of
from groundswell.data.sphere import great_circle_km
from groundswell.pipelines.geomag.building.build import build
from groundswell.pipelines.geomag.building.catalogue import read_catalogues
from groundswell.pipelines.geomag.building.drawing import season_difference_days
from groundswell.pipelines.geomag.building.gaps import LONG_GAP, MUCH_MISSING, OK, OUTSIDE, Gaps, cut, hourly_range
from groundswell.pipelines.geomag.building.minutes import MinuteSeries, minute_of, read_npz
from groundswell.pipelines.geomag.building.recipe import BuildRecipe, ControlRule, EventRule, GapRule
from groundswell.pipelines.geomag.layout import read_layout

DAYS = 130
EVENTS = [("2010-02-10T05:30:40", 10.5, 20.0, 6.0), ("2010-03-05T17:01:00", 10.5, 20.0, 5.5),
          ("2010-03-09T12:00:00", 10.5, 20.0, 5.0), ("2010-04-20T23:59:59", 10.0, 20.5, 6.5),
          ("2010-04-20T10:00:00", -40.0, 20.5, 7.0)]


def station(values, start=0):
    return MinuteSeries("SIM", 0.0, 0.0, start, np.asarray(values, np.float32).reshape(-1, 1), ("H",))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two simulated observatories near five earthquakes, with gaps; and a recipe for them."""
    folder = tmp_path_factory.mktemp("world")
    a = write_year(folder / "data", DAYS, code="SIM", latitude=10.0, longitude=20.0,
                   missing=[(20 * DAY, 20 * DAY + 30), (60 * DAY, 60 * DAY + 500)])
    b = write_year(folder / "data", DAYS, code="TWO", latitude=10.2, longitude=20.2, seed=1)
    write_catalogue(folder / "events.csv", EVENTS)
    return folder, {"SIM": a, "TWO": b}


def recipe_of(folder, **changes):
    values = {"data": [str(folder / "data")], "catalogue": [str(folder / "events.csv")], "windows": [7],
              "components": ["X"], **changes}
    return build_recipe(BuildRecipe, values)


def frame_of(root, days=7):
    layout = read_layout(root, days)
    frame = layout.sidecar.copy()
    frame["start"] = [minute_of(t.rstrip("Z")) for t in frame["start_time"]]
    return layout, frame


def check_windows(root, days, catalogue, values_of, *, lead=0, quiet=7.0, rule):
    """Every promise about windows, recomputed the plain way from the files and the catalogue."""
    layout, frame = frame_of(root, days)
    data = layout.read(np.arange(len(frame)))
    events = read_catalogues([catalogue]).events
    at = events["time"].dt.floor("min").to_numpy("datetime64[m]").astype(np.int64)
    for i, row in frame.iterrows():
        start_minute, values = values_of(row["station"])
        first = row["start"] - start_minute
        expected = values[first:first + days * DAY]
        known = ~np.isnan(expected)
        assert np.array_equal(data[i][known], expected[known].astype(np.float32)) and (~known).mean() <= 0.02
        counts = np.array([rule(e, row) for e in events.itertuples()])
        if row["label"] == 1:
            event = events.index[events["event_id"] == row["event_id"]][0]
            assert counts[event] and at[event] == row["start"] + days * DAY + lead
        else:
            inside = (at >= row["start"]) & (at <= row["start"] + days * DAY + lead + quiet * DAY)
            assert not (inside & counts).any()
            match = frame[(frame["label"] == 1) & (frame["event_id"] == row["matched_event"])
                          & (frame["station"] == row["station"])].iloc[0]
            assert (row["start"] - match["start"]) % DAY == 0 and row["season_days"] <= 45
    for _, own in frame.groupby("station"):
        assert np.diff(np.sort(own["start"])).min() >= days * DAY
        assert (own["label"] == 1).sum() == (own["label"] == 0).sum()
    return layout, frame


def near(event, row):
    place = np.array([event.latitude]), np.array([event.longitude])
    distance = great_circle_km(*place, (row.latitude, row.longitude))[0]
    return event.magnitude >= 5 and distance <= 10 ** (0.43 * event.magnitude)


@pytest.mark.parametrize("lead", [0, 90])
def test_windows_are_the_minutes_before_events_and_quiet_controls_at_the_same_clock_time(world, tmp_path, lead):
    folder, values = world
    report = build(recipe_of(folder, lead_minutes=lead), tmp_path)
    layout, frame = check_windows(tmp_path, 7, folder / "events.csv",
                                  lambda code: (minute_of("2010-01-01"), values[code][:, 0]), lead=lead, rule=near)
    before = frame[frame["label"] == 1].groupby("station")["event_id"].agg(set)
    # At the first station the 500 missing minutes rule out the larger of two events that are near in time.
    assert before["SIM"] == {"sim000", "sim002", "sim003"} and before["TWO"] == {"sim000", "sim001", "sim003"}
    assert (frame.loc[frame["label"] == 1, "distance_km"] < 100).all() and layout.origin["simulated"] is True
    assert "The data is simulated." in report.lines
    dropped = {(d["station"], d["event_id"]): d["why"] for d in report.facts["lengths"]["7day"]["dropped"]}
    assert dropped[("TWO", "sim002")] == "too near in time to a larger event"


def test_without_quiet_days_a_control_still_shares_no_minute_with_another_window(world, tmp_path):
    folder, values = world
    build(recipe_of(folder, controls={"quiet_days": 0.0}), tmp_path)
    check_windows(tmp_path, 7, folder / "events.csv", lambda code: (minute_of("2010-01-01"), values[code][:, 0]),
                  quiet=0, rule=near)
    build(recipe_of(folder, controls={"quiet_days": 0.0, "overlap_events": True}), tmp_path / "shared")
    _, frame = frame_of(tmp_path / "shared")
    assert min(np.diff(np.sort(own["start"])).min() for _, own in frame.groupby("station")) < 7 * DAY


def test_stations_of_one_event_share_its_control_time(world, tmp_path):
    folder, _ = world
    build(recipe_of(folder), tmp_path)
    _, frame = frame_of(tmp_path)
    shared = frame[frame["label"] == 0].groupby("event_id")
    assert (shared["start"].nunique() == 1).all() and (shared.size() == 2).sum() >= 2
    assert frame.groupby("event_id")["label"].nunique().eq(1).all()


def test_gaps_are_filled_or_drop_the_window_and_are_counted(world, tmp_path):
    folder, values = world
    strict = build(recipe_of(folder, gaps={"max_gap_minutes": 60, "max_filled_share": 0.5}), tmp_path / "a")
    # sim001 ends on day 63 and holds the 500 missing minutes of day 60 at the first station.
    dropped = {(d["station"], d["event_id"]): d["why"] for d in strict.facts["lengths"]["7day"]["dropped"]}
    assert dropped[("SIM", "sim001")] == "a gap too long to fill" and ("TWO", "sim001") not in dropped
    loose = build(recipe_of(folder, gaps={"max_gap_minutes": 500, "max_filled_share": 0.5}), tmp_path / "b")
    assert ("SIM", "sim001") not in {(d["station"], d["event_id"]) for d in loose.facts["lengths"]["7day"]["dropped"]}
    layout, frame = frame_of(tmp_path / "b")
    place = frame.index[(frame["event_id"] == "sim001") & (frame["station"] == "SIM")][0]
    first = frame["start"][place] - minute_of("2010-01-01")
    series = values["SIM"][first:first + 7 * DAY, 0]
    filled = np.isnan(series)
    assert filled.sum() == 500 == frame["filled_minutes"][place]
    a, b = np.flatnonzero(filled)[[0, -1]]
    line = np.interp(np.arange(a, b + 1), [a - 1, b + 1], series[[a - 1, b + 1]])
    assert layout.read(np.array([place]))[0][a:b + 1] == pytest.approx(line, abs=0.01)


def test_placebos_are_the_same_windows_earlier(world, tmp_path):
    folder, values = world
    build(recipe_of(folder, placebo_shift_days=40), tmp_path)
    layout, frame = frame_of(tmp_path)
    placebo = layout.read(np.arange(len(frame)), placebo=True)
    seen = {True: 0, False: 0}
    for i, row in frame.iterrows():
        first = row["start"] - 40 * DAY - minute_of("2010-01-01")
        expected = values[row["station"]][max(0, first):max(0, first) + 7 * DAY, 0].astype(np.float32)
        there = first >= 0 and not np.isnan(expected).any()
        seen[there] += 1
        if there:
            assert np.array_equal(placebo[i], expected)
        elif first < 0:
            assert np.isnan(placebo[i]).all()
    assert seen[True] and seen[False] and layout.origin["placebo_shift_days"] == 40


def test_several_components_hold_the_same_windows(world, tmp_path):
    folder, _ = world
    build(recipe_of(folder, components=["X", "F"]), tmp_path)
    (x, fx), (f, ff) = frame_of(tmp_path / "X"), frame_of(tmp_path / "F")
    pd.testing.assert_frame_equal(fx.drop(columns="filled_minutes"), ff.drop(columns="filled_minutes"))
    assert f.read(np.arange(3)).mean() > x.read(np.arange(3)).mean() + 10000 and f.origin["component"] == "F"


def test_the_seed_decides_and_nothing_else(world, tmp_path):
    folder, _ = world
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        build(recipe_of(folder, seed=seed, controls={"per_event": 2}), tmp_path / name)
    read = {name: (tmp_path / name / "window-7" / "samples.csv").read_bytes() for name in "abc"}
    assert read["a"] == read["b"] != read["c"]
    data = [(tmp_path / name / "window-7" / "data_0.npy").read_bytes() for name in "ab"]
    assert data[0] == data[1]


def test_a_build_writes_its_report_and_picture_and_never_over_another(world, tmp_path):
    folder, _ = world
    report = build(recipe_of(folder), tmp_path)
    facts = json.loads((tmp_path / "build.json").read_text())
    assert facts == json.loads(json.dumps(report.facts))
    assert facts["lengths"]["7day"]["balance"]["possible_controls"] > 50
    assert (tmp_path / "build.png").read_bytes().startswith(b"\x89PNG") and report.folders == (tmp_path / "window-7",)
    assert not any("predict" in line.lower() for line in report.lines)
    with pytest.raises(InputError, match="already"):
        build(recipe_of(folder), tmp_path)


def test_choices_about_events_and_controls_are_kept(world, tmp_path):
    folder, _ = world
    build(recipe_of(folder, events={"min_separation_days": 0.0}), tmp_path / "all")
    _, frame = frame_of(tmp_path / "all")
    assert "sim002" in set(frame["event_id"])  # four days after a larger one, whose window it overlaps
    report = build(recipe_of(folder, events={"declustering": "gardner_knopoff"}), tmp_path / "main")
    assert {d["event_id"] for d in report.facts["lengths"]["7day"]["dropped"]
            if d["why"] == "an aftershock or foreshock"} >= {"sim002"}
    build(recipe_of(folder, controls={"quiet_days_before": 10.0}), tmp_path / "before")
    _, frame = frame_of(tmp_path / "before")
    at = np.array([minute_of(EVENTS[k][0][:16]) for k in range(4)])
    for start in frame.loc[frame["label"] == 0, "start"]:
        assert not ((at >= start - 10 * DAY) & (at <= start)).any()


def test_controls_resemble_their_events_in_activity(tmp_path):
    generator = np.random.default_rng(0)
    days = 240
    values = field(days * DAY)
    loud = np.repeat(np.repeat(generator.choice([1.0, 6.0], days // 8), 8), DAY)
    values[:, 0] += loud * generator.normal(0, 10, len(loud))
    meta = {"IAGA CODE": "SIM", "Geodetic Latitude": "10", "Geodetic Longitude": "20", "Source of Data": "simulated"}
    np.savez(tmp_path / "sim.npz", t0="2010-01-01 00:00:00", values=values.astype(np.float32),
             columns=np.array(list("XYZF")), meta=repr(meta))
    # Earthquakes at the ends of loud weeks only: without matching, controls would be quieter.
    ends = [d for d in range(8, days, 8) if loud[(d - 1) * DAY] == 6.0][::2]
    write_catalogue(tmp_path / "events.csv", [(str(np.datetime64("2010-01-01") + d), 10.1, 20.0, 5.5) for d in ends])
    recipe = recipe_of(tmp_path, data=[str(tmp_path / "sim.npz")],
                       controls={"quiet_days": 1.0, "max_season_days": 120.0})
    found = build(recipe, tmp_path / "out").facts["lengths"]["7day"]["balance"]
    blind = recipe.model_copy(update={"controls": recipe.controls.model_copy(update={"season_scale_days": 0.001})})
    season_only = build(blind, tmp_path / "blind").facts["lengths"]["7day"]["balance"]
    assert found["before_matching"]["activity"] > 0.8
    assert abs(found["after_matching"]["activity"]) < 0.25 * found["before_matching"]["activity"]
    assert abs(found["after_matching"]["activity"]) < 0.5 * season_only["after_matching"]["activity"]


def test_refusals_are_orderly_and_write_nothing(world, tmp_path):
    folder, _ = world
    far = tmp_path / "far.csv"
    write_catalogue(far, [("2010-02-10T05:30:40", 40.0, 20.0, 6.0), ("2010-03-10T05:30:40", 25.0, 20.0, 6.4)])
    late = write_catalogue(tmp_path / "late.csv", [("2020-02-10T05:30:40", 10.0, 20.0, 6.0)])
    crowd = write_catalogue(tmp_path / "crowd.csv", [(str(np.datetime64("2010-01-01") + d), 10.0, 20.0, 6.0)
                                                     for d in range(0, DAYS, 3)])
    for catalogue, changes, what in (
            (far, {}, "nearest to counting is sim001 .magnitude 6.4, 2010-03-10 05:30.: 1646 km from TWO.*565 km"),
            (far, {"events": {"min_magnitude": 7.0}}, "largest has magnitude 6.4"),
            (far, {"events": {"rule": "distance", "max_distance_km": 100.0}}, "Raise events.max_distance_km"),
            (late, {}, "data from 2010-01-01T00:00:00Z to 2010-05-11.*catalogue from 2020-02-10"),
            (crowd, {}, "No window length has windows of both classes.*an event inside or near")):
        with pytest.raises(InputError, match=what) as error:
            build(recipe_of(folder, catalogue=[str(catalogue)], **changes), tmp_path / "out")
        assert error.value.exit_status == 2 and not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="ap, which is not known"):
        build(recipe_of(folder, controls={"activity": "ap"}), tmp_path / "out")
    with pytest.raises(InputError, match="no component 'Q'"):
        build(recipe_of(folder, components=["Q"]), tmp_path / "out")


def test_every_key_has_a_meaning_and_wrong_ones_are_named():
    text = commented_yaml(BuildRecipe())
    assert all(key.split(".")[-1] in text for key in keys_of(BuildRecipe))
    for part in (BuildRecipe, EventRule, ControlRule, GapRule):
        assert all(f.description for f in part.model_fields.values() if not hasattr(f.annotation, "model_fields"))
    with pytest.raises(InputError, match="min_magnitude"):
        build_recipe(BuildRecipe, {"events": {"min_magnitud": 5.0}})
    with pytest.raises(InputError, match="7, 14, 30"):
        build_recipe(BuildRecipe, {"windows": [8]})


@given(st.lists(st.tuples(st.integers(0, 399), st.integers(1, 60)), max_size=8), st.integers(0, 30),
       st.floats(0, 0.9), st.integers(20, 120))
@settings(max_examples=150, deadline=None)
def test_the_verdict_on_gaps_is_that_of_looking_at_every_minute(gaps, longest, share, minutes):
    values = np.zeros(400)
    for start, length in gaps:
        values[start:start + length] = np.nan
    found = Gaps.of(station(values, start=1000), GapRule(max_gap_minutes=longest, max_filled_share=share))
    starts = np.arange(980, 1420, 3)
    for start, verdict in zip(starts, found.judge(starts, minutes), strict=True):
        first = start - 1000
        if first < 0 or first + minutes > 400:
            assert verdict == OUTSIDE
            continue
        window = np.isnan(values[first:first + minutes])
        run = max((len(r) for r in "".join("x" if w else " " for w in window).split()), default=0)
        if window.sum() > share * minutes:
            assert verdict == MUCH_MISSING
        else:
            assert verdict == (LONG_GAP if run > longest else OK)


def test_edges_of_a_window_are_held_and_nothing_after_it_is_seen():
    values = np.array([1.0, np.nan, 3.0, np.nan, np.nan, 100.0])
    window, filled = cut(station(values), 1, 4, 0)
    assert window.tolist() == [3.0, 3.0, 3.0, 3.0] and filled == 3
    window, _ = cut(station(values), 0, 4, 0)
    assert window.tolist() == [1.0, 2.0, 3.0, 3.0]


def test_hourly_ranges_and_seasons():
    values = np.concatenate([np.full(30, np.nan), np.arange(90.0)])
    found = hourly_range(station(values, start=60 * 7 + 30))
    assert found.start_minute == 420 and np.isnan(found.values[0]) and found.values[1:].tolist() == [59.0, 29.0]
    shifts = np.array([0, 10, -10, 365, -3653, 183])
    assert season_difference_days(shifts) == pytest.approx([0, 10, 10, 0.24, 0.58, 182.24], abs=0.01)


ESK = "raw/esk2003.tar.gz"
SIGNIFICANT = "catalog/significant_M5.5_1965_2016.csv.gz"


def real_recipe(real_geomag, **changes):
    return build_recipe(BuildRecipe, {"data": [str(real_geomag / ESK)], "catalogue": [str(real_geomag / SIGNIFICANT)],
                                      "indices": [str(real_geomag / "indices")], **changes})


def test_no_real_earthquake_counts_at_eskdalemuir_in_2003(real_geomag, tmp_path):
    told = r"None of the 485.*magnitude 8\.3, 2003-09-25 19:50.*8778 km from ESK.*3707 km"
    with pytest.raises(InputError, match=told) as error:
        build(real_recipe(real_geomag), tmp_path / "out")
    assert error.value.exit_status == 2 and not (tmp_path / "out").exists()


def test_real_windows_keep_every_promise(real_geomag, tmp_path):
    recipe = real_recipe(real_geomag, placebo_shift_days=30, windows=[7, 14], controls={"quiet_days": 3.0},
                         events={"rule": "distance", "min_magnitude": 7.0})
    report = build(recipe, tmp_path)
    known = read_npz("ESK", (real_geomag / "ESK_2003.npz").read_bytes())
    h = np.hypot(known.column("X"), known.column("Y"))
    for days, least in ((7, 10), (14, 5)):
        _, frame = check_windows(tmp_path, days, real_geomag / SIGNIFICANT, lambda code: (known.start_minute, h),
                                 quiet=3.0, rule=lambda event, row: event.magnitude >= 7.0)
        assert (frame["label"] == 1).sum() >= least and report.facts["activity"] == "ap"
        assert frame[["kp_max", "kp_mean", "ap_mean", "dst_min", "dst_mean"]].notna().all().all()
    assert report.facts["simulated"] is False
