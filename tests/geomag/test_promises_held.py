"""Names, defaults and files of the seed that no other test holds, on small studies of simulated windows."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from toy_windows import toy_layout

import groundswell.pipelines.geomag as geomag
from groundswell.core.errors import InputError
from groundswell.core.recipe import build_recipe, load_recipe, shipped_recipe
from groundswell.core.seeds import seed_everything
from groundswell.data.predictions import Predictions
from groundswell.pipelines.geomag import (
    DatasetAnalyzer,
    F1WeightedEnsemble,
    GRUClassifier,
    MLPClassifier,
    kfold_train_eval,
    load_checkpoint,
    load_ensemble_model,
    main,
    perform_model_ensemble,
    reshape_data_for_gru,
    run_study,
    save_checkpoint,
    train_eval,
)
from groundswell.pipelines.geomag.data import WORKFLOW
from groundswell.pipelines.geomag.figures.confusion import draw, mean_confusion
from groundswell.pipelines.geomag.figures.results import Cell
from groundswell.pipelines.geomag.layout import WINDOW_DAYS, files_of, read_layout, read_windows, window_name
from groundswell.pipelines.geomag.loading import MAX_WORKERS
from groundswell.pipelines.geomag.probe import probe_leak
from groundswell.pipelines.geomag.recipe import MODELS, GeomagRecipe, recipe_for
from groundswell.pipelines.geomag.study.combining import ensemble_of_folds
from groundswell.pipelines.geomag.study.folder import StudyFolder
from groundswell.splits.manifest import TRAIN, SplitManifest
from groundswell.train.imbalance import class_weights

QUICK = ["evaluate.controls=[majority]", "evaluate.bootstrap=100", "study.permutations=9", "loader.threads=1",
         "train.threads=1"]
FOLD_FILES = {".pth", "_train_probs.npy", "_test_probs.npy", "_train_labels.npy", "_test_labels.npy", "_logs.txt"}


# -- names and defaults ------------------------------------------------------------------------------------------------

NEEDED = inspect.Parameter.empty
CALLS = {  # what the seed calls, with the parameters it names and the defaults it states
    "check_environment": {}, "check_version_compatibility": {}, "print_environment_info": {"env": None},
    "set_random_seeds": {"seed": 42, "strict_determinism": False}, "get_device": {"gpu_memory_fraction": None},
    "get_memory_usage": {"device": None}, "clear_gpu_memory": {},
    "DatasetAnalyzer": {"base_path": "data"}, "quick_analyze": {"base_path": None, "window_periods": ("7", "14", "30")},
    "setup_logging": {"log_file": "training.log", "log_dir": None, "level": 20, "include_timestamp": True},
    "setup_device": {"gpu_ids": None}, "set_seed": {"seed": 42, "strict": False},
    "calculate_class_weights": {"labels": NEEDED, "method": "inverse", "normalize": True},
    "create_balanced_sampler": {"dataset": NEEDED, "oversample": True},
    "create_data_loaders": {"dataset": NEEDED, "batch_size": 32, "num_gpus": 1},
    "create_data_loaders_balanced": {"dataset": NEEDED, "batch_size": 32, "num_gpus": 1, "is_train": True,
                                     "oversample": True},
    "create_model": {"model_class": NEEDED, "input_size": NEEDED, "hidden_sizes": None, "output_size": 2,
                     "dropout_prob": 0.3, "device": None, "device_ids": None},
    "save_checkpoint": {"model": NEEDED, "optimizer": NEEDED, "epoch": NEEDED, "loss": NEEDED, "checkpoint_dir": NEEDED,
                        "additional_info": None},
    "load_checkpoint": {"checkpoint_path": NEEDED, "model": NEEDED, "optimizer": None, "device": None},
    "calculate_binary_metrics": {"y_true": NEEDED, "y_class": NEEDED},
    "run_epoch": {"model": NEEDED, "loader": NEEDED, "device": NEEDED, "max_grad_norm": 1.0},
    **{f"reshape_data_for_{family}": {"X": NEEDED, "seq_length": NEEDED}
       for family in ("gru", "lstm", "rnn", "transformer")},
    "prepare_mlp_data": {"X": NEEDED, "flatten": True}, "add_positional_encoding": {"X": NEEDED, "d_model": NEEDED},
    **{f"{family}Classifier": {"input_size": NEEDED, "hidden_sizes": (512, 256), "output_size": 2, "dropout_prob": 0.3,
                               "use_batch_norm": True, **own}
       for family, own in (("GRU", {"bidirectional": False}), ("LSTM", {"bidirectional": False}),
                           ("RNN", {"bidirectional": False, "nonlinearity": "tanh"}), ("MLP", {"activation": "relu"}))},
    "TransformerClassifier": {"input_size": NEEDED, "output_size": 2, "d_model": 512, "nhead": 8,
                              "num_encoder_layers": 2, "dim_feedforward": 2048, "dropout_prob": 0.1},
    "F1WeightedEnsemble": {"models": NEEDED, "weights": NEEDED, "strategy": "weighted_mean"},
    "load_ensemble_model": {"model_path": NEEDED, "config_path": NEEDED, "device": None, "model_class": None,
                            "device_ids": None},
    "kfold_train_eval": {"model": NEEDED, "dataset": NEEDED, "output_dir": NEEDED, "loss_fn": None,
                         "optimizer_class": torch.optim.AdamW, "optimizer_kwargs": None, "scheduler_class": None,
                         "scheduler_kwargs": None, "epochs": 100, "batch_size": 32, "num_folds": 5, "random_state": 42},
    "train_eval": {"model": NEEDED, "dataset": NEEDED, "output_dir": NEEDED},
    "main": {"model": NEEDED, "optimize": False}, "perform_model_ensemble": {"model": NEEDED, "window": 7},
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_have_the_seeds_names_parameters_and_defaults(name) -> None:
    assert name in geomag.__all__
    parameters = inspect.signature(getattr(geomag, name)).parameters
    assert {known: parameters[known].default for known in CALLS[name]} == CALLS[name]


def test_every_public_name_is_there() -> None:
    assert all(getattr(geomag, name) is not None for name in geomag.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'main_gru'"):
        _ = geomag.main_gru


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN", "MLP", "Transformer"])
def test_every_family_has_the_seeds_methods(kind) -> None:
    family = getattr(geomag, f"{kind}Classifier")
    for method in ("forward", "save_checkpoint", "get_model_info", "monitor_batch_norm_stats"):
        assert callable(getattr(family, method))
    assert inspect.ismethod(family.load_checkpoint)
    named = inspect.signature(family.save_checkpoint).parameters
    assert list(named) == ["self", "filepath", "optimizer", "epoch", "metrics"]


def test_the_recipe_called_seed_holds_the_defaults_of_the_seed() -> None:
    shipped = load_recipe(GeomagRecipe, shipped_recipe("groundswell.pipelines.geomag", "seed"))
    for recipe in (shipped, GeomagRecipe()):
        assert (recipe.train.epochs, recipe.train.batch_size, recipe.train.learning_rate) == (100, 32, 1e-3)
        assert (recipe.train.weight_decay, recipe.train.clip_norm, recipe.split.folds) == (0.01, 1.0, 5)
        assert (recipe.train.seed, recipe.split.seed) == (42, 42)
        assert (recipe.train.use_class_weights, recipe.train.class_weight_method) == (True, "sqrt")
        assert (recipe.train.monitor, recipe.train.plateau_patience, recipe.train.plateau_factor) == ("val_f1", 10, 0.1)
        assert recipe.model.hidden_sizes == (512, 256) and len(recipe.model.hidden_sizes) == 2
        assert recipe.study.models == MODELS and recipe.study.windows == (7, 14, 30)
        assert recipe.split.regime == "kfold"
    assert shipped.split.holdout == 0.15  # what an ensemble of the folds is scored on


@pytest.mark.parametrize("family", ["gru", "lstm", "rnn", "mlp", "transformer"])
def test_each_family_has_its_scheduler_and_dropout(family) -> None:
    recipe = recipe_for(GeomagRecipe(), family, 14)
    assert recipe.train.scheduler == ("cosine" if family == "transformer" else "plateau")
    assert recipe.model.dropout_prob == (0.1 if family == "transformer" else 0.3)
    assert (recipe.model.type, recipe.data.window) == (family, 14)


def test_three_windows_of_minutes() -> None:
    assert [(window_name(d), d, d * 1440) for d in WINDOW_DAYS] == [
        ("7day", 7, 10_080), ("14day", 14, 20_160), ("30day", 30, 43_200)]
    assert reshape_data_for_gru(np.zeros((3, 43_200), np.float32), 30).shape == (3, 30, 1440)


def test_workers_are_sixteen_at_most() -> None:
    assert MAX_WORKERS == 16


def test_the_sample_scores_of_the_seed_go_together_except_for_recall() -> None:
    """F1 .85, MCC .67 and class accuracies .79 and .88 were shown with a recall of .88 that was called weighted."""
    truth = np.repeat([0, 1], 100)
    answer = np.concatenate([np.arange(100) >= 79, np.arange(100) < 88]).astype(int)
    found = geomag.calculate_binary_metrics(truth, answer)
    assert found["class_acc"] == [0.79, 0.88] and found["specificity"] == 0.79
    assert round(found["mcc"], 2) == 0.67 and round(found["norm_mcc"], 2) == 0.84
    assert found["recall"] == pytest.approx(0.835)  # weighted recall is accuracy


# -- one family in folds -----------------------------------------------------------------------------------------------


def data_set(count: int = 40) -> TensorDataset:
    """Windows of 7 days of white noise, with a bump in class 1 that a small network learns."""
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 2
    x = generator.standard_normal((count, 10_080)).astype(np.float32)
    x[labels == 1, -600:-300] += 2
    return TensorDataset(torch.from_numpy(x), torch.from_numpy(labels))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A GRU trained in two folds by the call of the notebooks, and what it returned."""
    out = tmp_path_factory.mktemp("gru")
    results = kfold_train_eval(
        "gru", data_set(), out, groups=np.arange(40), loss_fn=nn.CrossEntropyLoss(weight=torch.ones(2)),
        optimizer_class=torch.optim.AdamW, optimizer_kwargs={"lr": 3e-3, "weight_decay": 0.02},
        scheduler_class=torch.optim.lr_scheduler.ReduceLROnPlateau,
        scheduler_kwargs={"mode": "min", "patience": 3, "factor": 0.5}, epochs=4, batch_size=8, num_folds=2,
        random_state=7, device="cpu", device_ids=None, input_size=1440, hidden_sizes=[8, 6], output_size=2,
        dropout_prob=0.2, sets=QUICK)
    return out, results


