"""What is found in a folder of windows: classes, values, events, overlaps and shortcuts."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag import analysis as analysis_module
from groundswell.pipelines.geomag import analysis_values
from groundswell.pipelines.geomag.analysis import DatasetAnalyzer, analyze, plot, quick_analyze
from groundswell.pipelines.geomag.analysis_sidecar import cramers_v
from groundswell.pipelines.geomag.imbalance import analyze_imbalance, severity_of, snippet
from groundswell.pipelines.geomag.layout import WindowWriter, window_folder

DAY = 1440


def write_plain(root, days, counts, dtype=np.int8, seed=0):
    """Windows of small whole numbers, each unlike the others, without a sidecar."""
    random = np.random.default_rng(seed)
    folder = window_folder(root, days)
    folder.mkdir(parents=True)
    for label, count in enumerate(counts):
        x = np.zeros((count, days * DAY + 1), dtype)
        x[:, :16] = random.integers(0, 100, (count, 16))
        x[:, -1] = label
        np.save(folder / f"data_{label}.npy", x)
    return folder


def write_events(root, days=7, events=(20, 20), stations=("ESK", "LER"), kp_gap=0.0, every_days=17.0, change=None):
    """Simulated windows with a sidecar: each event at every station, controls after all events, one each month."""
    random = np.random.default_rng(3)
    rows = []
    for label in (0, 1):
        for k in range(events[label]):
            start = pd.Timestamp("2003-01-01", tz="UTC") + pd.Timedelta(days=every_days * (2 * k + label))
            kp = random.normal(3 + kp_gap * label, 1)
            rows += [{"label": label, "row": k * len(stations) + i, "event_id": f"{'ae'[label]}{k}", "station": station,
                      "start_time": start, "latitude": 55.0, "longitude": -3.0, "kp_max": kp}
                     for i, station in enumerate(stations)]
    frame = pd.DataFrame(rows)
    if change is not None:
        change(frame)
    with WindowWriter(root, days, tuple(n * len(stations) for n in events)) as writer:
        for label, row in zip(frame["label"], frame["row"], strict=True):
            writer.put(label, row, 17000 + random.normal(0, 20, days * DAY))
        writer.finish(frame, {"simulated": True})
    return root


# -- classes --------------------------------------------------------------------------------------------------------


def test_the_published_example(tmp_path, capsys) -> None:
    write_plain(tmp_path, 7, (1661, 999))
    results = quick_analyze(tmp_path)
    assert list(results) == ["7", "14", "30"] and results["14"] is None and results["30"] is None
    found = results["7"]
    assert found.imbalance_analysis.imbalance_ratio == pytest.approx(1661 / 999)
    assert [round(w, 3) for w in found.imbalance_analysis.suggested_weights] == [0.801, 1.331]
    assert found.imbalance_analysis.severity == "mild" and found.n_features == 10080 and found.validation.valid
    printed = capsys.readouterr().out
    for line in ("Total samples: 2,660\n", "Class distribution: [1661, 999]\n", "Class proportions: 62.4%, 37.6%\n",
                 "  Ratio: 1.66:1\n", "  Severity: MILD\n", "  Strategy: Apply class weight adjustment\n",
                 "  Weights: [0.801, 1.331]\n", "Windows analyzed: 1\n", "Most imbalanced: Window 7 (1.66:1)\n",
                 "# Window 7 days:\n", "weights = torch.tensor([0.801, 1.331])\n",
                 "criterion = nn.CrossEntropyLoss(weight=weights)\n", "'ungrouped: may be inflated'"):
        assert line in printed
    assert "predict" not in printed.lower()


@pytest.mark.parametrize(("ratio", "severity"), [
    (1.0, "balanced"), (1.499, "balanced"), (1.5, "mild"), (2.27, "mild"), (2.999, "mild"), (3.0, "moderate"),
    (9.999, "moderate"), (10.0, "severe"), (400.0, "severe")])
def test_severity_follows_the_ratio(ratio, severity) -> None:
    assert severity_of(ratio) == severity


@given(st.lists(st.integers(1, 5000), min_size=2, max_size=2))
@settings(deadline=None)
def test_weights_follow_their_formulas(counts) -> None:
    found = analyze_imbalance(counts)
    n, each = sum(counts), np.array(counts)
    inverse = n / (2 * each)
    assert found.imbalance_ratio == max(counts) / min(counts) >= 1
    np.testing.assert_allclose(found.suggested_weights, inverse)
    np.testing.assert_allclose(found.weights["balanced"], inverse)
    np.testing.assert_allclose(found.weights["sqrt"], np.sqrt(inverse))
    np.testing.assert_allclose(found.weights["effective"], 0.001 / (1 - 0.999**each))


@pytest.mark.parametrize("counts", [(100, 99), (166, 99), (500, 100), (2000, 10)])
def test_the_code_that_is_shown_runs(counts) -> None:
    found = analyze_imbalance(counts)
    made = {}
    exec(compile(snippet(found), "shown", "exec"), made)
    logits, labels = torch.randn(8, 2, requires_grad=True), torch.tensor([0, 1] * 4)
    loss = made["criterion"](logits, labels)
    loss.backward()
    assert loss.ndim == 0 and logits.grad.abs().sum() > 0
    if found.severity != "balanced":
        np.testing.assert_allclose(made["weights"], found.suggested_weights, atol=6e-4)
    if found.severity == "severe":  # focal: what is answered rightly and surely hardly counts
        sure = torch.tensor([[4.0, 0.0]])
        plain = torch.nn.functional.cross_entropy(sure, torch.tensor([0])) * made["weights"][0]
        assert made["criterion"](sure, torch.tensor([0])) < 0.01 * plain


def test_never_two_corrections_are_advised_at_once() -> None:
    for ratio in (1.0, 2.0, 5.0, 50.0):
        advice = analyze_imbalance((int(100 * ratio), 100)).advice
        if "class weights" in advice.loss:
            assert any(word in advice.sampling for word in ("no balancing", "instead of", "without weights"))


def test_windows_are_compared(tmp_path) -> None:
    write_plain(tmp_path, 7, (12, 10))
    write_plain(tmp_path, 14, (227, 100))
    found = analyze(tmp_path)
    assert found.most_imbalanced.window == "14" and found.assessment == "Mild imbalance"
    assert "Most imbalanced: Window 14 (2.27:1)\nAssessment: Mild imbalance\n" in found.text()
    summary = json.loads(json.dumps(found.to_json(), allow_nan=False))["summary"]
    assert summary == {"windows_analyzed": 2, "most_imbalanced": "14", "imbalance_ratio": 2.27,
                       "assessment": "Mild imbalance"}
    assert analyze(tmp_path, [7]).assessment == "Balanced"


def test_the_analyzer_keeps_its_results(tmp_path, capsys, monkeypatch) -> None:
    write_plain(tmp_path / "data", 7, (12, 10))
    monkeypatch.chdir(tmp_path)
    analyzer = DatasetAnalyzer(base_path=tmp_path / "data")
    assert analyzer.analyze_window("7").class_counts == [12, 10]
    assert analyzer.analyze_window(14) is None and analyzer.results["14"] is None
    assert not capsys.readouterr().out
    assert list(analyzer.analyze_all_windows()) == ["7", "14", "30"] and analyzer.results["7"].window == "7"
    assert "Windows analyzed: 1" in capsys.readouterr().out
    assert list(quick_analyze(window_periods=["7"])) == ["7"]


# -- what is wrong with files ---------------------------------------------------------------------------------------


def test_folders_that_hold_nothing_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        analyze(tmp_path / "none")
    with pytest.raises(InputError, match="no windows of 7, 14, 30 days"):
        analyze(tmp_path)
    with pytest.raises(InputError, match="no window of 8 days"):
        analyze(tmp_path, [8])
    with pytest.raises(InputError, match="not a number of days"):
        quick_analyze(tmp_path, ["a week"])


def test_files_that_are_no_windows_are_refused(tmp_path) -> None:
    folder = write_plain(tmp_path, 7, (3, 2))
    (folder / "data_1.npy").unlink()
    with pytest.raises(InputError, match="only one class: the file of class 1 is missing"):
        analyze(tmp_path)
    np.save(folder / "data_1.npy", np.zeros((0, 7 * DAY + 1), np.float32))
    with pytest.raises(InputError, match="class 1 has no windows"):
        analyze(tmp_path)
    np.save(folder / "data_1.npy", np.zeros((3, 7 * DAY), np.float32))
    with pytest.raises(InputError, match="10080 columns"):
        analyze(tmp_path)
    np.save(folder / "data_1.npy", np.zeros(7 * DAY + 1, np.float32))
    with pytest.raises(InputError, match="two-dimensional"):
        analyze(tmp_path)
    whole = (folder / "data_0.npy").read_bytes()
    (folder / "data_1.npy").write_bytes(whole[:-5])
    with pytest.raises(InputError):
        analyze(tmp_path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4", np.int16])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("block_bytes", [1, 16 << 20])
def test_every_value_is_looked_at(tmp_path, dtype, order, block_bytes, monkeypatch) -> None:
    monkeypatch.setattr(analysis_values, "_BLOCK_BYTES", block_bytes)
    folder = write_plain(tmp_path, 7, (6, 5), dtype)
    x0, x1 = (np.load(folder / f"data_{k}.npy") for k in (0, 1))
    x0[0, :-1] = 7       # constant
    x0[4] = x0[2]        # repeated within the class
    x1[1, :-1] = x0[3, :-1]  # and across: the label is not looked at
    x1[3, -1] = 2
    x0[5, 100] = -321
    floating = np.dtype(dtype).kind == "f"
    if floating:
        x1[0, 5000], x1[4, 10079] = np.nan, -np.inf
    for k, x in enumerate((x0, x1)):
        np.save(folder / f"data_{k}.npy", np.asarray(x, order=order))
    found = analyze(tmp_path, [7]).windows["7"].validation
    assert found.shapes == [[6, 10081], [5, 10081]]
    assert found.constant_rows == [1, 0] and found.duplicates_within == [1, 0] and found.duplicates_across == 1
    assert found.nonfinite_rows == ([0, 2] if floating else [0, 0])
    assert found.wrong_labels == [0, 1]
    assert (found.minimum, found.maximum) == (-321, max(x0[:, :-1].max(), x1[1:4, :-1].max()))
    assert not found.valid and len(found.problems) == 1 + floating and len(found.warnings) == 3
    assert "in row 3, is 2" in found.problems[-1]
    text = analyze(tmp_path, [7]).text()
    assert "Validation: FAILED" in text and "Problem: 1 label(s) in the file of class 1 are not 1" in text


def test_files_where_no_window_is_finite_are_told(tmp_path) -> None:
    folder = write_plain(tmp_path, 7, (2, 2), np.float32)
    for k in (0, 1):
        x = np.load(folder / f"data_{k}.npy")
        x[:, 3] = np.nan
        np.save(folder / f"data_{k}.npy", x)
    found = analyze(tmp_path)
    assert found.windows["7"].validation.nonfinite_rows == [2, 2]
    assert found.windows["7"].validation.minimum is None
    json.dumps(found.to_json(), allow_nan=False)
    plot(found, tmp_path / "a.png")
    assert "hold values that are not finite" in found.text()


def test_large_files_are_read_in_blocks(tmp_path) -> None:
    folder = window_folder(tmp_path, 30)
    folder.mkdir()
    for k in (0, 1):
        made = np.lib.format.open_memmap(folder / f"data_{k}.npy", "w+", np.float32, (700, 30 * DAY + 1))
        made[:, -1] = k
        del made
    tracemalloc.start()
    found = analyze(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(found.windows["30"].validation.size_bytes) > 230 << 20
    assert peak < 60 << 20
    assert found.windows["30"].validation.constant_rows == [700, 700]


# -- the sidecar ----------------------------------------------------------------------------------------------------


def test_events_are_counted(tmp_path) -> None:
    write_events(tmp_path, events=(10, 6), stations=("ESK", "LER", "HAD"))
    found = analyze(tmp_path).windows["7"]
    side = found.sidecar
    assert found.class_counts == [30, 18] and found.simulated is True
    assert side.events == [10, 6, 16] and side.stations == 3 and side.samples_per_event == [3, 3, 3]
    assert side.first == "2003-01-01T00:00:00Z"
    assert pd.Timestamp(side.last) == pd.Timestamp("2003-01-01", tz="UTC") + pd.Timedelta(days=17 * 18 + 7)
    assert side.chance == pytest.approx(np.sqrt(1 / 10 + 1 / 6))
    by_station = next(c for c in side.categories if c.column == "station")
    assert by_station.counts == {"ESK": [10, 6], "HAD": [10, 6], "LER": [10, 6]} and not by_station.shortcut
    assert (side.overlapping, side.overlapping_classes, side.same_minutes) == (0, 0, 0)
    assert "16 events (10 in class 0, 6 in class 1) at 3 station(s)" in analyze(tmp_path).text()


def test_controls_of_matched_activity_raise_no_warning_and_others_do(tmp_path) -> None:
    matched, calmer = tmp_path / "a", tmp_path / "b"

    def alike(frame) -> None:
        frame.loc[frame["label"] == 1, "kp_max"] = frame.loc[frame["label"] == 0, "kp_max"].to_numpy()

    write_events(matched, change=alike)
    write_events(calmer, kp_gap=2.0)
    side = analyze(matched).windows["7"].sidecar
    kp = next(n for n in side.numbers if n.column == "kp_max")
    assert kp.difference == pytest.approx(0) and kp.ordered == pytest.approx(0.5) and not kp.shortcut
    assert not [w for w in side.warnings if w.startswith("kp_max")]
    found = analyze(calmer)
    kp = next(n for n in found.windows["7"].sidecar.numbers if n.column == "kp_max")
    frame = pd.read_csv(calmer / "window-7" / "samples.csv")
    one, other = (frame["kp_max"][frame["label"] == k] for k in (1, 0))
    expected = (one.mean() - other.mean()) / np.sqrt((one.var(ddof=0) + other.var(ddof=0)) / 2)
    assert kp.difference == pytest.approx(expected) and kp.shortcut
    assert kp.ordered == pytest.approx(roc_auc_score(frame["label"], frame["kp_max"]))
    assert "WARNING: kp_max alone separates the classes" in found.text()


def test_what_is_known_of_one_class_only_is_a_shortcut(tmp_path) -> None:
    def unknown(frame) -> None:
        frame.loc[frame["label"] == 0, "kp_max"] = np.nan
        frame["ap_mean"] = np.where(frame["label"] == 1, 9.0, 4.0)

    write_events(tmp_path, change=unknown)
    found = analyze(tmp_path)
    kp, ap = (next(n for n in found.windows["7"].sidecar.numbers if n.column == c) for c in ("kp_max", "ap_mean"))
    assert kp.known == [0, 1] and kp.difference is None and kp.shortcut
    assert ap.difference == np.inf and ap.ordered == 1 and ap.shortcut
    assert "that it is missing tells the class" in found.text()
    assert "each class has but one value" in found.text()
    json.dumps(found.to_json(), allow_nan=False)
    plot(found, tmp_path / "a.png")


def test_stations_months_and_years_of_one_class_are_found(tmp_path) -> None:
    def elsewhere(frame) -> None:
        control = frame["label"] == 0
        frame.loc[control, "station"] = frame.loc[control, "station"].replace("LER", "HAD")
        frame.loc[control, "start_time"] -= pd.Timedelta(days=3000)

    write_events(tmp_path, change=elsewhere)
    side = analyze(tmp_path).windows["7"].sidecar
    by = {c.column: c for c in side.categories}
    assert by["station"].one_class == ["HAD", "LER"] and by["station"].shortcut
    assert by["year"].association > 0.9 and by["year"].shortcut
    assert not by["month"].shortcut
    assert any("only one class at HAD, LER" in w for w in side.warnings)


def test_association_is_none_by_chance_and_one_when_complete() -> None:
    random = np.random.default_rng(0)
    chance = [cramers_v(random.multinomial(60, np.full(24, 1 / 24)).reshape(12, 2).astype(float) + 1e-9)
              for _ in range(200)]
    assert np.mean(np.array(chance) > 0.25) < 0.2  # uncorrected, nearly all would be
    assert cramers_v(np.diag([200.0, 200.0])) > 0.99
    assert cramers_v(np.array([[5.0, 4.0]])) == 0
    assert cramers_v(np.full((3, 2), 10.0)) == 0


def test_overlaps_in_time_are_counted(tmp_path) -> None:
    def crowd(frame) -> None:
        at = pd.Timestamp("2003-06-01", tz="UTC")
        starts = {"a0": 0.0, "e0": 6.99, "a1": 14.0, "a2": 20.0, "e1": 40.0, "e2": 47.0}
        frame["start_time"] = [at + pd.Timedelta(days=starts[e]) for e in frame["event_id"]]
        frame.loc[frame["event_id"] == "e0", "station"] = ["ESK", "HAD"]

    write_events(tmp_path, events=(3, 3), change=crowd)
    side = analyze(tmp_path).windows["7"].sidecar
    # a0 with e0 (a few minutes), a1 with a2; e0 ends before a1 begins, and e1 ends as e2 begins.
    assert (side.overlapping, side.overlapping_classes, side.same_minutes) == (8, 4, 2)
    assert any("same minutes are in both classes" in w for w in side.warnings)


def test_overlaps_agree_with_comparing_every_pair(tmp_path) -> None:
    random = np.random.default_rng(5)

    def scatter(frame) -> None:
        start = {e: pd.Timestamp("2003-01-01", tz="UTC") + pd.Timedelta(minutes=int(random.integers(0, 120 * DAY)))
                 for e in frame["event_id"].unique()}
        frame["start_time"] = frame["event_id"].map(start)

    write_events(tmp_path, events=(12, 9), change=scatter)
    side = analyze(tmp_path).windows["7"].sidecar
    frame = pd.read_csv(tmp_path / "window-7" / "samples.csv", parse_dates=["start_time"])
    t = frame["start_time"].to_numpy()
    meet = np.abs(t[:, None] - t[None, :]) < np.timedelta64(7, "D")
    event, label, station = (frame[c].to_numpy()[:, None] != frame[c].to_numpy()[None, :]
                             for c in ("event_id", "label", "station"))
    assert side.overlapping == (meet & event).any(1).sum() > 0
    assert side.overlapping_classes == (meet & label).any(1).sum()
    assert side.same_minutes == (meet & label & ~station).any(1).sum()


def test_an_event_in_both_classes_is_told(tmp_path) -> None:
    def joined(frame) -> None:
        frame.loc[frame["event_id"] == "a0", "event_id"] = "e0"

    write_events(tmp_path, events=(4, 4), change=joined)
    side = analyze(tmp_path).windows["7"].sidecar
    assert side.events == [4, 4, 7]
    assert "1 event(s) have windows in both classes" in side.warnings


def test_a_time_that_cannot_be_read_is_refused(tmp_path) -> None:
    write_events(tmp_path, events=(2, 2))
    path = tmp_path / "window-7" / "samples.csv"
    path.write_text(path.read_text().replace("2003-01-01T00:00:00Z", "New Year"))
    with pytest.raises(InputError, match="start time cannot be read"):
        analyze(tmp_path)


# -- the picture ----------------------------------------------------------------------------------------------------


def test_the_picture_shows_what_there_is(tmp_path) -> None:
    from groundswell.pipelines.geomag.analysis_plot import figure_of

    write_events(tmp_path, kp_gap=2.0)
    write_plain(tmp_path, 14, (30, 10), np.float32)
    found = analyze(tmp_path)
    figure = figure_of(found)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == 6 and titles[0] == "Windows of each class" and "By station, 7 days" in titles[3]
    assert "simulated" in figure.get_suptitle()
    assert len(figure.axes[4].lines) == len(figure.axes[5].lines) == 3
    bars = [bar.get_height() for bar in figure.axes[3].patches]
    assert bars == [20, 20, 20, 20]
    assert plot(found, tmp_path / "analysis.png").read_bytes().startswith(b"\x89PNG")
    alone = replace(found, windows={"14": found.windows["14"]})
    assert len(figure_of(alone).axes) == 3


def test_the_sentence_about_missing_events_is_there_only_without_a_sidecar(tmp_path) -> None:
    write_events(tmp_path / "a")
    write_plain(tmp_path / "b", 7, (5, 5))
    assert analysis_module.UNGROUPED not in analyze(tmp_path / "a").text()
    assert analysis_module.UNGROUPED in analyze(tmp_path / "b").text()
