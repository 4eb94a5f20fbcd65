"""What `symae extract` gives: signals of all traces beside stacks, ranks without the size of bags, files that open."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import torch
from small_runs import trained_small

from groundswell.core.errors import InputError
from groundswell.core.run import RunFolder
from groundswell.core.waveforms import envelope
from groundswell.data.waveforms import WaveformPredictions
from groundswell.evaluate.report import Picture
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.symae.data import WORKFLOW
from groundswell.pipelines.symae.extracting import extract_event, signals_of_event
from groundswell.pipelines.symae.picking import align_run
from groundswell.pipelines.symae.pictures import alignment_pictures
from groundswell.pipelines.symae.ranking import equal_bags, ranks
from groundswell.pipelines.symae.recipe import SymaeRecipe
from groundswell.pipelines.symae.redatuming import redatum_events
from groundswell.pipelines.symae.ship_artefacts import save_artefacts, savename
from groundswell.pipelines.symae.signals import fitted, halvings, signal_of, standard
from groundswell.pipelines.symae.simulate.simulating import simulate_store
from groundswell.pipelines.symae.store import BagStore
from groundswell.pipelines.symae.trained import bags_of, clean_name, open_trained, padded_bags, read_sources, split_name
from groundswell.splits.manifest import SplitManifest
from groundswell.train.weights import read_pth


def alignment_pictures_of(run: Path) -> list[Picture]:
    folder = RunFolder.open(run)
    recipe, archive = folder.recipe(SymaeRecipe), load_archive(run)
    predicted = WaveformPredictions.read(run / "predictions.parquet")
    judged = WORKFLOW.evaluate(recipe, archive, SplitManifest.read(run, archive.table), predicted, None, [])
    return alignment_pictures(recipe, archive, judged)


def first_event(store: BagStore) -> str:
    return str(store.bags["event"].iloc[0])


@pytest.fixture(scope="module")
def extracted(source_run: Path, small_bags: BagStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extracted")
    lines = extract_event(source_run, first_event(small_bags), out=folder, scale=1)
    assert any("split-half correlation model" in line for line in lines)
    assert any("simulated" in line for line in lines)
    return folder


def test_files_hold_every_pixel_with_its_stacks(extracted: Path, small_bags: BagStore) -> None:
    event = first_event(small_bags)
    told = json.loads((extracted / "signals.json").read_text())
    bags = small_bags.bags[small_bags.bags["event"] == event]
    assert sorted(pixel["pixel"] for pixel in told["pixels"]) == sorted(bags["pixel"])
    assert sorted(pixel["rank"] for pixel in told["pixels"]) == list(range(1, len(bags) + 1))
    assert told["simulated"] and told["part"] in ("train", "validation", "test")
    curves = pd.read_csv(extracted / "curves.csv")
    assert {"source", "spread", "iccs_stack", "windowed_stack", "mean_displacement_envelope", "true"} <= set(curves)
    assert len(curves) == 128 * len(bags)
    assert curves["time_s"].iloc[0] == pytest.approx(-25.6) and curves["time_s"].iloc[1] == pytest.approx(-25.1)
    traces = pd.read_csv(extracted / "traces.csv")
    assert len(traces) == bags["count"].sum() and set(traces["polarity"]) <= {-1, 1}
    np.testing.assert_allclose(traces.groupby("pixel")["shift_s"].mean(), 0, atol=1e-3)


def test_arrays_are_those_of_the_network_on_all_traces(extracted: Path, source_run: Path, small_bags: BagStore) -> None:
    event = first_event(small_bags)
    arrays = safetensors.numpy.load_file(extracted / "signals.safetensors")
    trained = open_trained(source_run)
    for bag in bags_of(small_bags, event):
        pixel = small_bags.bags["pixel"].iloc[bag]
        x, mask = padded_bags([small_bags.read(bag)])
        with torch.inference_mode():
            said = trained.task_of(event).predict({"x": x, "mask": mask})
        np.testing.assert_allclose(arrays[f"{pixel}/source"], standard(said["source"][0].numpy()), atol=1e-3)
        np.testing.assert_allclose(arrays[f"{pixel}/shift_s"], said["shift_s"][0].numpy(), atol=1e-4)
        np.testing.assert_array_equal(arrays[f"{pixel}/x"], small_bags.read(bag))


def test_pictures_are_there(extracted: Path) -> None:
    names = {path.name for path in extracted.glob("*.png")}
    assert {"sources.png", "source_envelopes.png", "mean_displacement_envelopes.png", "shifts.png", "focal_sphere.png",
            "loss_history.png"} <= names
    assert sum(name.endswith("_reconstructions.png") for name in names) >= 2
    assert (extracted / "sources.svg").read_text().startswith("<?xml")


def test_the_reference_gives_its_own_history_and_says_whether_it_converged(
        reference_run: Path, small_bags: BagStore, tmp_path: Path) -> None:
    event = first_event(small_bags)
    lines = extract_event(reference_run, event, out=tmp_path / "e", scale=1)
    assert any("In 12 steps the divergence of the 4 codes" in line and "converged" in line for line in lines)
    history = pd.read_csv(tmp_path / "e" / "divergence.csv")
    assert list(history) == ["step", "objective", "kl_1", "kl_2", "kl_3", "kl_4"] and len(history) == 13
    assert (history["objective"].diff().dropna() <= 1e-12).all()
    told = json.loads((tmp_path / "e" / "signals.json").read_text())
    assert told["procedure"]["N"] == 4 and isinstance(told["procedure"]["converged"], bool)
    arrays = safetensors.numpy.load_file(tmp_path / "e" / "signals.safetensors")
    pixel = told["pixels"][0]["pixel"]
    assert arrays[f"{pixel}/virtual"].shape == (4, 128) and arrays["ideal"].shape == (4, 128)
    np.testing.assert_allclose(arrays[f"{pixel}/source"], standard(arrays[f"{pixel}/virtual"].mean(0)), atol=1e-3)
    assert (tmp_path / "e" / "divergence.png").exists() and (tmp_path / "e" / "ideal_seismograms.png").exists()


def test_a_network_that_reads_envelopes_gives_envelopes_throughout(small_bags: BagStore, tmp_path: Path) -> None:
    run = trained_small(small_bags, tmp_path / "run", {"type": "reference", "p": 6, "q": 5, "envelope": True})
    event = first_event(small_bags)
    extract_event(run, event, out=tmp_path / "e", scale=1)
    arrays = safetensors.numpy.load_file(tmp_path / "e" / "signals.safetensors")
    pixel = int(small_bags.bags["pixel"].iloc[0])
    np.testing.assert_allclose(arrays[f"{pixel}/x"], standard(envelope(small_bags.read(0))), atol=1e-3)
    redatum_events(run, event, event, out=tmp_path / "r", scale=1)
    align_run(run, event=event, out=tmp_path / "a", scale=1)
    assert alignment_pictures_of(run) == []


def test_one_pixel_of_the_reference_is_the_same_as_among_all(reference_run: Path, small_bags: BagStore) -> None:
    trained, event = open_trained(reference_run), first_event(small_bags)
    bags = bags_of(small_bags, event)
    together, alone = (signals_of_event(trained, event, chosen)[0] for chosen in (bags, bags[-1:]))
    np.testing.assert_allclose(alone[0].source, together[-1].source, atol=1e-5)


def test_the_seeds_artefacts_have_time_and_sizes_in_their_names_and_no_pickle(source_run: Path) -> None:
    save_artefacts(open_trained(source_run).run)
    paths = sorted((source_run / "SavedModels").iterdir())
    assert [path.name.split("-")[0] for path in paths] == ["syn_loss_history", "syn_model", "syn_para"]
    assert all("-nt=128_p=30_q=6_k=1" in path.name for path in paths)
    content = read_pth(paths[1])
    assert content["config"]["model"]["q"] == 6
    trained = open_trained(source_run)
    trained.task_of("any").load_state_dict(content["model_state_dict"])
    assert save_artefacts(trained.run) == []
    assert savename({"nt": 192, "p": 30, "q": 30, "k": 1}) == "nt=192_p=30_q=30_k=1"


def test_ranks_do_not_reward_the_size_of_a_bag(source_run: Path, small_bags: BagStore) -> None:
    task = open_trained(source_run).task_of("any")
    bag = max((small_bags.read(i) for i in range(len(small_bags))), key=len)
    size, scores = equal_bags(task, [bag, bag[:4]], ["a", "a"])
    assert size == 4
    whole, few = (read_sources(task, [x])[0]["spread"] for x in (bag, bag[:4]))
    assert abs(scores[0] / scores[1] - 1) < 0.5 * abs(np.sqrt((few**2).mean() / (whole**2).mean()) - 1) + 0.1
    assert ranks([3.0, 1.0, 2.0]) == [3, 1, 2]


def test_halves_are_disjoint_and_small_bags_have_none() -> None:
    for one, other in halvings(9, "a/1"):
        assert not set(one) & set(other) and len(one) + len(other) == 9 and min(len(one), len(other)) >= 2
    assert halvings(3, "a/1") == []


def test_waves_are_fitted_by_lag_and_sign() -> None:
    wave = standard(np.gradient(np.exp(-((np.arange(100) - 50.0) ** 2) / 20)))
    moved, correlation = fitted(-np.roll(wave, 7), wave, 20)
    assert correlation > 0.999
    np.testing.assert_allclose(moved, wave, atol=0.01)


def test_a_source_that_cannot_be_recovered_is_said_to_be_so(source_run: Path, tmp_path: Path) -> None:
    store = simulate_store(tmp_path / "shared", seed=1, events=1, pixels=(1, 1), traces=(5, 5), worlds=("shared",),
                           nt=128)
    lines = extract_event(source_run, first_event(store), store=store.path, out=tmp_path / "e", scale=1)
    assert any("the source cannot be recovered" in line for line in lines)
    assert json.loads((tmp_path / "e" / "signals.json").read_text())["part"] == "other store"


def test_bags_of_any_sizes_are_read_as_if_alone(source_run: Path, small_bags: BagStore) -> None:
    task = open_trained(source_run).task_of("any")
    bags = [small_bags.read(i) for i in range(4)]
    for bag, found in zip(bags, read_sources(task, bags), strict=True):
        alone = read_sources(task, [bag])[0]
        assert found["shift_s"].shape == (len(bag),)
        np.testing.assert_allclose(found["source"], alone["source"], atol=1e-3)


def test_spread_holds_the_true_source_more_often_than_not(source_run: Path, small_bags: BagStore) -> None:
    task = open_trained(source_run).task_of("any")
    signal = signal_of(small_bags, 0, task, max_shift_s=10.0, reach_s=12.0)
    assert signal.true is not None
    assert (np.abs(signal.true - signal.source) < 1.645 * signal.spread).mean() > 0.5
    assert set(signal.truth) == {"model", "iccs_stack", "windowed_stack"}


def test_stores_of_another_time_axis_are_refused(source_run: Path, tmp_path: Path) -> None:
    longer = simulate_store(tmp_path / "longer", events=1, pixels=(1, 1), traces=(4, 4), nt=192)
    with pytest.raises(InputError, match="192 samples; the network takes 128"):
        open_trained(source_run, store=longer.path)
    slower = simulate_store(tmp_path / "slower", events=1, pixels=(1, 1), traces=(4, 4), nt=128, dt=1.0)
    with pytest.raises(InputError, match=r"1 s apart; the network knows sources sampled every 0.5 s"):
        open_trained(source_run, store=slower.path)


def test_networks_learn_the_interval_of_a_store_that_differs_little(source_run: Path, tmp_path: Path,
                                                                    capsys: pytest.CaptureFixture[str]) -> None:
    store = simulate_store(tmp_path / "s", events=1, pixels=(1, 1), traces=(4, 4), nt=128, dt=0.55)
    assert open_trained(source_run, store=store.path).task_of("any").dt == 0.55
    assert "0.91 times as long" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "clean"), [("../../etc", "etc"), (".hidden", "hidden"), ("a b/c", "a_b_c"),
                                             ("", "unnamed"), ("x" * 200, "x" * 80)])
def test_names_are_made_safe(name: str, clean: str) -> None:
    assert clean_name(name) == clean


def test_names_of_events_may_carry_a_pixel() -> None:
    assert split_name("a/14") == ("a", 14) and split_name("a") == ("a", None)
    with pytest.raises(InputError, match="no number of a pixel"):
        split_name("a/b")