@pytest.fixture(scope="module")
def files(trained: tuple[Path, dict]) -> Path:
    return StudyFolder(trained[0] / "study").files("gru")


def test_what_is_given_to_the_call_reaches_the_recipe(trained) -> None:
    recipe = StudyFolder(trained[0] / "study").recipe()
    assert (recipe.train.learning_rate, recipe.train.weight_decay, recipe.train.epochs) == (3e-3, 0.02, 4)
    assert (recipe.train.batch_size, recipe.split.folds, recipe.train.seed, recipe.split.seed) == (8, 2, 7, 7)
    assert (recipe.train.scheduler, recipe.train.plateau_patience, recipe.train.plateau_factor) == ("plateau", 3, 0.5)
    assert (recipe.model.hidden_sizes, recipe.model.dropout) == ((8, 6), 0.2) and recipe.train.use_class_weights


def test_what_the_call_returns(trained) -> None:
    _, results = trained
    assert len(results["val_f1s"]) == len(results["val_mccs"]) == 2
    assert results["best_val_f1"] == max(results["val_f1s"])
    assert results["best_fold"] == int(np.argmax(results["val_f1s"])) + 1
    assert 0 <= np.mean(results["val_f1s"]) <= 1 and np.isfinite(np.std(results["val_mccs"]))
    assert results["fold_metrics"]["f1"] == results["val_f1s"]
    assert results["average_metrics"]["f1"] == pytest.approx(np.mean(results["val_f1s"]))
    assert results["average_metrics"]["f1_std"] == pytest.approx(np.std(results["val_f1s"]))
    assert not results["ungrouped"] and results["split"] == "kfold"


