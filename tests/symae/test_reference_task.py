"""The reference model as a task: its loss, its history, its stages, what it predicts."""

from __future__ import annotations

import csv
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from reference_bags import noise_bags

from groundswell.core.errors import InputError
from groundswell.data.arrays import ArraySource
from groundswell.data.loader import Loader
from groundswell.data.order import Order
from groundswell.pipelines.symae.alignment.stacks import envelope
from groundswell.pipelines.symae.models.fast import FastSymVAE
from groundswell.pipelines.symae.models.reference import SymVAE
from groundswell.pipelines.symae.reference_task import ReferenceTask, take_traces
from groundswell.train.fit import fit, load_best
from groundswell.train.recipe import Stage, TrainRecipe
from groundswell.train.setup import Setup

HISTORY = {"loss", "mse", "nll", "kl_coherent", "kl_nuisance", "kl_category", "coherence", "shift_rms", "log_variance",
           "negative_elbo"}


def batch_of(x: torch.Tensor, mask: torch.Tensor, weight: tuple[float, ...] = ()) -> dict[str, torch.Tensor]:
    return {"x": x, "mask": mask, "row": torch.arange(len(x)),
            "weight": torch.tensor(weight) if weight else torch.ones(len(x))}


def task(**changes) -> ReferenceTask:
    torch.manual_seed(0)
    made = ReferenceTask(**changes)
    torch.nn.init.normal_(made.network.shift_net.layers[4].weight, std=0.02)
    return made


@dataclass(frozen=True)
class BagSetup:
    recipe: TrainRecipe

    def __call__(self, rank, world, device):
        loaders = []
        for bags, seed, shuffle in ((12, 0, True), (6, 1, False)):
            x, mask = noise_bags(bags, 6, seed=seed, sizes=(6, 4))
            order = Order(np.arange(bags), self.recipe.batch_size, 0, shuffle)
            source = ArraySource({"x": x.numpy(), "mask": mask.numpy()})
            loaders.append(Loader(source, order, {}, device=device, threads=1))
        return Setup(ReferenceTask(traces=4), *loaders)


def test_it_learns_in_stages_and_keeps_the_history_of_every_term(tmp_path) -> None:
    stages = (Stage(epochs=8, learning_rate=1e-3, decay=0.99), Stage(epochs=1, learning_rate=1e-4, decay=0.99))
    recipe = TrainRecipe(epochs=9, batch_size=4, scheduler="stages", stages=stages, weight_decay=0.0, clip_norm=0.0,
                         monitor="val_loss", accelerator="cpu", threads=1, tensorboard=False)
    result = fit(BagSetup(recipe), recipe, tmp_path, quiet=True)
    with open(tmp_path / "logs" / "epochs.csv") as file:
        log = list(csv.DictReader(file))
    assert {f"{part}_{name}" for part in ("train", "val") for name in HISTORY} <= set(log[0])
    assert float(log[-1]["train_loss"]) < float(log[0]["train_loss"])
    assert all(np.isfinite(float(value)) for row in log for value in row.values())
    other = ReferenceTask(traces=4, fast=False)
    load_best(other, tmp_path)  # the plain form takes the fast one's weights
    assert result.best_epoch > 0


def test_temperatures_follow_the_stages() -> None:
    made = ReferenceTask()
    found = []
    for number in range(5):
        made.stage(number)
        found.append(made.temperature)
    assert found == [1.0, 1.0, 0.25, 0.25, 0.25]


@pytest.mark.parametrize("k", [1, 2])
def test_plain_and_fast_give_the_same_loss_and_predictions(k) -> None:
    x, mask = noise_bags(sizes=(5, 3))
    plain, fast = task(k=k, fast=False), task(k=k)
    fast.load_state_dict(plain.state_dict())
    assert type(plain.network) is SymVAE and type(fast.network) is FastSymVAE
    batch = batch_of(x, mask)
    with torch.no_grad():
        for generator in (None, 3):
            a, b = (made(batch, None if generator is None else torch.Generator().manual_seed(generator))[0]
                    for made in (plain, fast))
            assert a == pytest.approx(float(b), rel=1e-5)
        for name, value in plain.predict(batch).items():
            assert torch.allclose(value, fast.predict(batch)[name], atol=1e-4), name


