"""A waveform is judged whatever its origin, sign and size; rivals stand beside it, and each sentence follows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from wave_world import DT, NT, TRACES, World, sources

from groundswell.core.errors import InputError
from groundswell.core.waveforms import best_lag, envelope, shifted
from groundswell.data.waveforms import WaveformPredictions
from groundswell.evaluate.controls import ControlRun
from groundswell.evaluate.medians import GroupBootstrap
from groundswell.evaluate.waveform_recipe import WaveformEvaluateRecipe
from groundswell.evaluate.waveform_rivals import WAVEFORM_CONTROLS
from groundswell.evaluate.waveform_scores import score_samples
from groundswell.evaluate.waveform_truth import WaveformTruth
from groundswell.evaluate.waveforms import evaluate_waveforms

QUICK = WaveformEvaluateRecipe(bootstrap=300, n_min=10)


def judged(world, model=None, rivals=None, recipe=QUICK, **options):
    runs = [world.run(name, given) for name, given in (rivals or {}).items()]
    return evaluate_waveforms(world.guess() if model is None else model, world.table, world.truth, recipe,
                              controls=runs, unit="bag", **options)


@pytest.mark.parametrize("lag", [0, 7, -11, 3.3, -0.25])
@pytest.mark.parametrize("scale", [1.0, -1.0, 0.01, -250.0])
def test_a_moved_turned_and_scaled_copy_is_the_same_wave(lag, scale):
    true = sources(5)
    found = best_lag(scale * shifted(true, lag), true, 24)
    assert np.allclose(found.correlation, 1, atol=2e-4)
    assert np.allclose(found.lag, lag, atol=0.02) and (found.sign == np.sign(scale)).all()
    assert (best_lag(-true, true, 24, sign=False).correlation < 0.95).all()


def test_lags_stay_within_reach_and_constants_agree_with_nothing():
    true = sources(3)
    assert (np.abs(best_lag(shifted(true, 30), true, 10).lag) <= 10).all()
    assert (np.abs(best_lag(shifted(true, 30), true, 0).lag) == 0).all()
    assert (best_lag(np.ones((3, NT)), true, 10).correlation == 0).all()
    plain = (true[0] * true[1]).mean()
    assert best_lag(true[0], true[1], 0, sign=False).correlation == pytest.approx(plain, abs=1e-9)


def test_an_envelope_is_the_amplitude_of_an_oscillation():
    t = np.arange(NT)
    shape = np.exp(-0.5 * ((t - 96) / 20) ** 2)
    assert np.allclose(envelope(shape * np.cos(0.9 * t)), shape, atol=2e-3)
    assert np.allclose(envelope(-shape), envelope(shape))


def test_copies_score_one_everywhere():
    world = World(12)
    scores = score_samples(world.guess(noise=0.0, shift_noise=0.0), world.truth, QUICK)
    for name, exact in (("correlation", 1), ("envelope_correlation", 1), ("split_half", 1), ("polarity", 1),
                        ("shift_error_s", 0), ("coverage", 1)):
        assert np.allclose(scores[name], exact, atol=0.01), name
    assert set(scores["sign"]) == {-1.0, 1.0}


def test_shift_errors_leave_out_padding_and_the_mean_of_the_bag():
    world = World(2)
    guess = world.guess(shift_noise=0.0)
    off = np.array([0.0, 0, 0, 0, 0.9, np.nan])
    guess = WaveformPredictions.of(world.ids, guess.waveform, dt=DT, t0=0, shift_s=world.shift_s + 7 + off,
                                   flip=np.where(np.isnan(off), 0, world.flip))
    scores = score_samples(guess, world.truth, QUICK)
    assert np.allclose(scores["shift_error_s"], 0.9 / 5, atol=1e-6)
    assert np.allclose(scores["shift_error_samples"], 0.9 / 5 / DT, atol=1e-6)
    assert (scores["polarity"] == 1).all() and scores["coverage"].isna().all()


def test_one_wrong_polarity_counts_whichever_way_the_bag_is_turned():
    world = World(2)
    flip = world.flip.copy()
    flip[:, 0] *= -1
    for turned in (flip, -flip):
        guess = WaveformPredictions.of(world.ids, world.source, dt=DT, t0=0, flip=turned)
        assert np.allclose(score_samples(guess, world.truth, QUICK)["polarity"], 1 - 1 / TRACES)


def test_bands_of_the_right_width_hold_what_they_say():
    world = World(60)
    for width, low, high in ((1.0, 0.88, 0.92), (0.5, 0.5, 0.65), (3.0, 0.99, 1.0)):
        guess = world.guess(0.3)
        guess = WaveformPredictions.of(guess.sample_id, guess.waveform, dt=DT, t0=0, spread=width * guess.spread)
        found = judged(world, guess)
        assert low < found.whole.scores["coverage"].value <= high
        words = " ".join(found.conclusion)
        assert {0.5: "narrower than they say", 3.0: "wider than they say"}.get(width, "90 % bands hold") in words


def test_medians_are_medians_and_intervals_cover():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(100):
        level = rng.normal(size=25)
        group = np.repeat(np.arange(25), 4).astype(object)
        values = np.repeat(level, 4) + 0.3 * rng.normal(size=100)
        drawn = GroupBootstrap(group, resamples=300, confidence=0.9, seed=trial)
        found = drawn.estimate(values, "median")
        assert found.value == np.median(values) and drawn.estimate(values, "mean").value == values.mean()
        hits += found.low <= 0 <= found.high
    assert 80 <= hits <= 98


def test_resampled_medians_are_those_of_the_resamples():
    rng = np.random.default_rng(1)
    values, group = rng.normal(size=30), rng.integers(0, 8, 30)
    values[3] = np.nan
    drawn = GroupBootstrap(group.astype(object), resamples=50, confidence=0.95, seed=3)
    codes = np.unique(group.astype(str), return_inverse=True)[1]
    for how, plain in (("median", np.nanmedian), ("mean", np.nanmean)):
        expected = [plain(np.repeat(values, times[codes])) for times in drawn._times]
        assert np.allclose(drawn.draws(values, how), expected)
    assert drawn.difference(values, values, "median").value == 0


def test_differences_pair_samples():
    world = World(40)
    found = judged(world, world.guess(0.3), {"iccs_stack": world.guess(0.5), "raw_stack": world.guess(0.3)})
    iccs, raw = found.whole.beside
    gap = iccs.differences["correlation"]
    expected = found.whole.scores["correlation"].value - iccs.scores["correlation"].value
    assert gap.value == pytest.approx(expected) and gap.low < gap.value < gap.high and gap.low > 0
    assert iccs.state("correlation") == "better" and iccs.wins > 0.9
    same = raw.differences["correlation"]
    assert same.value == 0 and raw.state("correlation") in ("as good", "unknown")
    wide = iccs.scores["correlation"].high - iccs.scores["correlation"].low
    assert gap.high - gap.low < wide + (found.whole.scores["correlation"].high - found.whole.scores["correlation"].low)
    assert iccs.agreement.value > 0.8
    assert iccs.shift_ratio.value == pytest.approx(1.0)
    part = judged(world, None, {"iccs_stack": world.guess().take(np.arange(10))}).whole.beside[0]
    assert part.samples == 10 and part.differences["correlation"].value == 0


def test_gains_are_of_single_samples():
    world = World(40)
    found = judged(world, world.guess(0.3), {"iccs_stack": world.guess(0.5)})
    gain = found.whole.beside[0].gains["correlation"]
    each = [row["correlation"] - row["rivals"]["iccs_stack"] for row in found.answers]
    assert gain.value == pytest.approx(np.median(each)) and 0 < gain.low < gain.value < gain.high
    noise = np.where(np.arange(40) % 4 < 2, 0.1, 1.0)[:, None] * np.random.default_rng(0).normal(size=(40, NT))
    model, rival = (WaveformPredictions.of(world.ids, world.source + size * noise, dt=DT, t0=0) for size in (1, 1.03))
    kinds = judged(world, model, {"iccs_stack": rival}).whole.beside[0]
    gap, gain = kinds.differences["correlation"], kinds.gains["correlation"]
    assert gain.low > 0 and gain.high - gain.low < gap.high - gap.low and kinds.state("correlation") == "better"


def test_worlds_are_scored_apart_and_small_ones_get_the_reason():
    world = World(44, worlds=("easy", "easy", "easy", "rare"))
    found = judged(world, recipe=WaveformEvaluateRecipe(bootstrap=200, n_min=15))
    easy, rare = found.strata["easy"], found.strata["rare"]
    assert (easy.samples, easy.groups, rare.samples, rare.groups) == (34, 17, 10, 5)
    assert easy.scores["correlation"].low is not None and not rare.scores
    assert "10 tested bags, and a number needs 15" in rare.why
    assert any(rare.why in line for line in found.not_measured)
    rows = [row["correlation"] for row in found.answers if row["kind"] == "easy"]
    assert easy.scores["correlation"].value == pytest.approx(np.median(rows))


def test_one_group_has_a_number_and_no_interval():
    world = World(2)
    found = judged(world, rivals={"iccs_stack": world.guess(0.5)})
    score = found.whole.scores["correlation"]
    assert score.value is not None and score.low is None and "one group" in score.why
    assert found.whole.beside[0].state("correlation") == "unknown" and found.whole.chance["correlation"].value is None
    assert "nothing follows" in found.conclusion[1] and any("one group" in line for line in found.not_measured)


def test_what_cannot_be_recovered_is_scored_apart_and_said():
    world = World(40, unrecoverable=6)
    model = world.guess()
    wave = model.waveform.copy()
    wave[-6:] = sources(6, seed=99)
    model = WaveformPredictions.of(world.ids, wave, dt=DT, t0=0)
    found = judged(world, model)
    assert found.unrecoverable.samples == 6 and found.whole.samples == 34
    assert found.whole.scores["correlation"].value > 0.95 > found.unrecoverable.scores["correlation"].value
    assert "In 6 bags the paths of all traces share a part" in found.conclusion[-1]
    assert "cannot be recovered" in found.conclusion[-1] and "not a score of the source" in found.conclusion[-1]
    assert sum(not row["recoverable"] for row in found.answers) == 6
    alone = evaluate_waveforms(model.take(np.arange(34, 40)), world.table, world.truth, QUICK)
    assert not alone.whole.scores and "There is no score" in alone.conclusion[0] and "cannot be" in alone.conclusion[1]


def test_chance_is_what_waveforms_of_other_events_reach():
    found = judged(World(40))
    chance = found.whole.chance["correlation"]
    assert 0.4 < chance.value < 0.85
    assert f"{chance.value:.3f}: that is the level of chance" in " ".join(found.conclusion)
    assert found.whole.chance["split_half"].value < found.whole.scores["split_half"].value


def test_the_conclusion_names_who_is_as_good(tmp_path):
    world = World(60)
    words = " ".join(judged(world, world.guess(0.2), {
        "iccs_stack": world.guess(0.4, shift_noise=0.3), "windowed_stack": world.guess(0.3, shift_noise=None),
        "stack_only": world.guess(0.2, seed=11, shift_noise=None)}).conclusion)
    assert words.startswith("Over 60 simulated bags of 30 groups, the median correlation of the predicted waveform")
    assert "The best rival, the network that sees only the stack, reaches" in words
    assert "comes from the prior on sources, not from the bag" in words
    assert "The model is better than the windowed ICCS stack (0." in words and "and the ICCS stack (0." in words
    assert "In 'easy' (30 bags) it is 0." in words and "In 'hard' (30 bags) it is 0." in words
    assert "the ICCS stack's by" in words and "ratio 0." in words
    words = " ".join(judged(world, world.guess(0.5), {"iccs_stack": world.guess(0.2)}).conclusion)
    assert "it is better than the model" in words and "worse than the best rival there" in words
    words = " ".join(judged(world, world.guess(0.2), {"stack_only": world.guess(0.6)}).conclusion)
    assert "the model is better" in words and "prior" not in words


def test_a_bound_is_no_rival_and_envelopes_meet_envelopes_only():
    world = World(40)
    stack = WaveformPredictions.of(world.ids, envelope(world.source), dt=DT, t0=0, envelope=True)
    found = judged(world, world.guess(0.4), {"oracle": world.guess(0.1), "envelope_stack": stack})
    oracle, envelopes = found.whole.beside
    assert oracle.scores["correlation"].value > found.whole.scores["correlation"].value
    assert envelopes.scores["correlation"].value is None
    assert envelopes.scores["envelope_correlation"].value == pytest.approx(1, abs=1e-6)
    assert [b.control.name for b in found.whole.rivals("envelope_correlation")] == ["envelope_stack"]
    assert not found.whole.rivals("correlation") and "best rival" not in " ".join(found.conclusion)


def test_without_truth_only_repeatability_and_agreement_are_told():
    world = World(40, simulated=False, worlds=None)
    runs = [world.run("iccs_stack", world.guess(0.5))]
    found = evaluate_waveforms(world.guess(0.2), world.table, None, QUICK, controls=runs, manifest=world.split())
    assert found.headline == "split_half" and found.whole.scores["correlation"].value is None
    words = " ".join(found.conclusion)
    assert "The true waveform is not known" in words and "simulated" not in words and "halves" in words
    assert found.whole.beside[0].agreement.value > 0.8 and found.whole.beside[0].state("split_half") == "better"
    assert any("true waveform is not known" in line for line in found.not_measured)


def test_picked_shifts_alone_are_held_against():
    world = World(4, simulated=False, worlds=None)
    picks = WaveformTruth.of(world.ids[:2], nt=NT, shift_s=world.shift_s[:2], shifts_from="picks of an analyst")
    found = evaluate_waveforms(world.guess(0.2, shift_noise=0.05), world.table, picks, QUICK)
    assert found.whole.scores["shift_error_s"].value < 0.1 and found.headline == "split_half"
    assert "against picks of an analyst" in " ".join(found.conclusion)
    rows = {row["name"]: row["shift_error_s"] for row in found.answers}
    assert rows[world.ids[0]] is not None and rows[world.ids[3]] is None


def test_members_are_averaged_and_listed():
    world = World(30)
    model = WaveformPredictions.concatenate([world.guess(0.2, seed=k, member=f"seed {k}") for k in range(3)])
    found = judged(world, model)
    assert found.whole.samples == 30 and list(found.members) == ["seed 0", "seed 1", "seed 2"]
    assert "3 members were trained; their medians lie between" in " ".join(found.conclusion)


def test_controls_that_were_not_run_are_named(tmp_path):
    world = World(30)
    runs = [ControlRun(WAVEFORM_CONTROLS["stack_only"], None, "it was not trained")]
    found = evaluate_waveforms(world.guess(), world.table, world.truth, QUICK, controls=runs)
    assert any("network that sees only the stack" in line and "not trained" in line for line in found.not_measured)
    assert any("Rivals: none was run" in line for line in found.not_measured)
    assert any("data are simulated" in line for line in found.not_measured)


def test_the_same_input_gives_the_same_numbers_and_they_are_json():
    world = World(24, unrecoverable=2)
    rivals = {"iccs_stack": world.guess(0.5)}
    one, other = (json.dumps(judged(world, rivals=rivals, seed=4).to_dict(), allow_nan=False) for _ in range(2))
    assert one == other and json.loads(one)["strata"]["easy"]["beside"][0]["name"] == "iccs_stack"


def test_truth_that_does_not_fit_is_refused():
    world = World(4)
    with pytest.raises(InputError, match="twice"):
        WaveformTruth.of(["a", "a"], nt=NT)
    with pytest.raises(InputError, match="as many"):
        WaveformTruth.of(["a", "b"], nt=NT, shift_s=np.zeros((3, 2)))
    with pytest.raises(InputError, match="true ones 10"):
        evaluate_waveforms(world.guess(), world.table, WaveformTruth.of(world.ids, nt=10), QUICK)
    with pytest.raises(InputError, match="not in the table"):
        evaluate_waveforms(World(4, prefix="other").guess(), world.table, world.truth, QUICK)
