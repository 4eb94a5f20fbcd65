"""The controls of geomag windows know what they say they know and nothing else, fold by fold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from rocket_world import KERNELS, MINUTES, folds_of, make_world, needs_aeon, reader

from groundswell.core.errors import InputError
from groundswell.data.predictions import Predictions
from groundswell.evaluate.controls import run_controls
from groundswell.evaluate.evaluation import evaluate
from groundswell.evaluate.permutation import fold_statistic, permuted_scores
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.pipelines.geomag.controls import (
    MINIROCKET,
    SPACE_WEATHER,
    STATION_SEASON_YEAR,
    SURROGATES,
    WINDOW_SHIFT,
    complete_rows,
    geomag_controls,
    minirocket,
    place_and_date,
    space_weather,
    station_season_year,
    surrogates_of,
    window_shift,
)
from groundswell.splits.manifest import TEST, TRAIN, SplitManifest

ALL = ("majority", "space_weather", "station_season_year", "window_shift", "surrogates", "minirocket")


def no_fit(name):
    raise AssertionError(f"nothing here fits a network, least of all for {name}")


def area(runner, table, manifest):
    return fold_statistic(runner(table, manifest).predictions)


def labels_of(events, stations=3):
    return np.repeat(np.arange(events) % 2, stations)


def by_event(values, stations=3):
    return np.repeat(values, stations)


def test_a_planted_signal_is_seen_by_the_rival_and_by_no_null_control():
    needs_aeon()
    table, windows, earlier = make_world(48, signal=2.5)
    manifest = folds_of(table)
    runs = run_controls(geomag_controls(ALL, no_fit, reader(windows), reader(earlier), threads=1, kernels=KERNELS),
                        table, manifest)
    found = {run.control.name: run.outcome for run in runs}
    assert all(outcome is not None for outcome in found.values())
    assert fold_statistic(found["minirocket"].predictions) > 0.9
    assert permuted_scores(found["minirocket"].predictions, table, manifest, permutations=99).p <= 0.02
    for name in ("space_weather", "station_season_year", "window_shift"):
        # One event in a hundred may look so by chance; the next test looks at several worlds.
        assert permuted_scores(found[name].predictions, table, manifest, permutations=99).p > 0.01, name
        assert fold_statistic(found[name].predictions) < 0.7, name
    judged = evaluate(found["minirocket"].predictions, table, EvaluateRecipe(bootstrap=200), controls=runs)
    assert judged.units.accuracy.low > judged.units.majority_rate
    assert {c.control.name: c.verdict.state for c in judged.controls}["minirocket"] == "rival"
    for outcome in found.values():
        assert sorted(outcome.predictions.sample_id) == sorted(table.column("sample_id"))


def test_where_there_is_nothing_neither_the_rival_nor_the_placebo_sees_anything():
    needs_aeon()
    areas = []
    for seed in range(8):
        table, windows, earlier = make_world(32, seed=seed, signal=2.5 * (seed % 2))
        runner = window_shift(reader(earlier), seed, 1, 84) if seed % 2 else minirocket(reader(windows), seed, 1, 84)
        areas.append(area(runner, table, folds_of(table)))
    assert abs(np.mean(areas[::2]) - 0.5) < 0.12 and abs(np.mean(areas[1::2]) - 0.5) < 0.12


def test_activity_is_found_where_the_classes_differ_in_it_and_only_there():
    rng = np.random.default_rng(0)
    table, _, _ = make_world(60)
    stormy = table.replaced(kp_mean=by_event(rng.normal(3, 1, 60)) + 1.5 * labels_of(60), kp_max=1.0, dst_min=0.0)
    assert area(space_weather, stormy, folds_of(stormy)) > 0.8
    quiet = [area(space_weather, t, folds_of(t)) for t in (make_world(60, seed=s)[0] for s in range(6))]
    assert abs(np.mean(quiet) - 0.5) < 0.08


def test_activity_with_gaps_is_used_and_without_any_is_a_reason():
    rng = np.random.default_rng(0)
    table, _, _ = make_world(60)
    ap = by_event(rng.normal(3, 1, 60)) + 2 * labels_of(60)
    ap[::4] = np.nan
    holed = table.replaced(ap_mean=ap, kp_max=np.nan, dst_min=np.nan)
    assert area(space_weather, holed, folds_of(holed)) > 0.7
    empty = table.replaced(kp_max=np.nan, dst_min=np.nan)
    [run] = run_controls([(SPACE_WEATHER, space_weather)], empty, folds_of(empty))
    assert run.outcome is None and "No column says how disturbed" in run.why_not and "samples.csv" in run.why_not


@pytest.mark.parametrize("shortcut", ["station", "season", "year"])
def test_station_and_date_find_a_shortcut_through(shortcut):
    rng = np.random.default_rng(1)
    label = labels_of(60)
    table, _, _ = make_world(60)
    time = table.column("time")
    if shortcut == "station":
        table = table.replaced(station=[f"S{s if rng.random() < 0.8 else 1 - s}" for s in label])
    elif shortcut == "season":  # mid-winter against the rest, across the turn of the year
        day = by_event(rng.uniform(-40, 40, 60)) + 182.0 * (label == 0)
        table = table.replaced(time=pd.to_datetime(time.dt.year.astype(str) + "-01-01", utc=True)
                               + pd.to_timedelta(day, unit="D"))
    else:
        year = 2001 + by_event(rng.integers(0, 4, 60)) + 2 * label
        table = table.replaced(time=[t.replace(year=int(y), day=min(t.day, 28))
                                     for t, y in zip(time, year, strict=True)])
    assert area(station_season_year, table, folds_of(table)) > 0.7
    clean = [area(station_season_year, t, folds_of(t)) for t in (make_world(60, seed=s)[0] for s in range(4))]
    assert abs(np.mean(clean) - 0.5) < 0.1


def test_the_years_turn_is_no_edge_and_what_is_missing_is_left_out():
    table, _, _ = make_world(4, 1)
    table = table.replaced(time=["2001-12-31T23:59:00Z", "2002-01-01T00:01:00Z", "2002-07-01T12:00:00Z", None])
    x = place_and_date(table)
    assert x.shape == (4, 1 + 7) and (x[:, 0] == 1).all()
    # December's last day is 0.01 of a circle before January's first in the first harmonic.
    assert np.abs(x[0, 2:] - x[1, 2:]).max() < 0.05 < np.abs(x[0, 2:] - x[2, 2:]).max()
    assert x[1, 1] == 2002 and np.isnan(x[3, 1:]).all()
    bare = make_world(4)[0]
    bare = type(bare)(bare.frame.drop(columns=["station", "time"]), bare.classes)
    with pytest.raises(InputError, match="at which station and when"):
        place_and_date(bare)


def test_a_station_never_seen_in_training_and_folds_of_one_class_are_no_fault():
    table, _, _ = make_world(12)
    assignment = np.where(table.column("station") == "S2", TEST, TRAIN).astype(np.int8)
    manifest = SplitManifest.of(table, assignment, "kfold", 0, {})
    found = station_season_year(table, manifest).predictions
    assert len(found) == 12 and np.isfinite(found.probability).all()
    alike = np.where(table.labels() == 1, TEST, TRAIN).astype(np.int8)
    one_sided = station_season_year(table, SplitManifest.of(table, alike, "kfold", 0, {})).predictions
    assert (one_sided.probability[:, 0] == 1).all()


def test_stations_of_one_event_may_be_answered_differently():
    table, _, _ = make_world(40)
    rng = np.random.default_rng(2)
    table = table.replaced(station=[f"S{s if rng.random() < 0.8 else 1 - s}" for s in labels_of(40)])
    found = station_season_year(table, folds_of(table)).predictions
    event = table.column("event").to_numpy()[table.positions(found.sample_id.tolist())]
    assert max(np.ptp(found.probability[event == name, 1]) for name in set(event)) > 0.1


def test_earlier_windows_that_tell_the_classes_apart_accuse_and_missing_ones_are_left_out():
    needs_aeon()
    table, windows, _ = make_world(40, signal=2.5)
    manifest = folds_of(table)
    earlier = windows.copy()
    earlier[[0, 7, 30]] = np.nan
    outcome = window_shift(reader(earlier), 0, 1, KERNELS)(table, manifest)
    assert len(outcome.table) == len(outcome.predictions) == len(table) - 3
    assert outcome.predictions.note["left_out"] == 3
    assert "e0s0" not in outcome.table.column("sample_id").tolist()
    fold = dict(zip(outcome.predictions.sample_id, outcome.predictions.fold, strict=True))
    for k in range(manifest.folds):
        for row in manifest.rows(TEST, k):
            name = table.column("sample_id")[row]
            assert name not in fold or fold[name] == k
    judged = evaluate(outcome.predictions, outcome.table, EvaluateRecipe(bootstrap=200),
                      controls=run_controls([(WINDOW_SHIFT, lambda *_: outcome)], table, manifest))
    assert judged.controls[0].verdict.state == "above"
    assert "foreshocks" in judged.controls[0].verdict.sentence
    whole = window_shift(reader(windows), 0, 1, KERNELS)(table, manifest)
    assert whole.table is table and whole.predictions.note["left_out"] == 0


def test_no_earlier_windows_are_a_reason():
    table, windows, _ = make_world(8)
    runners = [(WINDOW_SHIFT, window_shift(read)) for read in (None, reader(np.full_like(windows, np.nan)))]
    none, empty = run_controls(runners, table, folds_of(table, 2))
    assert "no earlier windows" in none.why_not and "None of the 24 samples" in empty.why_not
    holed = windows.copy()
    holed[3, 5] = np.nan
    assert complete_rows(reader(holed), 24).tolist() == [0, 1, 2, *range(4, 24)]


@pytest.mark.parametrize("minutes", [MINUTES, MINUTES - 1])
def test_surrogates_keep_the_spectrum_and_nothing_else(minutes):
    _, windows, _ = make_world(4)
    windows = windows[:, :minutes]
    read = surrogates_of(reader(windows), 3)
    rows = np.arange(len(windows))
    made = read(rows)
    assert made.dtype == np.float32 and made.shape == windows.shape
    before, after = (np.abs(np.fft.rfft(x - x.mean(1, keepdims=True).astype(np.float64))) for x in (windows, made))
    assert np.abs(after - before).max() < 1e-3 * before.max()  # float32 of 20,000 nT
    assert made.mean(1) == pytest.approx(windows.mean(1), rel=1e-6)
    like = [abs(np.corrcoef(a, b)[0, 1]) for a, b in zip(windows, made, strict=True)]
    assert np.mean(like) < 0.6
    # Two stations of one event are alike; their surrogates are not.
    assert np.corrcoef(windows[0], windows[1])[0, 1] > 0.95 > np.corrcoef(made[0], made[1])[0, 1]
    assert np.array_equal(read(rows[5:7]), made[5:7])  # whichever rows come together
    assert not np.array_equal(surrogates_of(reader(windows), 4)(rows), made)


def test_surrogates_lose_what_is_in_the_course_of_time_and_keep_what_is_in_the_spectrum():
    """A chirp and the same chirp backwards have one spectrum; a louder window has another."""
    needs_aeon()
    table, _, _ = make_world(40)
    rng = np.random.default_rng(0)
    saw = (np.arange(MINUTES) % 40) / 40.0
    turned = np.where(labels_of(40)[:, None] == 1, saw, saw[::-1])
    course = (20000 + 4 * turned + 0.5 * rng.normal(size=(120, MINUTES))).astype(np.float32)
    manifest = folds_of(table)
    assert area(minirocket(reader(course), 0, 1, KERNELS), table, manifest) > 0.95
    lost = minirocket(surrogates_of(reader(course)), 0, 1, KERNELS)(table, manifest).predictions
    assert permuted_scores(lost, table, manifest, permutations=99).p > 0.03
    louder = (20000 + (1 + labels_of(40))[:, None] * rng.normal(size=(120, MINUTES))).astype(np.float32)
    assert area(minirocket(surrogates_of(reader(louder)), 0, 1, KERNELS), table, manifest) > 0.95


def test_names_are_those_of_the_recipe_and_a_network_is_fitted_for_permuted_labels_alone():
    table, windows, earlier = make_world(24)
    asked = []

    def fit_of(name):
        asked.append(name)

        def fit(given, manifest):
            truth = given.labels()
            return Predictions.of(given.column("sample_id").tolist(), truth, np.eye(2)[truth * 0], given.classes)

        return fit

    made = geomag_controls((*ALL, "permuted_labels"), fit_of, reader(windows), reader(earlier))
    assert [control.name for control, _ in made] == [*ALL, "permuted_labels"] and asked == ["permuted_labels"]
    outcome = made[-1][1](table, folds_of(table))
    assert (outcome.table.labels() != table.labels()).any()
    with pytest.raises(InputError, match="no control 'luck'"):
        geomag_controls(("luck",), fit_of, reader(windows), None)


def test_words_speak_of_association_and_never_of_foretelling():
    for control in (SPACE_WEATHER, STATION_SEASON_YEAR, WINDOW_SHIFT, SURROGATES, MINIROCKET):
        text = " ".join((control.title, control.says, control.who, control.knows, control.means)).lower()
        assert "predict" not in text and "forecast" not in text
        assert (control.kind == "null") == bool(control.means) == bool(control.knows)
