"""The tools of a training loop at the notebook: logs, devices, batches, epochs, checkpoints, shapes."""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import nn
from torch.utils.data import Dataset, Subset, TensorDataset

from groundswell.core.errors import FailureError, InputError
from groundswell.core.seeds import seed_everything
from groundswell.pipelines.geomag import loading, utilities
from groundswell.pipelines.geomag.models.mlp import MLPClassifier
from groundswell.pipelines.geomag.utilities import (
    add_positional_encoding,
    calculate_binary_metrics,
    calculate_class_weights,
    count_parameters,
    create_balanced_sampler,
    create_data_loaders,
    create_data_loaders_balanced,
    create_model,
    load_checkpoint,
    prepare_mlp_data,
    reshape_data_for_gru,
    reshape_data_for_lstm,
    reshape_data_for_rnn,
    reshape_data_for_transformer,
    run_epoch,
    save_checkpoint,
    set_seed,
    setup_device,
    setup_logging,
)


class Small(nn.Module):
    """A network with batch normalisation, made as those of this pipeline are."""

    def __init__(self, input_size, hidden_sizes, output_size=2, dropout_prob=0.3) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(input_size, hidden_sizes[0]), nn.BatchNorm1d(hidden_sizes[0]), nn.ReLU(),
                                    nn.Dropout(dropout_prob), nn.Linear(hidden_sizes[0], output_size))

    def forward(self, x):
        return self.layers(x)


class Headed(nn.Module):
    """A network without hidden sizes."""

    def __init__(self, input_size, output_size=2, dropout_prob=0.1, nhead=1) -> None:
        super().__init__()
        self.line, self.nhead = nn.Linear(input_size, output_size), nhead

    def forward(self, x):
        return self.line(x)


class Asked(Dataset):
    """A dataset that is asked for every sample."""

    def __init__(self, labels) -> None:
        self.asked = labels

    def __len__(self) -> int:
        return len(self.asked)

    def __getitem__(self, k):
        return torch.zeros(3), self.asked[k]


def dataset_of(n0=30, n1=10, features=6, gap=2.0):
    """Two classes whose first feature differs by ``gap`` standard deviations."""
    random = torch.Generator().manual_seed(0)
    y = torch.repeat_interleave(torch.tensor([0, 1]), torch.tensor([n0, n1]))
    x = torch.randn(n0 + n1, features, generator=random)
    x[:, 0] += gap * y
    return TensorDataset(x, y)


@pytest.fixture
def logger_closed():
    """The logger's files are closed after the test."""
    yield
    for handler in list(logging.getLogger(utilities.LOGGER).handlers):
        logging.getLogger(utilities.LOGGER).removeHandler(handler)
        handler.close()


# -- logs, devices, seeds -------------------------------------------------------------------------------------------


def test_a_log_goes_to_a_file_named_by_the_time_and_to_the_terminal(tmp_path, logger_closed, capsys) -> None:
    logger = setup_logging("training.log", tmp_path / "logs", include_timestamp=True)
    logger.info("epoch 1 done")
    logger.debug("not shown")
    (path,) = (tmp_path / "logs").iterdir()
    assert re.fullmatch(r"training_\d{8}_\d{6}\.log", path.name)
    assert "epoch 1 done" in path.read_text() and "not shown" not in path.read_text()
    assert "INFO epoch 1 done" in capsys.readouterr().err


def test_a_log_begun_again_leaves_the_first_one(tmp_path, logger_closed) -> None:
    setup_logging("a.log", tmp_path, include_timestamp=False).warning("one")
    setup_logging("b.log", tmp_path, "DEBUG", include_timestamp=False).debug("two")
    assert "one" in (tmp_path / "a.log").read_text() and "two" not in (tmp_path / "a.log").read_text()
    assert (tmp_path / "b.log").read_text().count("two") == 1


def test_the_folder_of_logs_comes_from_the_environment(tmp_path, monkeypatch, logger_closed) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOG_DIR", raising=False)
    setup_logging(include_timestamp=False).info("x")
    assert (tmp_path / "logs" / "training.log").is_file()
    monkeypatch.setenv("LOG_DIR", str(tmp_path / "elsewhere"))
    setup_logging(include_timestamp=False).info("x")
    assert (tmp_path / "elsewhere" / "training.log").is_file()


