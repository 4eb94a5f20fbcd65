"""The improved model's task: it learns with and without labels, extracts up to what cannot be known, and is exact."""

from __future__ import annotations

import pytest
import torch
from source_bags import NT, simulated, small_task

from groundswell.core.errors import InputError
from groundswell.pipelines.symae.alignment.iccs import iccs
from groundswell.pipelines.symae.alignment.matched import matched
from groundswell.pipelines.symae.extraction import extract
from groundswell.pipelines.symae.models.source_losses import half_target
from groundswell.pipelines.symae.scoring import best_lag_correlation, shift_error
from groundswell.pipelines.symae.source_changes import Bags, fewer_traces, halves, other_noise, other_polarities


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_extraction_has_the_shapes_and_units_that_are_promised():
    batch = simulated(3, 6, sizes=(6, 4))
    task = small_task().eval()
    found = task.predict(batch)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "source": (3, NT), "spread": (3, NT), "shift_s": (3, 6), "flip": (3, 6), "aligned": (3, 6, NT), "settled": (3,)}
    assert torch.allclose(found["source"].std(-1, correction=0), torch.ones(3), atol=1e-4)
    assert found["source"].mean(-1).abs().max() < 1e-5
    assert found["spread"].min() > 0
    assert found["shift_s"].sum(1).abs().max() < 1e-4
    assert found["shift_s"][1, 4:].abs().max() == 0 and found["flip"][1, 4:].abs().max() == 0
    assert set(found["flip"][batch["mask"]].tolist()) <= {-1.0, 1.0} and found["flip"].sum(1).min() >= 0


@pytest.mark.parametrize("options", [{}, {"stack_only": True}, {"aligned": False}, {"realign": 0}, {"polarity": False}])
def test_the_order_of_traces_and_padding_have_no_say(options):
    batch, task = simulated(2, 6, world="noisy"), small_task(**options).eval()
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    longer = {"x": torch.cat([batch["x"][:, order], torch.zeros(2, 3, NT)], 1),
              "mask": torch.cat([batch["mask"], torch.zeros(2, 3, dtype=torch.bool)], 1)}
    one, other = task.predict(batch), task.predict(longer)
    assert torch.allclose(one["source"], other["source"], atol=2e-3)
    assert torch.allclose(one["shift_s"][:, order], other["shift_s"][:, :6], atol=2e-3)


def test_a_bag_upside_down_gives_the_same_source_up_to_its_sign():
    batch, task = simulated(3, 5), small_task().eval()
    one, other = task.predict(batch), task.predict(batch | {"x": -batch["x"]})
    assert best_lag_correlation(one["source"], other["source"], 20).correlation.min() > 0.9999
    assert torch.allclose(one["shift_s"], other["shift_s"], atol=1e-3)


@pytest.mark.parametrize("spoil", ["one trace", "length", "nan"])
def test_bags_that_say_nothing_are_refused(spoil):
    batch, task = simulated(2, 3), small_task().eval()
    if spoil == "one trace":
        batch["mask"][0, 1:] = False
    elif spoil == "length":
        batch["x"] = batch["x"][..., :100]
    else:
        batch["x"][1, 0, 5] = torch.nan
    for act in (lambda: task.predict(batch), lambda: task(batch), lambda: extract(task, batch["x"], batch["mask"])):
        with pytest.raises(InputError):
            act()


@pytest.mark.parametrize("labelled", [1.0, 0.0])
def test_the_loss_falls_with_and_without_labels(labelled):
    batch = simulated(8, 8, world="noisy", labelled=labelled)
    task = small_task(realigned=0.0, augment=False)
    torch.nn.init.zeros_(task.network.out.weight)
    optimizer = torch.optim.AdamW(task.parameters(), 5e-3)
    names = ("source", "path", "correlation") if labelled else ("half", "path_surprise", "half_correlation")
    before = task.eval().metrics(task(batch)[1])
    task.train()
    for step in range(30):
        loss, _ = task(batch, seeded(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = task.eval().metrics(task(batch)[1])
    assert after["loss"] < before["loss"] - 0.05
    assert after[names[0]] < before[names[0]] and after[names[1]] < before[names[1]]
    assert after[names[2]] > before[names[2]]


def test_the_path_network_does_not_move_the_source_network():
    task = small_task(path_weight=1.0)
    grads = []
    for weight in (0.0, 1.0):
        task.path_weight = weight
        task.zero_grad()
        task(simulated(3, 5), seeded())[0].backward()
        grads.append([p.grad.clone() for p in task.network.parameters()])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*grads, strict=True))