def test_every_file_of_the_seed_is_written_under_its_name(files) -> None:
    names = {path.name for path in files.iterdir()}
    expected = {f"GRUModel_7day_fold_{k}{ending}" for k in (1, 2) for ending in FOLD_FILES}
    expected |= {"GRUModel_7day_summary.json", "GRUModel_7day_ensemble.pth", "GRUModel_7day_ensemble_config.json"}
    assert expected <= names
    assert names - expected == {f"GRUModel_7day_fold_{k}_scaling.npy" for k in (1, 2)}
    assert files.name == "gru_models" and files.parent.name == "results"


def test_families_and_windows_name_their_files_alike() -> None:
    folder = StudyFolder(Path("x"))
    assert [folder.files(model).name for model in MODELS] == [f"{model}_models" for model in MODELS]
    assert [folder.stem(model, 14) for model in MODELS] == [
        f"{title}Model_14day" for title in ("GRU", "LSTM", "RNN", "MLP", "Transformer", "MiniRocket")]


def test_weights_of_a_fold_are_plain_tensors_of_the_network(files) -> None:
    state = torch.load(files / "GRUModel_7day_fold_1.pth", weights_only=True)
    network = GRUClassifier(1440, [8, 6], dropout_prob=0.2)
    network.load_state_dict(state)
    mean, scale = np.load(files / "GRUModel_7day_fold_1_scaling.npy", allow_pickle=False)
    windows = data_set().tensors[0].numpy()
    with torch.no_grad():
        own = torch.softmax(network.eval()(torch.from_numpy((windows - mean) / scale)), 1).numpy()
    tested = np.load(files / "GRUModel_7day_fold_1_test_probs.npy", allow_pickle=False)
    for row in tested[:3]:
        assert np.abs(own - row).max(1).min() < 1e-4