def test_a_log_is_quiet_where_that_is_asked_for(tmp_path, monkeypatch, logger_closed, capsys) -> None:
    monkeypatch.setenv("GROUNDSWELL_QUIET", "1")
    setup_logging("a.log", tmp_path, include_timestamp=False).info("to the file only")
    assert "to the file only" in (tmp_path / "a.log").read_text()
    assert not capsys.readouterr().err


def test_a_log_that_cannot_be_written_is_refused(tmp_path, logger_closed) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        setup_logging(log_dir=tmp_path / "file")
    with pytest.raises(InputError, match="leads outside"):
        setup_logging("../training.log", tmp_path)
    with pytest.raises(InputError, match="no logging level"):
        setup_logging(log_dir=tmp_path, level="LOUD")


def test_the_device_is_the_cpu_where_there_is_no_gpu(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert setup_device() == (torch.device("cpu"), [])
    assert setup_device([]) == (torch.device("cpu"), [])
    with pytest.raises(InputError, match=r"no GPU 0: 0 GPU"):
        setup_device([0])


def test_of_several_gpus_the_first_is_used_and_that_is_said(monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert setup_device() == (torch.device("cuda", 0), [0])
    assert "train.devices=4" in capsys.readouterr().err
    assert setup_device([2, 3]) == (torch.device("cuda", 2), [2, 3])
    assert "train.devices=2" in capsys.readouterr().err
    with pytest.raises(InputError, match="no GPU 4"):
        setup_device([1, 4])


def test_set_seed_is_the_seed_of_everything() -> None:
    seed_everything(7)
    first = torch.rand(3)
    set_seed(7)
    assert torch.equal(torch.rand(3), first)


# -- class weights and batches --------------------------------------------------------------------------------------


def test_class_weights_of_the_published_counts() -> None:
    labels = np.repeat([0, 1], [1661, 999])
    for method in ("inverse", "balanced"):
        for normalize in (True, False):
            found = calculate_class_weights(labels, method, normalize)
            assert found.dtype == torch.float32
            assert [round(v, 3) for v in found.tolist()] == [0.801, 1.331]
    raw = calculate_class_weights(torch.tensor(labels), method="sqrt", normalize=False)
    torch.testing.assert_close(raw, torch.tensor([2660 / 3322, 2660 / 1998]).sqrt())
    for method in ("sqrt", "effective"):
        assert calculate_class_weights(labels, method)[labels].mean() == pytest.approx(1, abs=1e-5)


def test_class_weights_need_two_classes() -> None:
    with pytest.raises(InputError, match="all of one class"):
        calculate_class_weights([0, 0, 0])
    with pytest.raises(InputError, match="no way"):
        calculate_class_weights([0, 1], "cubic")


def test_a_balanced_sampler_draws_both_classes_alike() -> None:
    data = dataset_of(900, 60)
    more, fewer = create_balanced_sampler(data, seed=1), create_balanced_sampler(data, oversample=False, seed=1)
    assert len(more) == 1800 and len(fewer) == 120
    drawn = data.tensors[1][list(more)].float().mean()
    assert abs(drawn - 0.5) < 5 * 0.5 / math.sqrt(1800)
    assert list(create_balanced_sampler(data, seed=1)) == list(create_balanced_sampler(data, seed=1))


@pytest.mark.parametrize("kind", ["tensors", "subset", "attribute", "asked"])
def test_labels_are_found_in_any_dataset(kind) -> None:
    data = dataset_of(6, 4)
    expected = np.repeat([0, 1], [6, 4])
    if kind == "subset":
        chosen = [9, 0, 8]
        assert loading.labels_of(Subset(Subset(data, range(10)), chosen)).tolist() == expected[chosen].tolist()
        return
    if kind == "asked":
        data = Asked(expected.tolist())
    elif kind == "attribute":
        data = Asked([7] * 10)
        data.labels = expected
    np.testing.assert_array_equal(loading.labels_of(data), expected)


def test_labels_that_are_no_classes_are_refused() -> None:
    with pytest.raises(InputError, match="whole numbers"):
        loading.labels_of(TensorDataset(torch.zeros(2), torch.tensor([0.5, 1.0])))
    with pytest.raises(InputError, match="no samples"):
        create_data_loaders(TensorDataset(torch.zeros(0, 3), torch.zeros(0)))
    with pytest.raises(InputError, match="all of one class"):
        create_balanced_sampler(dataset_of(5, 0))


def test_a_batch_grows_with_the_gpus_that_share_it() -> None:
    data = dataset_of(100, 60)
    x, _ = next(iter(create_data_loaders_balanced(data, batch_size=32, num_gpus=2, is_train=True, oversample=True)))
    assert len(x) == 64
    assert len(create_data_loaders_balanced(data)) == math.ceil(200 / 32)
    with pytest.raises(InputError, match="at least 1"):
        create_data_loaders(data, batch_size=0)


def test_without_training_every_sample_comes_once_in_order() -> None:
    data = dataset_of()
    for make in (create_data_loaders, create_data_loaders_balanced):
        got = torch.cat([x for x, _ in make(data, 7, is_train=False)])
        assert torch.equal(got, data.tensors[0])
    shuffled = torch.cat([x for x, _ in create_data_loaders(data, 7, seed=3)])
    assert not torch.equal(shuffled, data.tensors[0])
    assert torch.equal(shuffled.sort(0).values, data.tensors[0].sort(0).values)


def test_workers_are_for_what_is_not_in_memory(monkeypatch) -> None:
    data, large = dataset_of(), Asked([0, 1] * 5000)
    monkeypatch.setattr(loading, "usable_cores", lambda: 64)
    assert create_data_loaders(data).num_workers == 0
    assert create_data_loaders(Subset(data, [1, 2])).num_workers == 0
    assert loading.workers_for(large, 32) == 4
    assert loading.workers_for(large, 32, num_gpus=8) == 16
    assert loading.workers_for(large, 5000) == 0
    monkeypatch.setattr(loading, "usable_cores", lambda: 2)
    assert loading.workers_for(large, 32, num_gpus=8) == 1


# -- networks -------------------------------------------------------------------------------------------------------


def test_a_network_is_made_and_counted() -> None:
    model = create_model(Small, 6, [4], 2, 0.3, torch.device("cpu"), None)
    assert count_parameters(model) == 6 * 4 + 4 + 4 + 4 + 4 * 2 + 2
    model.layers[0].weight.requires_grad_(False)
    assert count_parameters(model) == 46 - 24 and count_parameters(model, trainable_only=False) == 46


def test_what_a_network_does_not_take_is_said(capsys) -> None:
    model = create_model(Headed, 6, [512, 256], nhead=4)
    assert isinstance(model, Headed) and model.nhead == 4
    assert "no hidden_sizes" in capsys.readouterr().err
    with pytest.raises(InputError, match="unexpected keyword argument 'colour'"):
        create_model(Headed, 6, colour="red")


def test_several_devices_are_one_and_that_is_said(capsys) -> None:
    model = create_model(Small, 6, [4], device="cpu", device_ids=[0, 1])
    assert isinstance(model, Small)
    assert "train.devices=2" in capsys.readouterr().err


# -- metrics --------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60))
@settings(deadline=None)
def test_metrics_are_those_of_scikit_learn(pairs) -> None:
    truth, answer = (np.array(v) for v in zip(*pairs, strict=True))
    found = calculate_binary_metrics(truth, torch.tensor(answer))
    assert list(found) == ["f1", "precision", "recall", "specificity", "mcc", "norm_mcc", "class_acc"]
    precision, recall, f1, _ = sk.precision_recall_fscore_support(truth, answer, labels=[0, 1], average="weighted",
                                                                  zero_division=0)
    each = sk.recall_score(truth, answer, labels=[0, 1], average=None, zero_division=0)
    mcc = sk.matthews_corrcoef(truth, answer) if len(set(truth)) > 1 else 0.0
    np.testing.assert_allclose([found["f1"], found["precision"], found["recall"], found["mcc"], found["norm_mcc"]],
                               [f1, precision, recall, mcc, (mcc + 1) / 2], atol=1e-12)
    np.testing.assert_allclose(found["class_acc"], each)
    assert found["specificity"] == pytest.approx(each[0])
    assert found["recall"] == pytest.approx(sk.accuracy_score(truth, answer))


def test_a_majority_guesser_scores_what_it_scores() -> None:
    truth = np.repeat([0, 1], [1661, 999])
    found = calculate_binary_metrics(truth, np.zeros(2660, int))
    assert round(found["f1"], 3) == 0.480
    assert found["class_acc"] == [1, 0] and found["mcc"] == 0 and found["norm_mcc"] == 0.5


@pytest.mark.parametrize(("truth", "answer", "match"), [
    ([0, 1], [0], "as many"), ([], [], "one at least"), ([0, 1], [0, 2], "also 2"), ([0, 1], [0.3, 0.7], "also 0.3")])
def test_metrics_of_something_else_are_refused(truth, answer, match) -> None:
    with pytest.raises(InputError, match=match):
        calculate_binary_metrics(truth, answer)


# -- an epoch -------------------------------------------------------------------------------------------------------


def trained(epochs=12, **more):
    """A small network after some epochs, and what each of them gave."""
    set_seed(0)
    data = dataset_of(120, 60, gap=4.0)
    model = create_model(Small, 6, [8])
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    loader = create_data_loaders(data, 16, seed=0)
    return model, data, [run_epoch(model, loader, "cpu", optimizer, **more) for _ in range(epochs)]


def test_training_learns_and_judging_does_not() -> None:
    model, data, epochs = trained()
    assert epochs[-1]["loss"] < 0.5 * epochs[0]["loss"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    judged = run_epoch(model, create_data_loaders(data, 16, is_train=False), torch.device("cpu"))
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    assert judged["accuracy"] > 0.9
    np.testing.assert_array_equal(judged["labels"], data.tensors[1].numpy())
    assert judged["probabilities"].shape == (180, 2) and judged["probabilities"].dtype == np.float32
    np.testing.assert_allclose(judged["probabilities"].sum(1), 1, rtol=1e-5)
    assert judged["metrics"] == calculate_binary_metrics(judged["labels"], judged["probabilities"].argmax(1))
    with torch.no_grad():
        whole = nn.functional.cross_entropy(model(data.tensors[0]), data.tensors[1])
    assert judged["loss"] == pytest.approx(float(whole), rel=1e-5)


def test_a_single_sample_is_left_out_of_training_and_judged() -> None:
    data = dataset_of(10, 7)
    model = create_model(Small, 6, [4])
    result = run_epoch(model, create_data_loaders(data, 8), "cpu", torch.optim.SGD(model.parameters(), 0.1))
    assert (result["samples"], result["skipped_batches"]) == (16, 1)
    result = run_epoch(model, create_data_loaders(data, 8, is_train=False), "cpu")
    assert (result["samples"], result["skipped_batches"]) == (17, 0)
    with pytest.raises(InputError, match="nothing that could be used"):
        run_epoch(model, create_data_loaders(dataset_of(1, 0), 8), "cpu", torch.optim.SGD(model.parameters(), 0.1))


def moved(max_grad_norm=None, **more):
    """How far the weights of a straight line move in one step of length 1 along the gradient."""
    model = Headed(6)
    with torch.no_grad():
        model.line.weight.zero_(), model.line.bias.zero_()
    run_epoch(model, create_data_loaders(dataset_of(40, 7, gap=30.0), is_train=False, **more), "cpu",
              torch.optim.SGD(model.parameters(), 1.0), max_grad_norm=max_grad_norm,
              accumulate=100 if more.get("batch_size", 47) < 47 else 1)
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def test_gradients_are_clipped() -> None:
    assert moved(batch_size=47).norm() > 1.5
    assert moved(1.0, batch_size=47).norm() == pytest.approx(1.0, rel=1e-4)
    assert moved(0.25, batch_size=47).norm() == pytest.approx(0.25, rel=1e-4)


def test_gradients_of_small_batches_add_up_to_those_of_a_large_one() -> None:
    torch.testing.assert_close(moved(batch_size=9), moved(batch_size=47), rtol=1e-4, atol=1e-5)


def test_a_loss_that_is_not_finite_ends_the_epoch() -> None:
    data = dataset_of()
    data.tensors[0][3] = torch.nan
    with pytest.raises(FailureError, match="batch 1 is not a finite"):
        run_epoch(Headed(6), create_data_loaders(data, 64), "cpu")


def test_a_loss_of_ones_own_is_used() -> None:
    data = dataset_of()
    weighted = nn.CrossEntropyLoss(weight=calculate_class_weights(data.tensors[1]))
    model = Headed(6)
    loader = create_data_loaders(data, 64, is_train=False)
    with torch.no_grad():
        expected = float(weighted(model(data.tensors[0]), data.tensors[1]))
    assert run_epoch(model, loader, "cpu", loss_fn=weighted)["loss"] == pytest.approx(expected, rel=1e-6)
    assert run_epoch(model, loader, "cpu")["loss"] != pytest.approx(expected, rel=1e-3)


# -- checkpoints ----------------------------------------------------------------------------------------------------


def outputs(model):
    """Of a network, in evaluation, for fixed windows."""
    with torch.no_grad():
        return model.eval()(dataset_of().tensors[0])


def test_a_checkpoint_brings_everything_back(tmp_path) -> None:
    model, _, epochs = trained(3)
    optimizer = torch.optim.AdamW(model.parameters(), 0.02, betas=(0.8, 0.9))
    run_epoch(model, create_data_loaders(dataset_of(), 16, seed=0), "cpu", optimizer)
    info = {"best_f1": np.float64(0.75), "counts": np.array([3, 4]), "where": Path("a/b"), "list": [1, (2, None)]}
    path = save_checkpoint(model, optimizer, 3, np.float32(epochs[-1]["loss"]), tmp_path / "gru_models", info)
    assert re.fullmatch(r"checkpoint_\d{8}_\d{6}_\d{6}_epoch_3\.pth", path.name)
    fresh = Small(6, [8])
    other = torch.optim.AdamW(fresh.parameters(), 0.5)
    got, opt, epoch, loss, told = load_checkpoint(path, fresh, other, "cpu")
    assert got is fresh and opt is other and epoch == 3 and loss == pytest.approx(epochs[-1]["loss"])
    assert told["best_f1"] == 0.75 and told["counts"].tolist() == [3, 4] and told["list"] == [1, (2, None)]
    assert torch.equal(outputs(fresh), outputs(model))
    assert other.param_groups[0]["lr"] == 0.02 and other.param_groups[0]["betas"] == (0.8, 0.9)
    torch.testing.assert_close(other.state_dict()["state"], optimizer.state_dict()["state"], rtol=0, atol=0)


def test_checkpoints_do_not_overwrite_one_another_and_the_best_is_told_apart(tmp_path) -> None:
    model = Small(6, [4])
    first = save_checkpoint(model, None, 1, 0.5, tmp_path)
    assert not (tmp_path / "best_model.pth").exists()
    best = save_checkpoint(model, None, 1, 0.4, tmp_path, {"is_best": True, "best_f1": 0.8})
    assert first != best
    with torch.no_grad():
        model.layers[0].weight.add_(1)
    save_checkpoint(model, None, 2, 0.6, tmp_path, {"is_best": np.bool_(False)})
    assert len(list(tmp_path.glob("checkpoint_*.pth"))) == 3
    assert (tmp_path / "best_model.pth").read_bytes() == best.read_bytes()
    *_, epoch, loss, info = load_checkpoint(tmp_path / "best_model.pth", model)
    assert (epoch, loss, info["best_f1"]) == (1, 0.4, 0.8)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_names_of_wrapped_networks_fit(tmp_path) -> None:
    model = Small(6, [4])
    torch.save({f"module.{name}": value for name, value in model.state_dict().items()}, tmp_path / "bare.pth")
    fresh, _, epoch, loss, info = load_checkpoint(tmp_path / "bare.pth", Small(6, [4]))
    assert torch.equal(outputs(fresh), outputs(model))
    assert epoch == 0 and math.isnan(loss) and info == {}
    wrapped = nn.DataParallel(model)
    path = save_checkpoint(wrapped, None, 1, 0.1, tmp_path)
    assert torch.equal(outputs(load_checkpoint(path, Small(6, [4]))[0]), outputs(model))
    again = nn.DataParallel(Small(6, [4]))
    assert torch.equal(outputs(load_checkpoint(path, again)[0].module), outputs(model))


def test_files_of_the_classifiers_fit_and_fit_them(tmp_path) -> None:
    model = MLPClassifier(6, [5, 4])
    optimizer = torch.optim.SGD(model.parameters(), 0.25)
    path = save_checkpoint(model, optimizer, 2, 0.1, tmp_path)
    assert torch.equal(outputs(MLPClassifier.load_checkpoint(path)), outputs(model))
    own = model.save_checkpoint(tmp_path / "model_best.pth", optimizer, metrics={"f1": 0.5})
    fresh = MLPClassifier(6, [5, 4])
    _, _, epoch, _, info = load_checkpoint(own, fresh, torch.optim.SGD(fresh.parameters(), 1.0))
    assert torch.equal(outputs(fresh), outputs(model)) and epoch == 0 and info == {"f1": 0.5}


def test_another_architecture_is_refused_and_nothing_is_changed(tmp_path) -> None:
    path = save_checkpoint(Small(6, [4]), None, 1, 0.1, tmp_path)
    wider = Small(6, [8])
    before = {name: value.clone() for name, value in wider.state_dict().items()}
    with pytest.raises(InputError, match=r"another architecture than this Small.*\(4, 6\) in it and \(8, 6\)"):
        load_checkpoint(path, wider)
    torch.testing.assert_close(dict(wider.state_dict()), before, rtol=0, atol=0)
    with pytest.raises(InputError, match=r"it lacks line\.weight"):
        load_checkpoint(path, Headed(6))
    with pytest.raises(InputError, match="no state of an optimizer"):
        load_checkpoint(path, Small(6, [4]), torch.optim.SGD(wider.parameters(), 0.1))


def test_an_optimizer_that_does_not_fit_leaves_the_network_as_it_was(tmp_path) -> None:
    model, other = Small(6, [4]), Small(6, [4])
    path = save_checkpoint(model, torch.optim.SGD(model.parameters(), 0.1), 1, 0.1, tmp_path)
    before = outputs(other)
    with pytest.raises(InputError, match="optimizer's state does not fit"):
        load_checkpoint(path, other, torch.optim.SGD(list(other.parameters())[:2], 0.1))
    assert torch.equal(outputs(other), before)


def test_files_that_are_no_checkpoints_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_checkpoint(tmp_path / "none.pth", Headed(6))
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(InputError, match="no weights of a network"):
        load_checkpoint(tmp_path / "empty.pth", Headed(6))
    torch.save(Headed(6), tmp_path / "pickled.pth")
    with pytest.raises(InputError, match="more than tensors"):
        load_checkpoint(tmp_path / "pickled.pth", Headed(6))
    model = Headed(6)
    path = save_checkpoint(model, None, 1, 0.1, tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(model.line.weight.detach().numpy().tobytes()) + 5] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(path, Headed(6))


def test_only_plain_things_are_kept(tmp_path) -> None:
    with pytest.raises(InputError, match=r"this is a set \(additional_info\['a'\]\[1\]\)"):
        save_checkpoint(Headed(6), None, 1, 0.1, tmp_path, {"a": [1, {2}]})
    assert not list(tmp_path.iterdir())


# -- shapes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reshape", [reshape_data_for_gru, reshape_data_for_lstm, reshape_data_for_rnn,
                                     reshape_data_for_transformer])
@pytest.mark.parametrize("days", [7, 14, 30])
def test_a_step_is_a_day(reshape, days) -> None:
    x = np.arange(2 * days * 1440, dtype=np.float32).reshape(2, -1)
    y = reshape(x, days)
    assert y.shape == (2, days, 1440) and np.shares_memory(x, y)
    np.testing.assert_array_equal(y[1, 3], x[1, 3 * 1440:4 * 1440])
    assert torch.equal(reshape(torch.from_numpy(x), days), torch.from_numpy(y))
    assert reshape(y, days) is y
    np.testing.assert_array_equal(prepare_mlp_data(y), x)
    assert prepare_mlp_data(y, flatten=False) is y


def test_windows_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(InputError, match=r"10081 values .*label in the last column"):
        reshape_data_for_gru(np.zeros((2, 10081)), 7)
    with pytest.raises(InputError, match="steps of equal length"):
        reshape_data_for_gru(np.zeros((2, 10080)), 11)
    with pytest.raises(InputError, match="shape"):
        reshape_data_for_gru(np.zeros((2, 3, 4)), 7)
    with pytest.raises(InputError, match="first axis"):
        prepare_mlp_data(np.zeros(5))


@pytest.mark.parametrize("d_model", [8, 7])
def test_positions_are_sines_and_cosines(d_model) -> None:
    x = np.random.default_rng(0).normal(size=(3, 30, d_model))
    added = add_positional_encoding(x, d_model) - x
    for step in range(30):
        for k in range(d_model):
            angle = step / 10000 ** (2 * (k // 2) / d_model)
            assert added[1, step, k] == pytest.approx(math.sin(angle) if k % 2 == 0 else math.cos(angle), abs=1e-6)
    found = add_positional_encoding(torch.from_numpy(x).float(), d_model)
    assert isinstance(found, torch.Tensor) and found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), x + added, rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="width d_model"):
        add_positional_encoding(x, d_model + 1)
