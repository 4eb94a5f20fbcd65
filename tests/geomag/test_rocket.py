"""MiniRocket + ridge: the ridge is scikit-learn's, folds see their training part alone, dealing labels works."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest
from rocket_world import KERNELS, folds_of, make_world, needs_aeon, reader
from sklearn.linear_model import RidgeClassifier

from groundswell.core.errors import InputError, MissingExtraError
from groundswell.data.predictions import Predictions
from groundswell.evaluate.permutation import fold_statistic, permuted_truths
from groundswell.pipelines.geomag import rocket
from groundswell.pipelines.geomag.ridge import STRENGTHS, Ridge, Sigmoid, fit_sigmoid
from groundswell.pipelines.geomag.rocket import RocketTransform, fit_rocket, fit_rocket_fold, rocket_permutation_test
from groundswell.splits.manifest import HOLDOUT, TEST, TRAIN, VALIDATION, SplitManifest

EVEN = np.ones(2)


# -- the ridge -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [30, 400], ids=["fewer features than rows", "more features than rows"])
@pytest.mark.parametrize("alpha", [0.3, 50.0, 1e4])
def test_decision_values_are_those_of_scikit_learn(features, alpha):
    rng = np.random.default_rng(0)
    x, asked = rng.normal(3, 2, (120, features)), rng.normal(3, 2, (25, features))
    labels = (rng.random((120, 4)) < [0.5, 0.4, 0.3, 0.1]).astype(int)
    ridge = Ridge(x)
    targets = ridge.targets(2.0 * labels - 1)
    for rows in (asked, x):
        found = ridge.decide(ridge.basis(None if rows is x else rows), targets, alpha)
        for t in range(4):
            expected = RidgeClassifier(alpha=alpha).fit(x, labels[:, t]).decision_function(rows)
            assert np.abs(found[:, t] - expected).max() < 1e-6 * np.abs(expected).max()


def test_each_target_can_have_a_penalty_of_its_own_and_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 90)).astype(np.float32), np.sign(rng.normal(size=(40, 3)))
    ridge = Ridge(x)
    targets, basis = ridge.targets(y), ridge.basis(x[:7].copy())
    together = ridge.decide(basis, targets, np.array([1.0, 10.0, 100.0]))
    for t, alpha in enumerate((1.0, 10.0, 100.0)):
        assert together[:, t] == pytest.approx(ridge.decide(basis, targets, alpha)[:, t])
    monkeypatch.setattr("groundswell.pipelines.geomag.ridge._BLOCK_BYTES", 4096)
    blocked = Ridge(x)
    assert blocked.decide(blocked.basis(x[:7].copy()), blocked.targets(y), 10.0) == pytest.approx(
        ridge.decide(basis, targets, 10.0), abs=1e-9)


def test_the_penalty_is_chosen_on_other_rows_by_what_goes_best_with_them():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 200))
    clear, none = np.sign(x[:, 0] + x[:, 1]), np.sign(rng.normal(size=300))
    y = np.stack([clear, none], 1)
    ridge = Ridge(x[:200])
    targets, basis = ridge.targets(y[:200]), ridge.basis(x[200:])
    chosen = ridge.choose(basis, targets, y[200:]) / ridge.unit
    assert set(np.round(np.log10(chosen), 6)) <= set(np.round(np.log10(STRENGTHS), 6))
    found = [[np.corrcoef(ridge.decide(basis, targets, s * ridge.unit)[:, t], y[200:, t])[0, 1] for s in STRENGTHS]
             for t in (0, 1)]
    assert chosen == pytest.approx([STRENGTHS[int(np.argmax(each))] for each in found])
    one_class = ridge.choose(basis, targets, np.ones((100, 2))) / ridge.unit
    assert one_class == pytest.approx(STRENGTHS[len(STRENGTHS) // 2])


def test_copies_of_events_in_training_would_choose_too_weak_a_penalty():
    """Why leaving out single training rows is no way to choose: two copies of an event remember each other."""
    rng = np.random.default_rng(3)
    events, noise = rng.normal(size=(60, 300)), np.sign(rng.normal(size=60))
    x = np.repeat(events, 2, 0) + 0.05 * rng.normal(size=(120, 300))
    y = np.repeat(noise, 2)[:, None]
    ridge = Ridge(x[::2])
    copies = ridge.choose(ridge.basis(x[1::2]), ridge.targets(y[::2]), y[1::2])
    decision = ridge.decide(ridge.basis(x[1::2]), ridge.targets(y[::2]), copies)
    assert np.corrcoef(decision[:, 0], y[1::2, 0])[0, 1] > 0.95  # though there is nothing to learn


def test_the_curve_gives_frequencies_rises_always_and_is_moved_by_weights():
    rng = np.random.default_rng(4)
    z = rng.normal(size=20000)
    truth = (rng.random(20000) < 1 / (1 + np.exp(-(1.7 * z - 0.8)))).astype(np.int64)
    curve = fit_sigmoid(3 * z + 5, truth, EVEN)
    assert curve.slope == pytest.approx(1.7 / 3, rel=0.05)
    assert curve(3 * z + 5).mean() == pytest.approx(truth.mean(), abs=0.005)
    against = fit_sigmoid(-z, truth, EVEN)
    assert 0 < against.slope < 0.01
    weighted = fit_sigmoid(3 * z + 5, truth, np.array([1.0, 2.0]))
    assert weighted(3 * z + 5).mean() > truth.mean() + 0.05
    assert fit_sigmoid(z, np.zeros(20000, np.int64), EVEN) == Sigmoid(2.0, 0.0)
    parted = fit_sigmoid(np.array([-1.0, -1.0, 1.0, 1.0]), np.array([0, 0, 1, 1]), EVEN)
    assert np.isfinite(parted.slope) and 0.6 < parted(np.ones(1))[0] < 0.9  # softened: four rows prove little


# -- the transform -------------------------------------------------------------------------------------------------


def test_features_are_of_training_windows_alone_standardised_and_repeat():
    needs_aeon()
    _, windows, _ = make_world(10)
    rows, other = np.arange(20), np.arange(20, 30)
    transform = RocketTransform(1, 1, KERNELS)
    features = transform.fit(reader(windows), rows)
    assert features.dtype == np.float32 and features.shape == (20, KERNELS)
    varied = features.std(0) > 0
    assert np.abs(features.mean(0)).max() < 1e-3 and features.std(0)[varied] == pytest.approx(1.0, abs=1e-3)
    again = RocketTransform(1, 2, KERNELS)
    changed = windows.copy()
    changed[other] *= -3
    assert np.array_equal(again.fit(reader(changed), rows), features)
    assert np.array_equal(again(reader(windows), other), transform(reader(windows), other))
    assert transform(reader(windows), np.empty(0, np.int64)).shape == (0, KERNELS)
    assert not np.array_equal(RocketTransform(2, 1, KERNELS).fit(reader(windows), rows), features)


def test_the_offset_of_a_field_does_not_matter_its_amplitude_does():
    needs_aeon()
    _, windows, _ = make_world(6)
    transform = RocketTransform(0, 1, KERNELS)
    features = transform.fit(reader(windows), np.arange(18))
    moved = transform(reader(windows + 8192), np.arange(18))
    # float32 knows 28,000 nT to two thousandths; some counts of minutes above a bias change by one.
    assert np.median(np.abs(moved - features)) < 0.02
    assert np.median(np.abs(transform(reader(20000 + 3 * (windows - 20000)), np.arange(18)) - features)) > 0.1


def test_blocks_change_nothing_and_numpys_common_chance_goes_on(monkeypatch):
    needs_aeon()
    _, windows, _ = make_world(6)
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random(3)  # noqa: NPY002
    whole = RocketTransform(0, 1, KERNELS).fit(reader(windows), np.arange(18))
    np.random.seed(5)  # noqa: NPY002
    monkeypatch.setattr(rocket, "_BLOCK_BYTES", 4 * 400 * 5)
    assert np.array_equal(RocketTransform(0, 1, KERNELS).fit(reader(windows), np.arange(18)), whole)
    assert np.array_equal(np.random.random(3), expected)  # noqa: NPY002
    monkeypatch.setattr(rocket, "_FIT_BYTES", 4 * 400 * 5)
    assert not np.array_equal(RocketTransform(0, 1, KERNELS).fit(reader(windows), np.arange(18)), whole)


def test_windows_that_cannot_be_transformed_are_refused():
    needs_aeon()
    _, windows, _ = make_world(6)
    with pytest.raises(InputError, match="8 minutes, and MiniRocket needs at least 9"):
        RocketTransform().fit(reader(windows[:, :8]), np.arange(4))
    windows[2, 7] = np.nan
    with pytest.raises(InputError, match="not finite"):
        RocketTransform(kernels=KERNELS).fit(reader(windows), np.arange(4))


def test_without_aeon_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "aeon", None)
    for name in [name for name in sys.modules if name.startswith("aeon.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"groundswell\[geomag\]"):
        RocketTransform()


# -- folds ---------------------------------------------------------------------------------------------------------


def test_a_fold_answers_for_every_part_and_never_for_what_has_no_label():
    needs_aeon()
    table, windows, _ = make_world(signal=2.0)
    column = table.column("label")
    column[:3] = None
    table = table.replaced(label=column)
    manifest = folds_of(table, holdout=0.2)
    fold = fit_rocket_fold(reader(windows), table, manifest, 1, seed=3, threads=1, kernels=KERNELS)
    for code, part in ((TRAIN, fold.train), (VALIDATION, fold.validation), (TEST, fold.test), (HOLDOUT, fold.holdout)):
        rows = manifest.rows(code, 1)
        rows = rows[table.labels()[rows] >= 0]
        assert part.sample_id.tolist() == table.column("sample_id")[rows].tolist()
        assert np.array_equal(part.truth, table.labels()[rows]) and set(part.fold) == {1}
        assert part.probability.sum(1) == pytest.approx(1.0)
    assert fold.alpha > 0 and fold.permuted.shape == (0,)
    again = fit_rocket_fold(reader(windows), table, manifest, 1, seed=3, threads=2, kernels=KERNELS)
    assert np.array_equal(again.test.probability, fold.test.probability)
    assert fit_rocket_fold(reader(windows), table, folds_of(table), 0, kernels=KERNELS).holdout is None


def test_no_fold_looks_at_what_it_tests():
    needs_aeon()
    table, windows, _ = make_world(signal=2.0)
    manifest = folds_of(table)
    fold = fit_rocket_fold(reader(windows), table, manifest, 0, threads=1, kernels=KERNELS)
    tested, label = manifest.rows(TEST, 0), table.column("label")
    label[tested] = 1 - label[tested]
    hidden = windows.copy()
    hidden[tested] = np.random.default_rng(0).normal(size=(len(tested), windows.shape[1]))
    other = fit_rocket_fold(reader(hidden), table.replaced(label=label), manifest, 0, threads=1, kernels=KERNELS)
    for part in ("train", "validation"):
        assert np.array_equal(getattr(other, part).probability, getattr(fold, part).probability)
    assert other.alpha == fold.alpha and not np.array_equal(other.test.probability, fold.test.probability)


def test_a_planted_signal_is_found_and_dealt_labels_do_not_come_near():
    needs_aeon()
    table, windows, _ = make_world(signal=2.0)
    result = rocket_permutation_test(reader(windows), table, folds_of(table), permutations=39, threads=1,
                                     kernels=KERNELS)
    assert result.observed > 0.9 and result.p == 1 / 40 and abs(result.null.mean() - 0.5) < 0.1


def test_where_there_is_nothing_nothing_is_found():
    needs_aeon()
    p = []
    for seed in range(8):
        table, windows, _ = make_world(24, seed=seed)
        result = rocket_permutation_test(reader(windows), table, folds_of(table, 2), permutations=19, threads=1,
                                         kernels=84, seed=seed)
        p.append(result.p)
    assert 0.2 < np.mean(p) < 0.8 and np.mean(np.asarray(p) <= 0.05) <= 0.25


def test_a_deal_gives_what_a_fit_to_dealt_labels_would():
    needs_aeon()
    table, windows, _ = make_world(24, signal=1.0)
    manifest = folds_of(table, 3)
    truths = permuted_truths(table, manifest, 3, 0)
    result = fit_rocket(reader(windows), table, manifest, seed=1, truths=truths, threads=1, kernels=KERNELS)
    assert result.permuted.shape == (3,) and len(result.test) == len(table) and len(result.train) == 3
    for k, truth in enumerate(truths):
        dealt = table.replaced(label=truth.astype(int))
        again = SplitManifest.of(dealt, manifest.assignment, manifest.regime, manifest.seed, manifest.settings)
        fitted = fit_rocket(reader(windows), dealt, again, seed=1, threads=1, kernels=KERNELS)
        assert fold_statistic(fitted.test) == pytest.approx(result.permuted[k])
    alone = fit_rocket(reader(windows), table, manifest, seed=1, threads=1, kernels=KERNELS)
    assert alone.test.probability == pytest.approx(result.test.probability, abs=1e-9)
    assert isinstance(result.validation, Predictions)


def test_one_class_to_learn_from_answers_its_share():
    needs_aeon()
    table, windows, _ = make_world(12)
    assignment = np.full((len(table), 1), TRAIN, np.int8)
    assignment[table.labels() == 1] = TEST
    assignment[:6] = TEST
    assignment[6:9] = VALIDATION
    manifest = SplitManifest.of(table, assignment, "grouped", 0, {})
    fold = fit_rocket_fold(reader(windows), table, manifest, 0, kernels=KERNELS,
                           truths=table.labels()[None])
    assert fold.alpha is None and (fold.test.probability[:, 0] == 1).all() and fold.permuted[0] == 0.5
    with pytest.raises(InputError, match="no labelled window to learn from"):
        fit_rocket_fold(reader(windows), table, SplitManifest.of(
            table, np.full((len(table), 1), TEST, np.int8), "grouped", 0, {}), 0)


def test_one_event_a_fold_has_no_area_and_says_so():
    needs_aeon()
    table, windows, _ = make_world(6, 2)
    manifest = SplitManifest.of(table, _one_event_a_fold(table), "leave_one_out", 0, {})
    result = rocket_permutation_test(reader(windows), table, manifest, permutations=5, threads=1, kernels=84)
    assert result.p is None and result.why == "no fold tests both classes" and np.isnan(result.null).all()


def _one_event_a_fold(table):
    event = np.array([int(name[1:]) for name in table.column("event")])
    assignment = np.full((len(table), 6), TRAIN, np.int8)
    for k in range(6):
        assignment[event == (k + 1) % 6, k] = VALIDATION
        assignment[event == k, k] = TEST
    return assignment


def test_the_gram_matrix_is_summed_in_blocks():
    x = np.random.default_rng(0).normal(size=(200, 60_000)).astype(np.float32)
    tracemalloc.start()
    try:
        Ridge(x)
        assert tracemalloc.get_traced_memory()[1] < 96 << 20  # a float64 copy of x alone would be 96 MB
    finally:
        tracemalloc.stop()
