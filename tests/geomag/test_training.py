"""k-fold training as one call: it can be called again, and passes nothing over in silence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag import GRUClassifier, MLPClassifier, kfold_train_eval

SETS = ("evaluate.controls=[majority]", "evaluate.bootstrap=100", "study.permutations=0", "train.threads=1",
        "loader.threads=1")


def data_of(groups: int = 9, seed: int = 0) -> tuple[TensorDataset, list[str]]:
    generator = torch.Generator().manual_seed(seed)
    x = 100 * torch.randn(groups, 7, 1440, generator=generator)
    return TensorDataset(x, torch.arange(groups) % 2), [f"g{k}" for k in range(groups)]


def test_a_call_that_is_repeated_goes_on_and_other_data_are_refused(tmp_path) -> None:
    dataset, groups = data_of()
    options = {"groups": groups, "epochs": 1, "num_folds": 2, "hidden_sizes": [4], "sets": SETS,
               "model_class": MLPClassifier, "num_layers": 1, "batch_size": 8}
    first = kfold_train_eval("mlp", dataset, tmp_path, **options)
    again = kfold_train_eval("mlp", dataset, tmp_path, **options)
    assert first == again and len(first["val_f1s"]) == 2 and np.isfinite(first["best_val_f1"])
    assert not first["ungrouped"]
    with pytest.raises(InputError, match="other windows"):
        kfold_train_eval("mlp", data_of(seed=1)[0], tmp_path, **options)


@pytest.mark.parametrize(("options", "message"), [
    ({"model_class": GRUClassifier}, "model_class is GRUClassifier"),
    ({"num_layers": 3}, "num_layers is 3"),
    ({"optimizer_kwargs": {"lr": 1e-3, "betas": (0.9, 0.99)}}, "not used: betas"),
    ({"scheduler_class": torch.optim.lr_scheduler.CosineAnnealingLR, "scheduler_kwargs": {"T_max": 7}}, "last epoch"),
    ({"loss_fn": torch.nn.MSELoss()}, "cross-entropy"),
    ({"optimizer_class": torch.optim.SGD}, "AdamW"),
    ({"depth": 3}, "no parameter depth"),
    ({"groups": ["a"]}, "1 groups for 9 windows"),
])
def test_what_would_be_passed_over_is_refused(tmp_path, options, message) -> None:
    with pytest.raises(InputError, match=message):
        kfold_train_eval("mlp", data_of()[0], tmp_path, epochs=2, sets=SETS, **options)
    assert not any(tmp_path.iterdir())
