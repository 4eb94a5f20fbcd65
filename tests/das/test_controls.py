"""The clock, the noise around the events and the rival do what they say, and see nothing else."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from groundswell.core.errors import InputError
from groundswell.evaluate.controls import run_controls
from groundswell.evaluate.evaluation import evaluate
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.evaluate.units import units_of
from groundswell.pipelines.das.controls import (
    NOISE_WINDOWS,
    START_HOUR,
    das_controls,
    group_channels,
    minirocket,
    noise_windows,
    quiet_rows,
    start_hour,
    start_hours,
)
from groundswell.splits.manifest import TEST, SplitManifest


def load_world():
    path = Path(__file__).parents[1] / "evaluate" / "event_world.py"
    spec = importlib.util.spec_from_file_location("event_world", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("event_world", module)
    spec.loader.exec_module(module)
    return module


world = load_world()
QUICK = EvaluateRecipe(bootstrap=200)


def scored(table, control, runner, fit=world.logistic_fit):
    manifest = world.make_split(table)
    found = evaluate(fit(table, manifest), table, QUICK, controls=run_controls([(control, runner)], table, manifest))
    return found, found.controls[0]


def test_the_hour_is_that_of_the_records_beginning_not_of_the_window():
    table = world.make_table(6)
    first = table.frame.groupby("event", sort=False)["time"].min()
    expected = first.dt.hour + first.dt.minute / 60 + first.dt.second / 3600
    assert start_hours(table) == pytest.approx(expected.to_numpy(), abs=1e-3)
    two = table.replaced(event=["ev0" if e in ("ev0", "ev1") else e for e in table.column("event")], label=0)
    assert start_hours(two)[0] == pytest.approx(expected.iloc[0], abs=1e-3)  # the earlier of its records


def test_a_clock_cannot_do_the_job_where_the_hours_are_alike():
    states = [scored(world.make_table(60, seed=seed), START_HOUR, start_hour)[1].verdict.state for seed in range(5)]
    assert states.count("above") <= 1  # each is above by chance once in forty


def test_a_clock_reaches_a_planted_confound_and_the_words_say_what_that_means():
    found, clock = scored(world.make_table(60, confounded=True, skill=1.0), START_HOUR, start_hour)
    assert clock.scores.accuracy.low > clock.scores.majority_rate and clock.verdict.state == "above"
    assert "A clock alone reaches 0." in clock.verdict.sentence
    assert "the classes are recorded at different hours of the day" in clock.verdict.sentence
    assert "does not show that the network uses the waveform" in clock.verdict.sentence
    assert any("A clock alone reaches" in line for line in found.conclusion)
    assert any("not evidence of skill" in line for line in found.conclusion)


def test_midnight_is_no_edge():
    """Blasts from 22 to 2, earthquakes at all other hours: one stretch of the day, though two of the clock's face."""
    table = world.make_table(60, seed=2)
    rng = np.random.default_rng(0)
    blast = units_of(table).truth[units_of(table).of_row] == 1
    event = np.array([int(name[2:]) for name in table.column("event")])
    hour = np.where(blast, rng.uniform(-2, 2, 60)[event], rng.uniform(3, 21, 60)[event])
    day = np.datetime64("2022-09-05T00:00:00", "ns")
    moved = table.replaced(time=day + (hour * 3600e9).astype("timedelta64[ns]"))
    assert scored(moved, START_HOUR, start_hour)[1].scores.accuracy.value > 0.95


def test_without_times_the_clock_is_not_run():
    table = world.make_table(20)
    _, clock = scored(table.replaced(time=None), START_HOUR, start_hour)
    assert clock.scores is None and "do not say when they begin" in clock.verdict.sentence


def test_an_event_without_a_time_gets_the_shares_of_the_classes():
    table = world.make_table(20)
    times = table.column("time").where(table.column("event") != "ev3")
    table = table.replaced(time=times)
    assert np.isnan(start_hours(table)).tolist() == [name == "ev3" for name in units_of(table).names]
    predictions = start_hour(table, world.make_split(table)).predictions
    untimed = np.array([name.startswith("r3.h5") for name in predictions.sample_id])
    assert predictions.probability[untimed][:, 0] == pytest.approx(0.5, abs=0.1)


def test_quiet_windows_keep_a_windows_length_from_every_event():
    table = world.make_table(3, 20, 3)
    frame, quiet = table.frame, quiet_rows(table)
    assert (frame["label"].iloc[quiet] == 2).all() and len(quiet)
    for row in np.flatnonzero(frame["label"] == 2):
        loud = frame[(frame["record"] == frame["record"][row]) & (frame["label"] != 2)]
        gap = np.maximum(loud["start"] - frame["stop"][row], frame["start"][row] - loud["stop"]).min()
        assert (gap >= 1024) == (row in set(quiet))


def test_noise_windows_go_under_the_class_of_their_event_and_keep_their_parts():
    table = world.make_table(20)
    manifest, seen = world.make_split(table), {}

    def fit(other, split):
        seen.update(table=other, split=split)
        return world.logistic_fit(other, split)

    outcome = noise_windows(fit)(table, manifest)
    other = seen["table"]
    assert other.classes == ("earthquake", "quarry_blast") and set(other.labels()) == {0, 1}
    place = table.positions(other.column("sample_id").tolist())
    assert (table.labels()[place] == 2).all()
    assert np.array_equal(other.labels(), units_of(table).truth[units_of(table).of_row[place]])
    assert np.array_equal(seen["split"].assignment, manifest.assignment[place])
    assert outcome.predictions.classes == ("earthquake", "quarry_blast")


