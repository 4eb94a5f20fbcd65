"""What the pictures show is what the files hold: curves, areas, confusion, averages and scores beside controls."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from figure_files import FIVE, WINDOWS, make_results
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, roc_auc_score, roc_curve

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.figures.comparison import METRICS, averages_of, overall, radar_span, read_averages
from groundswell.pipelines.geomag.figures.confusion import mean_confusion, read_confusion
from groundswell.pipelines.geomag.figures.controls import read_controls
from groundswell.pipelines.geomag.figures.results import Cell, Results, find_results, marks_of, read_log, read_weights
from groundswell.pipelines.geomag.figures.roc import mean_roc, read_roc
from groundswell.pipelines.geomag.figures.style import limits
from groundswell.pipelines.geomag.figures.training_curves import (
    majority_rate,
    plan,
    read_training,
    weighted_curve,
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return find_results(make_results(tmp_path_factory.mktemp("results"), epochs=[4, 4, 3, 4, 2]))


def _cell(results: Results, model: str = "GRU", window: str = "7day") -> Cell:
    return next(cell for cell in results.cells if (cell.model, cell.window) == (model, window))


def _answers(cell: Cell, fold: int) -> tuple[np.ndarray, np.ndarray]:
    probs, labels = (np.load(f"{cell.stem}_fold_{fold}_test_{kind}.npy") for kind in ("probs", "labels"))
    return probs.astype(np.float64), labels


def test_mean_roc_is_that_of_scikit_learn_fold_by_fold(results: Results) -> None:
    cell = _cell(results)
    roc = read_roc(results, cell)
    assert roc is not None
    areas = [roc_auc_score(_answers(cell, k)[1], _answers(cell, k)[0][:, 1]) for k in range(1, 6)]
    np.testing.assert_allclose(roc.areas, areas)
    assert roc.auc == pytest.approx(np.mean(areas))
    assert roc.standard_error == pytest.approx(np.std(areas, ddof=1) / np.sqrt(5))
    curves = []
    for fold in range(1, 6):
        probs, labels = _answers(cell, fold)
        fpr, tpr, _ = roc_curve(labels, probs[:, 1], drop_intermediate=False)
        curves.append(np.interp(roc.fpr, fpr, tpr))
    inner = slice(1, -1)  # the ends are set to 0 and 1
    np.testing.assert_allclose(roc.tpr[inner], np.mean(curves, axis=0)[inner], atol=1e-12)
    assert (roc.tpr[0], roc.tpr[-1]) == (0, 1)
    assert np.trapezoid(roc.tpr, roc.fpr) == pytest.approx(roc.auc, abs=0.02)


def test_perfect_and_inverted_answers_have_the_areas_one_and_zero() -> None:
    labels = np.array([0, 0, 1, 1])
    right = np.stack([1 - labels, labels], 1).astype(np.float64)
    assert mean_roc("GRU", [(right, labels)]).auc == 1
    assert mean_roc("GRU", [(right[:, ::-1], labels)]).auc == 0
    assert np.isnan(mean_roc("GRU", [(right, labels)]).standard_error)


def test_confusion_is_the_mean_of_scikit_learns_over_folds(results: Results) -> None:
    cell = _cell(results, "Transformer", "30day")
    mean = read_confusion(results, cell)
    assert mean is not None
    each = [confusion_matrix(labels, probs.argmax(1)) for probs, labels in (_answers(cell, k) for k in range(1, 6))]
    np.testing.assert_allclose(mean.counts, np.mean(each, axis=0))
    np.testing.assert_allclose(mean.share.sum(1), 1)
    shares = np.array([c / c.sum(1, keepdims=True) for c in each])
    np.testing.assert_allclose(mean.spread, shares.std(0))
    assert (mean.folds, mean.all_folds) == (5, 5)


def test_confusion_of_a_class_that_no_fold_has_is_not_a_number() -> None:
    mean = mean_confusion([(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]))])
    np.testing.assert_allclose(mean.share[0], 0.5)
    assert np.isnan(mean.share[1]).all()


def test_curves_are_weighted_by_the_ensemble_over_the_folds_that_have_the_epoch(results: Results) -> None:
    cell = _cell(results, "LSTM")
    training = read_training(results, cell)
    assert training is not None
    weights = np.array(json.loads(Path(f"{cell.stem}_ensemble_config.json").read_text())["ensemble_weights"])
    logs = [read_log(results, cell, k) for k in range(1, 6)]
    curve = training.curves["val_loss"]
    assert curve.folds.tolist() == [5, 5, 4, 3]
    first = np.array([log["val_loss"][0] for log in logs if log])
    assert curve.mean[0] == pytest.approx((weights * first).sum())
    assert curve.spread[0] == pytest.approx(np.sqrt((weights * (first - curve.mean[0]) ** 2).sum()))
    still = [0, 1, 3]
    last = np.array([logs[i]["val_loss"][3] for i in still])  # type: ignore[index]
    assert curve.mean[3] == pytest.approx((weights[still] * last).sum() / weights[still].sum())
    accuracy = np.array([log["val_acc"][-1] for log in logs if log])
    assert training.last_accuracy == pytest.approx((weights * accuracy).sum())


@given(values=st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=6), min_size=1, max_size=6), data=st.data())
@settings(max_examples=60, deadline=None)
def test_weighted_means_lie_within_the_folds_and_equal_folds_have_no_spread(values: list[list[float]],
                                                                           data: st.DataObject) -> None:
    weights = np.array(data.draw(st.lists(st.floats(0, 1), min_size=len(values), max_size=len(values))))
    logs = [{"epoch": np.arange(1.0, len(v) + 1), "x": np.array(v)} for v in values]
    curve = weighted_curve(logs, weights, "x")
    assert len(curve.epoch) == max(len(v) for v in values)
    for i in range(len(curve.epoch)):
        there = [v[i] for v in values if len(v) > i]
        assert min(there) - 1e-6 <= curve.mean[i] <= max(there) + 1e-6
        assert curve.folds[i] == len(there)
        assert 0 <= curve.spread[i] <= max(there) - min(there) + 1e-6


def test_an_epoch_whose_value_is_not_a_number_is_left_to_the_other_folds() -> None:
    logs = [{"epoch": np.array([1.0, 2.0]), "x": np.array([1.0, np.nan])},
            {"epoch": np.array([1.0, 2.0]), "x": np.array([3.0, 5.0])}]
    curve = weighted_curve(logs, np.array([0.5, 0.5]), "x")
    assert curve.mean.tolist() == [2, 5]
    assert curve.folds.tolist() == [2, 1]


def test_logs_are_read_past_other_lines_and_a_resumed_epoch_counts_once(tmp_path: Path) -> None:
    results = find_results(make_results(tmp_path, models=("GRU",), windows=("7day",)))
    cell = _cell(results)
    cell.file(1, "logs.txt").write_text(
        "GRU on windows of 7 days\nEpoch 1/3 | train_loss 0.9 | train_acc 0.1 | val_loss nan | val_acc 0.2 | lr 1e-3\n"
        "Saved.\nEpoch 2/3 | train_loss 0.8 | train_acc 0.2 | val_loss 1.5e+01 | val_acc 0.3 | lr 1.000e-03\n"
        "Epoch 2/3 | train_loss 0.7 | train_acc 0.4 | val_loss 0.6 | val_acc 0.5 | lr 1.000e-03\n"
        "Epoch 3/3 | train_loss 0.7 | train_acc 0.4 | val_lo")
    log = read_log(results, cell, 1)
    assert log is not None
    assert log["epoch"].tolist() == [1, 2]
    assert log["train_loss"].tolist() == [0.9, 0.7]
    assert np.isnan(log["val_loss"][0]) and log["val_acc"].tolist() == [0.2, 0.5]


def test_families_stand_in_the_order_of_their_scores(results: Results) -> None:
    found = read_averages(results)
    order = list(overall(found))
    f1 = {m: np.mean([a.mean["f1"] for a in found if a.model == m]) for m in order}
    assert order == sorted(f1, key=lambda m: -f1[m])
    assert [a.model for a in found if a.window == "14day"] == order
    [picture] = [p for p in plan(results) if p.name.endswith("_7day.png")]
    labels = [t.get_text() for legend in (ax.get_legend() for ax in picture.draw().axes) if legend
              for t in legend.get_texts()]
    shown = [float(label.split("(")[1].rstrip(")")) for label in labels]
    assert len(shown) == 5 and shown == sorted(shown, reverse=True)


def test_averages_are_those_recorded_or_worked_out_from_the_folds(results: Results) -> None:
    cell = _cell(results, "MLP")
    recorded = averages_of(cell)
    assert recorded is not None
    by_fold = cell.facts["fold_metrics"]
    bare = {"fold_metrics": {k: v for k, v in by_fold.items() if k != "norm_mcc"}}
    worked_out = averages_of(Cell("MLP", "7day", cell.stem, 5, bare))
    assert worked_out is not None
    for name in METRICS:
        assert worked_out.mean[name] == pytest.approx(recorded.mean[name]) == pytest.approx(np.mean(by_fold[name]))
        assert worked_out.std[name] == pytest.approx(recorded.std[name])
    assert averages_of(Cell("MLP", "7day", cell.stem, 5, {"fold_metrics": {"f1": [0.5]}})) is None
    assert averages_of(Cell("MLP", "7day", cell.stem, 5, {"average_metrics": {"f1": "high"}})) is None


def test_radars_share_one_span_that_holds_every_score(results: Results) -> None:
    found = read_averages(results)
    low, high = radar_span(found)
    assert low < min(min(a.mean.values()) for a in found)
    assert high > max(max(a.mean.values()) for a in found)


def test_weights_that_cannot_be_used_make_the_folds_count_alike(tmp_path: Path) -> None:
    results = find_results(make_results(tmp_path, models=("GRU",), windows=("7day",)))
    cell = _cell(results)
    assert read_weights(results, cell).sum() == pytest.approx(1)
    assert results.missing == [f"{m}: there is no folder {m.lower()}_models" for m in ("LSTM", "RNN", "MLP",
               "Transformer")] + [f"{w}: no family has files of this window length" for w in ("14day", "30day")]
    for bad in (None, [0.5, 0.5], [0.2, 0.2, 0.2, 0.2, -1], ["a"] * 5, [0.0] * 5, [float("nan")] * 5, "x"):
        other = Cell("GRU", "7day", cell.stem, 5, {"ensemble_weights": bad})
        np.testing.assert_allclose(read_weights(results, other), 0.2)
    assert "GRU 7day: no weights of 5 folds are recorded; the folds count alike" in results.missing


def test_the_commoner_class_is_counted_over_all_tested_windows(results: Results) -> None:
    labels = np.concatenate([_answers(_cell(results), k)[1] for k in range(1, 6)])
    assert majority_rate(results, results.of_window("7day")) == pytest.approx(max(labels.mean(), 1 - labels.mean()))


def test_marks_are_said_and_their_absence_too() -> None:
    known = {"simulated": False, "ungrouped": False}
    assert marks_of([known]) == ""
    assert marks_of([known, {"simulated": True, "ungrouped": True}]) == "Simulated data. Ungrouped: may be inflated."
    assert "not recorded" in marks_of([{}]) and "not recorded" in marks_of([known, {"f1": 1}])
    assert "a pilot" in marks_of([{**known, "allow_leakage": "a pilot"}])


def test_scores_beside_controls_are_grouped_and_ordered(tmp_path: Path) -> None:
    make_results(tmp_path, windows=("7day",), facts={"simulated": True})
    scores = read_controls(tmp_path / "controls_7day.json")
    kinds = [row.kind for row in scores.rows]
    assert kinds == sorted(kinds, key=["model", "rival", "ensemble", "null"].index)
    values = [row.value for row in scores.rows if row.kind == "model"]
    assert len(values) == 5 and values == sorted(values, reverse=True)
    assert scores.marks == "Simulated data." and scores.chance == 0.5
    assert [np.isnan(row.p) for row in scores.rows if row.kind == "ensemble"] == [True] * 3


@pytest.mark.parametrize("change", [{"rows": None}, {"chance": "half"}, {"rows": [{"title": "GRU"}]},
                                    {"rows": [{"title": "x", "kind": "guess", "metric": "roc_auc", "value": 1}]}])
def test_damaged_scores_beside_controls_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    make_results(tmp_path, windows=("7day",))
    path = tmp_path / "controls_7day.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match="controls_7day"):
        read_controls(path)


@given(low=st.floats(0, 1), high=st.floats(0, 1))
@settings(deadline=None)
def test_ranges_hold_the_data_and_are_never_empty(low: float, high: float) -> None:
    low, high = sorted((low, high))
    first, last = limits(low, high, within=(0.0, 1.0))
    assert first < low + 1e-12 and last > high - 1e-12 and last - first >= 0.01


def test_five_families_and_three_windows_are_found(results: Results) -> None:
    assert [cell.model for cell in results.of_window("7day")] == [*("GRU", "LSTM", "RNN", "MLP", "Transformer"),
                                                                  "MiniRocket"]
    assert results.windows == list(WINDOWS)
    assert {cell.folds for cell in results.cells} == {5}
    assert read_training(results, _cell(results, "MiniRocket")) is None
    assert not results.missing[:-1] and set(FIVE) < {cell.model for cell in results.cells}