def test_without_labels_the_truth_is_not_read():
    batch, task = simulated(4, 6), small_task()
    batch["labelled"] = torch.zeros(4)
    spoilt = batch | {"source": torch.randn(4, NT), "clean": torch.randn(4, 6, NT), "flip": torch.zeros(4, 6)}
    bare = {name: batch[name] for name in ("x", "mask", "weight")}
    losses = [task(one, seeded())[0].item() for one in (batch, spoilt, bare)]
    assert losses[0] == losses[1] == losses[2]


def test_bags_that_only_fill_a_batch_do_not_count():
    batch, task = simulated(4, 5, labelled=1.0), small_task().eval()
    batch["labelled"] = torch.tensor([1.0, 0.0, 1.0, 0.0])
    one = {name: value[:2] for name, value in batch.items()}
    batch["weight"] = torch.tensor([1.0, 1.0, 0.0, 0.0])
    (first, sums), (second, others) = task(one), task(batch)
    assert first.item() == pytest.approx(second.item(), abs=1e-5)
    assert all(sums[name].item() == pytest.approx(others[name].item(), abs=1e-4) for name in sums)
    batch["weight"] = torch.zeros(4)
    assert task(batch)[0].item() == 0


def test_sums_of_two_batches_are_those_of_both():
    batch, task = simulated(4, 5), small_task().eval()
    parts = [task({name: value[i:i + 2] for name, value in batch.items()})[1] for i in (0, 2)]
    whole = task(batch)[1]
    assert all((parts[0][n] + parts[1][n]).item() == pytest.approx(whole[n].item(), abs=1e-4) for n in whole)


def test_a_step_depends_on_weights_batch_and_generator_alone():
    batch = simulated(4, 6)
    task, resumed = small_task(), small_task()
    for step in range(3):  # what came before leaves no trace
        task(simulated(3, 4, seed=step + 1), seeded(step))
    resumed.load_state_dict(task.state_dict())
    assert task(batch, seeded(9))[0].item() == resumed(batch, seeded(9))[0].item()
    assert task(batch, seeded(9))[0].item() != resumed(batch, seeded(10))[0].item()


def test_training_changes_bags_as_it_says():
    bags = Bags.of(simulated(6, 9, sizes=(9, 5)))
    fewer = fewer_traces(bags, 3, seeded(4))
    assert 3 <= fewer.x.shape[1] <= 9 and fewer.mask.sum(1).min() >= 3
    assert fewer.x[~fewer.mask].abs().sum() == 0
    turned = other_polarities(bags, seeded(1), traces=True)
    sign = (turned.x * bags.x).sum(-1).sign()[bags.mask]
    assert set(sign.tolist()) == {-1.0, 1.0} and torch.equal(turned.x.abs(), bags.x.abs())
    noisy = other_noise(bags, seeded(2))
    assert not torch.allclose(noisy.x, bags.x)
    assert torch.allclose(noisy.x[bags.mask].std(-1, correction=0), torch.ones(int(bags.mask.sum())), atol=1e-3)
    alike = torch.nn.functional.cosine_similarity(noisy.clean, bags.clean, dim=-1)[bags.mask]
    assert alike.min() > 0.999
    one, other = halves(bags.mask, seeded(3))
    assert torch.equal(one ^ other, bags.mask) and not (one & other).any()
    assert one.sum(1).tolist() == [4, 2, 4, 4, 4, 4]


def test_the_other_half_has_the_sources_unit():
    batch = simulated(16, 20, world="noisy")
    aligned = iccs(batch["x"], batch["mask"], dt=0.5)
    _, half = halves(batch["mask"], None)
    target = half_target(aligned.x, batch["mask"], half)
    power = target.wave.square().mean(-1)
    assert torch.allclose((power - target.variance.mean(-1)).median(), torch.tensor(1.0), atol=0.15)


def test_a_known_source_aligns_better_than_the_stack_and_keeps_traces_upright():
    batch = simulated(20, 10, world="hard")
    stacked = iccs(batch["x"], batch["mask"], dt=0.5)
    known = matched(batch["x"], batch["mask"], batch["source"], dt=0.5)
    before, after = (shift_error(found.shift_s / 0.5, batch["shift"], batch["mask"]).median()
                     for found in (stacked, known))
    assert after < 0.7 * before
    assert (known.flip == batch["flip"]).float().mean() > 0.95 > (stacked.flip == batch["flip"]).float().mean()


@pytest.mark.parametrize("world", ["easy_flips", "easy"])
def test_shifts_and_polarities_are_found(world):
    batch, task = simulated(6, 10, world=world), small_task().eval()
    torch.nn.init.zeros_(task.network.out.weight)
    found = task.predict(batch)
    assert shift_error(found["shift_s"] / 0.5, batch["shift"], batch["mask"]).median() < 0.4
    agree = (found["flip"] == batch["flip"]).float().mean(1)
    assert torch.maximum(agree, 1 - agree).mean() > 0.95
    assert best_lag_correlation(found["source"], batch["source"], 40).correlation.median() > 0.9