def test_noise_that_is_alike_gives_nothing_away_and_noise_that_differs_does():
    _, alike = scored(world.make_table(60), NOISE_WINDOWS, noise_windows(world.logistic_fit))
    _, differs = scored(world.make_table(60, noise_skill=3.0), NOISE_WINDOWS, noise_windows(world.logistic_fit))
    assert alike.verdict.state == "inside" and alike.scores.samples == 60
    assert differs.verdict.state == "above" and "background noise" in differs.verdict.sentence


@pytest.mark.parametrize(("change", "reason"), [
    (lambda t: t.take(t.labels() < 2), "No record with an event has windows of noise"),
    (lambda t: t.take((t.labels() < 2) | (t.column("event") == "ev0").to_numpy()), "Too few records"),
])
def test_where_there_is_no_noise_the_control_is_not_run(change, reason):
    table = change(world.make_table(20))
    _, control = scored(table, NOISE_WINDOWS, noise_windows(world.logistic_fit))
    assert control.scores is None and reason in control.verdict.sentence


def test_labels_of_whole_records_leave_no_noise():
    table = world.make_table(10)
    whole = table.take(table.labels() < 2)
    whole = type(whole)(whole.frame, ("earthquake", "quarry_blast"))
    with pytest.raises(InputError, match="hold for whole records"):
        quiet_rows(whole)


def test_channels_are_averaged_in_neighbouring_groups_of_the_real_ones():
    x = np.zeros((2, 5, 8), np.float32)
    x[0] = np.arange(8) * np.arange(5)[:, None]
    x[1, :, :2] = np.arange(1, 3) * np.arange(5)[:, None]
    found = group_channels(x, np.array([8, 2]), 4)
    assert found.shape == (2, 4, 5) and found.dtype == np.float32
    ratio = found[0, :, 4] / found[0, 0, 4]
    assert ratio == pytest.approx(np.array([0.5, 2.5, 4.5, 6.5]) / 0.5)
    assert found[1, :, 4] / found[1, 0, 4] == pytest.approx([1, 1, 2, 2])  # two channels for four groups
    assert found.std(axis=(1, 2)) == pytest.approx([1, 1], rel=1e-5)


def sines(table):
    """Windows in which an event is a sine, of one pitch for earthquakes and another for blasts."""

    def windows(rows):
        rng = np.random.default_rng(int(rows.sum()))
        x = rng.normal(size=(len(rows), 256, 16))
        labels, time = table.labels()[rows], np.arange(256) / 100
        wave = np.sin(2 * np.pi * time * np.where(labels == 1, 5, 15)[:, None])
        return (x + 2 * ((labels < 2)[:, None] * wave)[:, :, None]).astype(np.float32)

    return windows


@pytest.mark.slow
def test_minirocket_learns_waveforms_and_sees_only_its_part():
    table = world.make_table(24, 8, 2)
    manifest = world.make_split(table, 2)
    asked = []
    windows = sines(table)

    def watched(rows):
        asked.append(rows)
        return windows(rows)

    outcome = minirocket(watched, 1, kernels=400)(table, manifest)
    again = minirocket(windows, 1, kernels=400)(table, manifest)
    assert np.array_equal(outcome.predictions.probability, again.predictions.probability)
    assert len(outcome.predictions) == sum(len(manifest.rows(TEST, f)) for f in range(2))
    found = evaluate(outcome.predictions, table, QUICK)
    assert found.units.accuracy.value > 0.9
    assert sum(map(len, asked)) == 2 * len(table)
    few = minirocket(windows, 1, kernels=400, most_windows=60)(table, manifest)
    assert evaluate(few.predictions, table, QUICK).units.accuracy.value > 0.9


def test_controls_are_chosen_by_name():
    handed = []
    chosen = das_controls(("start_hour", "permuted_labels"), lambda name: handed.append(name) or world.logistic_fit,
                          lambda rows: np.zeros((len(rows), 8, 1), np.float32))
    assert [control.name for control, _ in chosen] == ["start_hour", "permuted_labels"]
    assert handed == ["permuted_labels"]
    every = das_controls(EvaluateRecipe().controls, lambda name: world.logistic_fit, sines(world.make_table(2)))
    assert [control.name for control, _ in every] == list(EvaluateRecipe().controls)
    assert {control.kind for control, _ in every} == {"null", "rival"}
    with pytest.raises(InputError, match="no control 'moon'"):
        das_controls(("moon",), lambda name: world.logistic_fit, lambda rows: np.zeros((1, 8, 1), np.float32))


def test_a_split_without_training_events_is_a_reason():
    table = world.make_table(4)
    manifest = SplitManifest.of(table, np.full((len(table), 1), TEST, np.int8), "grouped", 1, {})
    run, = run_controls([(START_HOUR, start_hour)], table, manifest)
    assert "no event with a known class to learn from" in run.why_not
