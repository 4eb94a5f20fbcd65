"""Names, defaults, files, figures and defects of the seed that no other test holds, on small simulated bags."""

from __future__ import annotations

import inspect
import json
import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from safetensors.numpy import load_file

import groundswell.pipelines.symae as symae
from groundswell.cli.main import main
from groundswell.core.recipe import build_recipe, load_recipe, shipped_recipe
from groundswell.core.run import RunFolder
from groundswell.pipelines.archive import load_archive
from groundswell.pipelines.symae import (
    BagStore,
    ReferenceTask,
    SymVAE,
    focal_pixel,
    get_coherent_information,
    plot_loss_history,
    plot_stf,
    virtual_traces,
)
from groundswell.pipelines.symae.coherent import descend
from groundswell.pipelines.symae.extracting import signals_of_event
from groundswell.pipelines.symae.figures import OFFSET, save
from groundswell.pipelines.symae.models.pooling import Gaussian, bag_size_floor, kl_between
from groundswell.pipelines.symae.prepare_recipe import PRESETS, PrepareRecipe
from groundswell.pipelines.symae.recipe import SymaeRecipe
from groundswell.pipelines.symae.simulate.simulating import simulate_store
from groundswell.pipelines.symae.trained import Trained, bags_of, open_trained, trace_rows
from groundswell.pipelines.workflow import start_run, train_run
from groundswell.splits.manifest import SplitManifest
from groundswell.splits.parts import TEST, TRAIN, VALIDATION
from groundswell.train.weights import read_pth

NEEDED = inspect.Parameter.empty
SIZES = "nt=192_p=30_q=30_k=1"
QUICK = {"epochs": 2, "batch_size": 4, "threads": 1, "tensorboard": False}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> BagStore:
    made: BagStore = simulate_store(tmp_path_factory.mktemp("data") / "bags", seed=3, events=10, pixels=(1, 3),
                                    traces=(4, 7), worlds=("easy",))
    return made


def run_of(folder: Path, store: BagStore, **model: object) -> RunFolder:
    recipe = build_recipe(SymaeRecipe, {
        "data": {"store": str(store.path), "most_traces": 5}, "model": model, "loader": {"threads": 1},
        "evaluate": {"bootstrap": 100, "n_min": 2},
        "train": QUICK})
    run = start_run("symae", recipe, folder)
    train_run(run, quiet=True)
    return run