def test_answers_of_a_fold_are_probabilities_and_labels(files) -> None:
    for fold in (1, 2):
        for part in ("train", "test"):
            probability, label = (np.load(files / f"GRUModel_7day_fold_{fold}_{part}_{kind}.npy", allow_pickle=False)
                                  for kind in ("probs", "labels"))
            assert probability.dtype == np.float32 and label.dtype == np.int64
            assert probability.shape == (len(label), 2) and set(label) == {0, 1}
            np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)
    tested = [len(np.load(files / f"GRUModel_7day_fold_{k}_test_labels.npy")) for k in (1, 2)]
    assert sum(tested) == 40


def test_a_log_has_a_line_an_epoch(files) -> None:
    text = (files / "GRUModel_7day_fold_2_logs.txt").read_text()
    lines = re.findall(r"^Epoch (\d+)/4 \| train_loss \d.*\| train_acc .*\| val_loss .*\| val_acc .*\| val_f1 .*\| "
                       r"val_mcc .*\| lr \d", text, re.M)
    assert lines == [str(k) for k in range(1, len(lines) + 1)] and lines
    assert "fold 2 of 2" in text.splitlines()[0]


def test_the_study_keeps_a_log_named_by_the_time(trained) -> None:
    [log] = (trained[0] / "study" / "logs").glob("training_*.log")
    assert re.fullmatch(r"training_\d{8}_\d{6}\.log", log.name)
    assert "GRU 7day fold 1" in log.read_text()


def test_the_best_epoch_is_chosen_by_the_weighted_f1_of_the_inner_part(trained) -> None:
    folder = StudyFolder(trained[0] / "study")
    for fold, best in enumerate(trained[1]["best_epochs"]):
        place = folder.run("gru", 7).fold_path(fold)
        epochs = pd.read_csv(place / "logs" / "epochs.csv")
        assert epochs["val_f1"][best - 1] == epochs["val_f1"].max()
        parts = [set(Predictions.read(place / f"{part}.parquet").sample_id) for part in ("train", "validation", "test")]
        assert not parts[0] & parts[1] and not parts[1] & parts[2] and not parts[0] & parts[2]


def test_scaling_and_class_weights_come_from_training_windows_alone(trained, files) -> None:
    folder = StudyFolder(trained[0] / "study")
    recipe = recipe_for(folder.recipe(), "gru", 7)
    archive = WORKFLOW.open(recipe)
    manifest = SplitManifest.read(folder.window(7), archive.table)
    layout = read_layout(Path(recipe.data.folder), 7)
    for fold in (0, 1):
        rows = manifest.rows(TRAIN, fold)
        windows = np.empty((len(rows), 10_080), np.float32)
        read_windows(files_of(layout.facts()), rows, windows)
        mean, scale = np.load(files / f"GRUModel_7day_fold_{fold + 1}_scaling.npy")
        np.testing.assert_allclose(mean, windows.mean(0, dtype=np.float64), atol=1e-5)
        np.testing.assert_allclose(scale, windows.std(0, dtype=np.float64), rtol=1e-4)
        task = WORKFLOW.task(recipe, archive, rows)
        expected = class_weights(archive.table.labels()[rows], 2, "sqrt")
        np.testing.assert_allclose(task.class_weights, expected, rtol=1e-6)