def test_filling_changes_neither_loss_nor_metrics() -> None:
    x, mask = noise_bags(4)
    made = task()
    with torch.no_grad():
        loss, sums = made(batch_of(x[:3], mask[:3]))
        filled, filled_sums = made(batch_of(x, mask, (1.0, 1.0, 1.0, 0.0)))
        nothing, _ = made(batch_of(x, mask, (0.0,) * 4))
    assert loss == pytest.approx(float(filled), rel=1e-6) and float(nothing) == 0
    assert made.metrics(sums) == pytest.approx(made.metrics(filled_sums), rel=1e-5)


def test_validation_sees_as_many_traces_of_every_bag() -> None:
    x, mask = noise_bags(3, 9, sizes=(9, 7, 3))
    few, few_mask = take_traces(x, mask, 4, None)
    assert torch.equal(few, x[:, :4]) and few_mask.sum(1).tolist() == [4, 4, 3]
    drawn, drawn_mask = take_traces(x, mask, 4, torch.Generator().manual_seed(0))
    assert drawn_mask.sum(1).tolist() == [4, 4, 3] and not torch.equal(drawn, few)
    for bag in range(3):
        rows = [int((x[bag] == trace).all(-1).nonzero()[0]) for trace in drawn[bag][drawn_mask[bag]]]
        assert len(set(rows)) == len(rows) and bool(mask[bag, rows].all())
    with torch.no_grad():
        made = task(traces=4)
        a = made.metrics(made.eval()(batch_of(x[:2], mask[:2]))[1])
        b = made.metrics(made(batch_of(x[:2, :4], mask[:2, :4]))[1])
    assert a == pytest.approx(b, rel=1e-6)


def test_it_predicts_a_source_with_a_spread_and_shifts_of_padding_bags() -> None:
    x, mask = noise_bags(sizes=(5, 2))
    made = task(dt=0.5).eval()
    with torch.no_grad():
        found = made.predict(batch_of(x, mask))
        again = made.predict(batch_of(x, mask))
        v = made.network.shifts(x)
    assert all(torch.equal(found[name], again[name]) for name in found)
    assert torch.allclose(found["source"].std(-1, correction=0), torch.ones(4), atol=1e-4)
    assert bool((found["spread"] > 0).all()) and torch.equal(found["flip"], mask.float())
    assert torch.allclose(found["shift_s"][2], 48 * (v[2] - v[2].mean()), atol=1e-5)  # v of 1 is 96 samples of 0.5 s
    assert not bool(found["shift_s"][1, 2:].any()) and not bool(found["aligned"][1, 2:].any())


def test_envelopes_are_what_is_learnt_from_if_asked() -> None:
    x, mask = noise_bags(sizes=(5, 3))
    made = task(envelopes=True)
    found = made.prepared(x, mask)
    wanted = envelope(x[0, 0])
    assert torch.allclose(found[0, 0], (wanted - wanted.mean()) / wanted.std(correction=0), atol=1e-5)
    assert not bool(found[1, 3:].any())
    loss, _ = made(batch_of(x, mask), torch.Generator().manual_seed(0))
    loss.backward()
    bad = x.clone()
    bad[0, 1, 5] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        made(batch_of(bad, mask))


def test_half_precision_leaves_the_loss_in_single() -> None:
    x, mask = noise_bags()
    made = task()
    with torch.autocast("cpu", torch.bfloat16):
        loss, sums = made(batch_of(x, mask), torch.Generator().manual_seed(0))
        shift = made.network.shifts(x)
    exact, _ = made(batch_of(x, mask), torch.Generator().manual_seed(0))
    assert loss.dtype == shift.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=2e-3)
    assert torch.equal(shift, made.network.shifts(x))
    assert all(value.dtype == torch.float64 for value in sums.values())


def test_bags_of_one_are_refused() -> None:
    x, mask = noise_bags(sizes=(1,))
    with pytest.raises(InputError, match="at least two traces"):
        task()(batch_of(x, mask))
    with pytest.raises(InputError, match="two traces"):
        ReferenceTask(traces=1)