@pytest.fixture(scope="module")
def reference(store: BagStore, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_of(tmp_path_factory.mktemp("runs") / "reference", store, type="reference")


@pytest.fixture(scope="module")
def source(store: BagStore, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_of(tmp_path_factory.mktemp("runs") / "source", store, type="source", widths=[8, 8, 8],
                  trace_widths=[4, 8], q=6, realign=1)


def event_with(store: BagStore, pixels: int) -> str:
    counts = store.bags.groupby("event").size()
    return str(counts.index[counts == pixels][0])


def network_of(k: int = 1) -> SymVAE:
    torch.manual_seed(0)
    return SymVAE(192, 30, 30, k).eval()


def bags_like(sizes: Sequence[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    found = [torch.randn(size, 192, generator=generator) + torch.randn(1, 192, generator=generator) for size in sizes]
    return [(x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, correction=0) for x in found]


# -- names and defaults ------------------------------------------------------------------------------------------------

CALLS = {  # what the seed calls, with the parameters in its order and the defaults it states
    "plot_stf": {"stf_array": NEEDED, "names": NEEDED, "scale": 1.0, "title": ""},
    "plot_loss_history": {"loss_history": NEEDED},
    "SymVAE": {"nt": 192, "p": 30, "q": 30, "k": 1},
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_have_the_seeds_names_parameters_and_defaults(name: str) -> None:
    parameters = list(inspect.signature(getattr(symae, name)).parameters.values())
    assert {p.name: p.default for p in parameters[:len(CALLS[name])]} == CALLS[name]
    assert all(p.default is not NEEDED for p in parameters[len(CALLS[name]):]), "what came later is optional"


def test_the_procedure_has_the_seeds_names_and_values() -> None:
    parameters = inspect.signature(get_coherent_information).parameters
    wanted = {"N": 10, "nepochs": 100, "alpha": 0.1, "learning_rate": 0.1}
    assert {name: parameters[name].default for name in wanted} == wanted
    keys = SymaeRecipe().extract
    assert {name: getattr(keys, name) for name in wanted} == wanted and keys.optimiser == "descent"


def test_every_public_name_is_there_and_none_is_imported_before_it_is_asked_for() -> None:
    assert all(getattr(symae, name) is not None for name in symae.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'update_with_batchviews'"):
        symae.__getattr__("update_with_batchviews")
    seen = subprocess.run([sys.executable, "-c", "import sys, groundswell.pipelines.symae; "
                           "print('torch' in sys.modules, 'numpy' in sys.modules)"],
                          capture_output=True, text=True, check=True)
    assert seen.stdout.split() == ["False", "False"]


def test_the_recipe_called_seed_has_the_values_of_the_seed() -> None:
    recipe = load_recipe(SymaeRecipe, shipped_recipe("groundswell.pipelines.symae", "seed"))
    assert (recipe.model.type, recipe.model.p, recipe.model.q, recipe.model.k) == ("reference", 30, 30, 1)
    stages = recipe.train.stages or ()
    assert [(stage.epochs, stage.learning_rate) for stage in stages] == [(50, 1e-3), (50, 1e-4), (100, 1e-5)]
    assert {stage.decay for stage in stages} == {0.99} and recipe.train.epochs == 200
    assert recipe.model.gamma == recipe.model.gamma_shift == 100 and recipe.model.temperature == (1.0, 1.0, 0.25)
    assert (recipe.train.batch_size, recipe.data.most_traces, recipe.train.weight_decay) == (32, 20, 0.0)
    assert (recipe.train.clip_norm, recipe.train.accumulate, recipe.train.accelerator) == (0.0, 1, "auto")


def test_the_preparation_called_seed_leaves_samples_9_to_200() -> None:
    recipe = build_recipe(PrepareRecipe, PRESETS["seed"])
    assert (recipe.way, recipe.nt, recipe.dt, recipe.taper, recipe.least_traces) == ("seed", 192, 1.0, 0.1, 21)
    assert (recipe.stations_out, recipe.nside) == (0.1, 4)


# -- files -------------------------------------------------------------------------------------------------------------

def test_model_parameters_and_history_are_saved_under_names_with_time_and_sizes(reference: RunFolder) -> None:
    symae.save_artefacts(reference)
    found = sorted((reference.path / "SavedModels").iterdir())
    time = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d"
    kinds = ("syn_loss_history-TIME-SIZES.csv", "syn_model-TIME-SIZES.pth", "syn_para-TIME-SIZES.json")
    for path, kind in zip(found, kinds, strict=True):
        assert re.fullmatch(kind.replace("TIME", time).replace("SIZES", SIZES).replace(".", r"\."), path.name)
    history, model, parameters = found
    saved = torch.load(model, weights_only=True)
    assert sum(v.numel() for v in saved["model_state_dict"].values()) == 199_120
    ReferenceTask(traces=5).load_state_dict(read_pth(model)["model_state_dict"])
    told = json.loads(parameters.read_text())
    assert told["symae_parameters"] == {"nt": 192, "p": 30, "q": 30, "k": 1}
    assert told["recipe"]["model"]["type"] == "reference" and told["dt"] == 0.5
    columns = pd.read_csv(history).columns
    assert {"epoch", "train_mse", "val_mse", "val_nll", "val_negative_elbo", "val_kl_coherent", "val_coherence"} <= set(
        columns)
    # The same weights are saved once.
    assert symae.save_artefacts(reference) == []


@pytest.fixture(scope="module")
def extracted(reference: RunFolder, store: BagStore, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    event = event_with(store, 2)
    folder = tmp_path_factory.mktemp("out") / "event"
    assert main(["symae", "extract", str(reference.path), event, "--out", str(folder)]) == 0
    return folder, event


def test_extracting_writes_signals_aligned_traces_station_names_and_its_own_history(
        extracted: tuple[Path, str], store: BagStore) -> None:
    folder, event = extracted
    bags = bags_of(store, event)
    facts = json.loads((folder / "signals.json").read_text())
    assert facts["simulated"] and {p["pixel"] for p in facts["pixels"]} == set(store.bags["pixel"].iloc[bags])
    assert sorted(p["rank"] for p in facts["pixels"]) == [1, 2]
    traces = pd.read_csv(folder / "traces.csv")
    rows = pd.concat([trace_rows(store, bag) for bag in bags])
    assert set(traces["station"]) == set(rows["station"]) and len(traces) == len(rows)
    curves = pd.read_csv(folder / "curves.csv")
    assert {"source", "spread", "iccs_stack", "windowed_stack", "mean_displacement_envelope"} <= set(curves.columns)
    for name in ("source", "mean_displacement_envelope"):
        by_pixel = curves.groupby("pixel")[name]
        assert (by_pixel.mean().abs() < 1e-4).all() and (by_pixel.std(ddof=0) - 1).abs().max() < 1e-4
    arrays = load_file(folder / "signals.safetensors")
    for bag in bags:
        pixel, count = int(store.bags["pixel"].iloc[bag]), int(store.bags["count"].iloc[bag])
        assert arrays[f"{pixel}/aligned"].shape == (count, 192)
        assert arrays[f"{pixel}/virtual"].shape == (min(10, len(rows)), 192)
    assert arrays["ideal"].shape == arrays["shifted"].shape == (min(10, len(rows)), 192)
    steps = pd.read_csv(folder / "divergence.csv")
    assert len(steps) == 101 and steps["objective"].is_monotonic_decreasing
    assert facts["procedure"]["verdict"] and isinstance(facts["procedure"]["converged"], bool)


def test_extracting_draws_every_figure_of_the_seed(extracted: tuple[Path, str], store: BagStore) -> None:
    folder, event = extracted
    pixel = int(store.bags["pixel"].iloc[bags_of(store, event)[0]])
    for name in ("loss_history", "sources", "source_envelopes", "mean_displacement_envelopes", "shifts", "focal_sphere",
                 "divergence", "ideal_seismograms", *(f"pixel-{pixel}_{kind}" for kind in
                                                      ("signal", "alignment", "reconstructions"))):
        assert png_size(folder / f"{name}.png") == (1900, 900)


# -- figures -----------------------------------------------------------------------------------------------------------

def png_size(path: Path) -> tuple[int, int]:
    return struct.unpack(">II", path.read_bytes()[16:24])  # type: ignore[return-value]


def curves_of(figure: Figure) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in figure.axes[0].get_lines()]


def test_a_scale_of_8_makes_950_by_450_points_7600_by_3600_pixels(tmp_path: Path) -> None:
    path = save(plot_stf(np.random.default_rng(0).normal(size=(3, 192)), ["1", "2", "3"]), tmp_path / "stf.png", 8)
    assert png_size(path) == (7600, 3600)


def test_curves_lie_on_their_own_time_axis() -> None:
    """Defect 2: curves of 192 samples were drawn on a grid of 200 points."""
    wave = np.zeros((2, 192))
    wave[:, 85] = 5
    times = -38.4 + 0.45 * np.arange(192)
    for x, y in curves_of(plot_stf(wave, ["1", "2"], times=times)):
        assert len(x) == 192 and x[np.argmax(y)] == pytest.approx(-38.4 + 0.45 * 85)


def test_curves_are_sorted_and_coloured_by_pixel_under_their_mean() -> None:
    stf = np.random.default_rng(0).normal(size=(3, 192))
    figure = plot_stf(stf, ["b/14", "b/5", "a/5"], 1.0, "an event", places=[(36, 45), (24, 22), (24, 22)])
    curves = curves_of(figure)
    for height, i in enumerate((2, 1, 0)):
        np.testing.assert_allclose(curves[height][1], OFFSET * height + stf[i])
    np.testing.assert_allclose(curves[3][1], OFFSET * 3 + stf.mean(0))
    colours = [line.get_color() for line in figure.axes[0].get_lines()]
    assert colours[0] == colours[1] != colours[2]
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert labels == ["5: (24°, 22°)", "5: (24°, 22°)", "14: (36°, 45°)", "mean"] and OFFSET == 3
    assert figure.axes[0].get_title(loc="left") == "an event"


def test_one_pixel_can_be_drawn() -> None:
    """Defect 12: the colour of a single pixel was a division by zero."""
    (curve,) = curves_of(plot_stf(np.ones((1, 192)), ["7"]))
    assert np.isfinite(curve[1]).all()


def test_the_history_shows_misfit_and_terms_of_both_parts(reference: RunFolder) -> None:
    figure = plot_loss_history(reference.fold_path(0) / "logs" / "epochs.csv")
    misfit, terms = figure.axes
    assert misfit.get_yscale() == "log"
    assert {line.get_label() for line in misfit.get_lines()} == {"mse, training", "mse, validation"}
    assert {"nll, validation", "negative elbo, validation", "kl coherent, validation", "coherence, validation"} <= {
        line.get_label() for line in terms.get_lines()}


# -- extraction --------------------------------------------------------------------------------------------------------

def test_the_target_is_the_bag_of_most_traces_and_codes_are_those_of_least_divergence() -> None:
    network, bags = network_of(), bags_like((6, 9, 5))
    found = get_coherent_information(network, bags, N=4, nepochs=3)
    assert found.target == 1 and [len(kl) for kl in found.ranking] == [6, 9, 5]
    each = [(float(kl), bag, trace) for bag, of_bag in enumerate(found.ranking) for trace, kl in enumerate(of_bag)]
    assert found.chosen == [(bag, trace) for _, bag, trace in sorted(each)[:4]]
    np.testing.assert_allclose(found.descent.kl[0], sorted(kl for kl, _, _ in each)[:4], rtol=1e-4)
    assert [made.shape for made in found.virtual] == [(4, 192)] * 3
    for bag in found.virtual:
        assert np.abs(bag.mean(-1)).max() < 1e-5
    assert found.ideal.shape == found.shifted.shape == (4, 192) and found.descent.kl.shape == (4, 4)
    assert all(np.isfinite(spread).all() and (spread >= 0).all() for spread in found.spread)


@pytest.mark.parametrize("optimiser", ["descent", "adam"])
def test_on_a_convex_toy_the_divergence_never_rises_and_rest_is_told(optimiser: Literal["descent", "adam"]) -> None:
    def told(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (z - 1).square().sum(-1), torch.ones(())

    found = descend(told, torch.zeros(3, 4), steps=200, rate=0.3, alpha=0.1, optimiser=optimiser)
    if optimiser == "descent":
        assert (np.diff(found.objective) <= 1e-9).all() and (np.diff(found.kl, axis=0) <= 1e-6).all()
    assert found.converged and "it has converged" in found.verdict
    assert torch.allclose(found.codes, torch.ones(3, 4), atol=0.02)
    short = descend(told, torch.zeros(3, 4), steps=5, rate=0.01, alpha=0.1)
    assert not short.converged and "has not converged" in short.verdict


def test_a_step_that_would_lead_uphill_is_halved() -> None:
    def told(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (z - 1).square().sum(-1), torch.ones(())

    found = descend(told, torch.zeros(2, 2), steps=30, rate=50.0, alpha=0.1)
    assert (np.diff(found.objective) <= 1e-9).all() and found.objective[-1] < found.objective[0]


def test_the_ranking_takes_the_bags_size_out() -> None:
    """With equal precisions a bag and one of its traces differ by its size alone, which says nothing of either."""
    code = torch.zeros(1, 30)
    for size in (6, 300):
        bag, one = Gaussian(code, code - 0.5 * np.log(size)), Gaussian(code, code)
        assert float(kl_between(bag, one)[0]) - float(bag_size_floor(size, 30)) == pytest.approx(0, abs=1e-3)


def test_two_categories_go_through_the_whole_procedure() -> None:
    """Defect 9: with several coherent codes the chunk of the code was taken twice."""
    found = get_coherent_information(network_of(k=2), bags_like((5, 4)), N=3, nepochs=2)
    assert all(np.isfinite(made).all() for made in found.virtual) and np.isfinite(found.descent.kl).all()


def signals(run: RunFolder, event: str) -> list[np.ndarray]:
    opened: Trained = open_trained(run.path)
    return [one.source for one in signals_of_event(opened, event, bags_of(opened.store, event))[0]]


def test_what_is_extracted_depends_on_the_weights_and_on_nothing_kept_from_before(
        reference: RunFolder, store: BagStore, tmp_path: Path) -> None:
    """Defect 4: after the weights changed, signals of before were shown, kept by the name of the event."""
    event = event_with(store, 2)
    first, again = signals(reference, event), signals(reference, event)
    np.testing.assert_array_equal(first, again)
    other = run_of(tmp_path / "other", store, type="reference", gamma=0.0, gamma_shift=0.0)
    assert np.abs(np.stack(signals(other, event)) - np.stack(first)).max() > 1e-4


@pytest.mark.parametrize("kind", ["reference", "source"])
def test_an_event_of_one_pixel_is_extracted(kind: str, store: BagStore, tmp_path: Path,
                                            request: pytest.FixtureRequest) -> None:
    """Defect 12: the third pixel was shown of every event, whether there was one or not."""
    run, event = request.getfixturevalue(kind), event_with(store, 1)
    assert main(["symae", "extract", str(run.path), event, "--out", str(tmp_path / "one")]) == 0
    assert png_size(tmp_path / "one" / "sources.png") == (1900, 900)


def test_one_pixel_may_be_asked_for(source: RunFolder, store: BagStore, tmp_path: Path) -> None:
    event = event_with(store, 3)
    pixel = str(int(store.bags["pixel"].iloc[bags_of(store, event)[1]]))
    assert main(["symae", "extract", str(source.path), event, "--pixel", pixel, "--out", str(tmp_path / "p")]) == 0
    assert [p["pixel"] for p in json.loads((tmp_path / "p" / "signals.json").read_text())["pixels"]] == [int(pixel)]


@pytest.mark.parametrize("kind", ["reference", "source"])
def test_virtual_seismograms_are_as_many_as_the_paths(kind: str, store: BagStore,
                                                      request: pytest.FixtureRequest) -> None:
    """Defect 1: redatuming ended in undefined names."""
    opened = open_trained(request.getfixturevalue(kind).path)
    one, other = store.read(0), store.read(1)
    made = virtual_traces(opened.task_of(str(store.bags["event"].iloc[0])), one, other)
    assert made.shape == other.shape and np.isfinite(made).all() and made.std(-1).min() > 0


def test_what_the_network_has_seen_of_an_event_is_said(reference: RunFolder) -> None:
    opened = open_trained(reference.path)
    roles = {opened.role_of(event) for event in opened.parts}
    assert roles == {"train", "validation", "test"}
    for event in opened.parts:
        said = "trained on" in opened.caution(event)
        assert said == (opened.role_of(event) == "train") and "simulated" in opened.caution(event)


# -- alignment, redatuming, regions -----------------------------------------------------------------------------------

def test_arrivals_are_written_as_a_table_and_as_picks_in_sac_headers(source: RunFolder, store: BagStore,
                                                                     tmp_path: Path) -> None:
    obspy = pytest.importorskip("obspy")
    event, out = event_with(store, 2), tmp_path / "picks"
    assert main(["symae", "align", str(source.path), "--event", event, "--sac", "--out", str(out)]) == 0
    table = pd.read_csv(out / "arrivals.csv")
    rows = pd.concat([trace_rows(store, bag) for bag in bags_of(store, event)])
    assert sorted(table["station"]) == sorted(rows["station"])
    assert {"shift_s", "polarity", "standard_error_s", "mccc_shift_s", "iccs_shift_s"} <= set(table.columns)
    assert table.groupby("pixel")["shift_s"].mean().abs().max() < 1e-4
    files = sorted((out / "sac").rglob("*.sac"))
    assert len(files) == len(table)
    by_station = table.set_index(["pixel", "station"])["shift_s"]
    for file in files:
        trace = obspy.read(str(file))[0]
        at = [shift for (pixel, station), shift in by_station.items()
              if str(pixel) == file.parent.name and station == file.stem]
        assert len(at) == 1 and trace.stats.sac.t3 == pytest.approx(at[0], abs=1e-4) and trace.stats.npts == 192
    bag = bags_of(store, event)[0]
    assert png_size(out / f"alignment_{bag}.png") == png_size(out / "shifts.png") == (1900, 900)


def test_without_a_network_stacking_alone_aligns(store: BagStore, tmp_path: Path) -> None:
    assert main(["symae", "align", "--iccs", str(store.path), "--out", str(tmp_path / "out")]) == 0
    told = json.loads((tmp_path / "out" / "arrivals.json").read_text())
    assert told["traces"] == len(store.traces) and told["truth"]["shift_s"]["median_s"] < 0.5


def test_redatuming_stands_beside_spectral_ratios_and_the_truth(source: RunFolder, store: BagStore,
                                                                tmp_path: Path) -> None:
    one, other = event_with(store, 1), event_with(store, 2)
    out = tmp_path / "virtual"
    words = ["--source", one, "--path", other, "--out", str(out), "--scale", "8"]
    assert main(["symae", "redatum", str(source.path), *words]) == 0
    told = json.loads((out / "redatum.json").read_text())
    assert told["source"].startswith(one) and told["path"].startswith(other) and told["simulated"]
    assert set(told["median_error"]) == {"network", "spectral_ratio", "spectral_ratio_best", "unchanged"}
    made = np.load(out / "virtual.npy", allow_pickle=False)
    assert made.shape == (len(told["stations"]), 192) == (len(told["shift_s"]), 192)
    assert png_size(out / "virtual.png") == (7600, 3600)


def test_earthquakes_are_binned_by_epicentre_and_compared_within_bins(source: RunFolder, store: BagStore,
                                                                      tmp_path: Path) -> None:
    out = tmp_path / "regions"
    assert main(["symae", "regions", str(source.path), "--nside", "2", "--out", str(out)]) == 0
    events = pd.read_csv(out / "events.csv")
    assert sorted(events["event"]) == sorted(store.bags["event"].unique())
    np.testing.assert_array_equal(events["region"], focal_pixel(90 - events["latitude"], events["longitude"], 2))
    region = events.set_index("event")["region"]
    pairs = pd.read_csv(out / "pairs.csv")
    assert len(pairs) and (pairs["event"].map(region) == pairs["other"].map(region)).all()
    assert pairs["correlation"].between(0, 1.001).all()
    for name in ("map", "curves", "correlation"):
        assert png_size(out / f"{name}.png") == (1900, 900)


# -- training ----------------------------------------------------------------------------------------------------------

def test_whole_events_are_held_out_with_all_their_pixels(reference: RunFolder) -> None:
    """Defect 5: there were no held-out events."""
    archive = load_archive(reference.path)
    manifest = SplitManifest.read(reference.path, archive.table)
    events = archive.table.groups()
    parts = [set(events[manifest.rows(part, 0)]) for part in (TRAIN, VALIDATION, TEST)]
    assert all(parts) and not any(parts[i] & parts[j] for i, j in ((0, 1), (0, 2), (1, 2)))


def test_training_is_the_same_again_and_runs_on_the_cpu(reference: RunFolder, store: BagStore, tmp_path: Path) -> None:
    """Defects 6 and 7: there was no seed, and nothing ran without the second GPU."""
    again = run_of(tmp_path / "again", store, type="reference")
    for name in ("weights/best.safetensors", "logs/epochs.csv"):
        assert (again.fold_path(0) / name).read_bytes() == (reference.fold_path(0) / name).read_bytes()


# -- bad input ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("words", "says"), [
    (["extract", "RUN", "20130524_054448_okt"], "20130524_054448_okt"),
    (["extract", "RUN", "EVENT", "--pixel", "191"], "191"),
    (["extract", "STORE", "EVENT"], ""),
    (["redatum", "RUN", "--source", "EVENT/x", "--path", "EVENT"], "no number of a pixel"),
    (["redatum", "RUN", "--source", "EVENT", "--path", "nowhere"], "nowhere"),
    (["align"], "Either a run or --iccs"),
    (["align", "--iccs", "STORE", "--event", "nowhere"], "nowhere"),
    (["extract", "RUN", "EVENT", "--scale", "99"], "99"),
])
def test_bad_input_is_one_paragraph_and_status_2(words: list[str], says: str, source: RunFolder, store: BagStore,
                                                 capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    put = {"RUN": str(source.path), "STORE": str(store.path), "EVENT": event_with(store, 2),
           "EVENT/x": event_with(store, 2) + "/x"}
    capsys.readouterr()
    out = [] if words == ["align"] else ["--out", str(tmp_path / "out")]
    assert main(["symae", *(put.get(word, word) for word in words), *out]) == 2
    said = [line for line in capsys.readouterr().err.strip().splitlines() if line.startswith("groundswell: ")]
    assert len(said) == 1 and says in said[0]


def test_another_length_of_traces_is_refused(source: RunFolder, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    other = simulate_store(tmp_path / "other", seed=1, events=1, pixels=(1, 1), traces=(4, 4), nt=128)
    event = str(other.bags["event"].iloc[0])
    assert main(["symae", "extract", str(source.path), event, "--store", str(other.path)]) == 2
    assert "128 samples; the network takes 192" in capsys.readouterr().err