def test_the_summary_and_the_configuration_have_the_seeds_keys(files, trained) -> None:
    summary = json.loads((files / "GRUModel_7day_summary.json").read_text())
    assert {"model_name", "window_name", "best_fold", "best_val_f1", "val_f1s", "val_mccs"} <= summary.keys()
    config = json.loads((files / "GRUModel_7day_ensemble_config.json").read_text())
    assert (config["model_name"], config["window_name"], config["ensemble_method"]) == ("GRUModel", "7day",
                                                                                        "f1_weighted")
    assert {"f1", "precision", "recall", "specificity", "mcc", "norm_mcc", "class_0_acc", "class_1_acc"} <= config[
        "fold_metrics"].keys()
    assert config["model_params"]["hidden_sizes"] == [8, 6] and config["average_metrics"]["f1"] is not None
    assert config["members"] == [f"GRUModel_7day_fold_{k}.pth" for k in (1, 2)]
    inner = np.array(trained[1]["inner_val_f1s"])
    assert sum(config["ensemble_weights"]) == pytest.approx(1)
    np.testing.assert_allclose(config["ensemble_weights"], inner / inner.sum())


def test_the_ensemble_loads_and_says_how_sure_it_is(files) -> None:
    content = torch.load(files / "GRUModel_7day_ensemble.pth", weights_only=True)
    assert content and all(isinstance(value, torch.Tensor) for value in content.values())
    ensemble = load_ensemble_model(
        model_path=files / "GRUModel_7day_ensemble.pth", config_path=files / "GRUModel_7day_ensemble_config.json",
        device=torch.device("cpu"), model_class=GRUClassifier, device_ids=None)
    x = data_set().tensors[0][:5]
    ensemble.eval()
    with torch.no_grad():
        answers = ensemble(x)
    torch.testing.assert_close(answers.sum(1), torch.ones(5))
    classes, confidence, variance = ensemble.classify_with_confidence(x)
    assert torch.equal(classes, answers.argmax(1)) and bool((variance >= 0).all())
    torch.testing.assert_close(confidence, answers.amax(1))


def test_the_ensemble_of_a_study_is_that_of_its_files(trained, files) -> None:
    x = data_set().tensors[0][:4]
    found = [perform_model_ensemble(trained[0] / "study", "gru", window)(x) for window in (7, "7", "7day")]
    assert torch.equal(found[0], found[1]) and torch.equal(found[1], found[2])
    loaded = load_ensemble_model(files / "GRUModel_7day_ensemble.pth", files / "GRUModel_7day_ensemble_config.json",
                                 "cpu")
    assert torch.equal(loaded(x), found[0])


def test_a_study_that_is_there_is_not_done_again(trained, files) -> None:
    folder = StudyFolder(trained[0] / "study")
    before = {path: path.stat().st_mtime_ns for path in files.iterdir()}
    outcome = run_study(folder.recipe(), folder.path)
    assert {path: path.stat().st_mtime_ns for path in files.iterdir()} == before
    assert list(outcome.scores["windows"]) == ["7day"]


@pytest.mark.parametrize(("options", "says"), [
    ({"optimizer_class": torch.optim.SGD}, "optimiser is AdamW"),
    ({"loss_fn": nn.MSELoss()}, "loss is cross-entropy"),
    ({"scheduler_class": torch.optim.lr_scheduler.StepLR}, "StepLR is not known"),
    ({"width": 3}, "no parameter width"), ({"groups": [1, 2]}, "2 groups for 40 windows")])
def test_what_the_call_cannot_use_is_refused(tmp_path, options, says) -> None:
    with pytest.raises(InputError, match=says):
        kfold_train_eval("gru", data_set(), tmp_path, **options)
    assert not (tmp_path / "study").exists()


# -- a whole family ----------------------------------------------------------------------------------------------------


def test_a_family_is_trained_on_the_windows_that_are_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GROUNDSWELL_QUIET", "1")
    toy_layout(tmp_path / "data", events=20, stations=1, bump=60)
    outcome = main("transformer", tmp_path, windows=["7"], optimize=False, sets=[
        *QUICK, "split.folds=2", "train.epochs=2", "train.batch_size=8", "model.d_model=16", "model.nhead=2",
        "model.dim_feedforward=16", "model.num_encoder_layers=1"])
    folder = StudyFolder(tmp_path / "transformer_study")
    assert outcome.folder == folder.path.resolve() and outcome.report.is_file()
    names = {path.name for path in folder.files("transformer").glob("*.json")}
    assert names == {"TransformerModel_7day_summary.json", "TransformerModel_7day_ensemble_config.json"}
    assert isinstance(perform_model_ensemble(folder.path, "transformer", "7"), F1WeightedEnsemble)
    assert folder.recipe().study.cosine == ("transformer",)
    assert not [line for line in outcome.conclusion if "predict" in line.lower()]


def test_there_is_no_search_on_the_folds_that_are_reported(tmp_path) -> None:
    with pytest.raises(InputError, match="flatter"):
        main("gru", tmp_path, optimize=True)
    assert not list(tmp_path.iterdir())


def test_one_division_instead_of_folds(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GROUNDSWELL_QUIET", "1")
    results = train_eval("mlp", data_set(48), tmp_path, groups=np.arange(48), epochs=1, batch_size=16,
                         hidden_sizes=[4], sets=QUICK)
    assert len(results["val_f1s"]) == 1 and results["split"] == "grouped"
    assert results["best_fold"] == 1


# -- leakage -----------------------------------------------------------------------------------------------------------


def test_copies_of_events_flatter_folds_of_single_windows_and_nothing_else(tmp_path) -> None:
    """24 events of noise with labels by chance, recorded at three stations: there is nothing to find."""
    recipe = build_recipe(GeomagRecipe, {"data": {"folder": str(toy_layout(tmp_path, events=24, stations=3))},
                                         "split": {"folds": 3}, "train": {"threads": 1}})
    probe = probe_leak(recipe, WORKFLOW.open(recipe))
    assert probe.leaks and probe.shared == 24
    assert probe.single.low > 0.6 > probe.own.value
    assert "leakage" in probe.sentence and "predict" not in probe.sentence


# -- smaller things ----------------------------------------------------------------------------------------------------


def test_equal_weights_stand_beside_those_by_f1() -> None:
    def answers(right: int) -> Predictions:
        truth = np.arange(10) % 2
        chosen = np.where(np.arange(10) < right, truth, 1 - truth)
        return Predictions.of([str(k) for k in range(10)], truth, np.eye(2)[chosen] * 0.8 + 0.1, ("a", "b"))

    members = [answers(9), answers(4), answers(3)]
    found = ensemble_of_folds(members, members, "weighted_mean")
    assert set(found) == {"f1_weighted", "equal"}
    np.testing.assert_allclose(found["equal"].probability, np.mean([m.probability for m in members], axis=0))
    assert np.abs(found["equal"].probability - found["f1_weighted"].probability).max() > 0.05


def test_checkpoints_of_the_loop_are_named_by_the_time_and_the_best_is_kept(tmp_path) -> None:
    seed_everything(0)
    model = MLPClassifier(6, [4])
    optimizer = torch.optim.AdamW(model.parameters())
    path = save_checkpoint(model=model, optimizer=optimizer, epoch=3, loss=0.5, checkpoint_dir=tmp_path,
                           additional_info={"best_f1": 0.87, "is_best": True})
    assert re.fullmatch(r"checkpoint_\d{8}_\d{6}_\d+_epoch_3\.pth", path.name)
    _, _, epoch, loss, info = load_checkpoint(checkpoint_path=tmp_path / "best_model.pth", model=MLPClassifier(6, [4]),
                                              optimizer=None, device="cpu")
    assert (epoch, loss, info["best_f1"]) == (3, 0.5, 0.87)
    model.save_checkpoint(filepath=tmp_path / "model_best.pth", optimizer=optimizer, epoch=50, metrics={"f1": 0.87})
    assert MLPClassifier.load_checkpoint(tmp_path / "model_best.pth").get_model_info()["total_parameters"] == sum(
        p.numel() for p in model.parameters())


def test_one_window_length_is_analysed_at_a_time_for_small_memories(tmp_path) -> None:
    toy_layout(tmp_path, events=8)
    analyzer = DatasetAnalyzer(base_path=tmp_path)
    assert analyzer.analyze_window(7).imbalance_analysis.severity == "balanced"
    assert analyzer.analyze_window("14") is None
    assert set(analyzer.results) == {"7", "14"}


def test_all_confusion_matrices_have_one_scale_and_one_size() -> None:
    figures = []
    for skill in (0.5, 0.95):
        label = np.arange(40) % 2
        one = np.where(label == 1, skill, 1 - skill) + 1e-6 * np.arange(40)
        cell = Cell("GRU", "7day", Path("GRUModel_7day"), 1, {})
        figures.append(draw(cell, mean_confusion([(np.stack([1 - one, one], 1), label)])))
    assert {tuple(figure.axes[0].images[0].get_clim()) for figure in figures} == {(0, 1)}
    assert len({tuple(figure.get_size_inches()) for figure in figures}) == 1


def test_a_balanced_sampler_and_class_weights_are_never_both_on() -> None:
    with pytest.raises(InputError, match="choose one"):
        build_recipe(GeomagRecipe, {"train": {"balanced_sampling": True}})
