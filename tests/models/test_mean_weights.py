"""The running mean of weights: what it remembers, and that it goes on from a checkpoint."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from groundswell.models.mean_weights import MeanWeights


def network(value=0.0):
    found = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    nn.init.constant_(found[0].weight, value)
    return found


def weight(mean):
    return mean.network[0].weight.item()


def test_the_first_update_is_the_network_itself():
    mean = MeanWeights(network(5.0), 0.999)
    mean.update(network(2.0))
    assert weight(mean) == 2.0


def test_each_update_moves_by_what_is_not_remembered():
    mean, expected = MeanWeights(network(), 0.9, ramp=10), 0.0
    for number in range(200):
        mean.update(network(float(number)))
        keep = min(0.9, number / (number + 10))
        expected = keep * expected + (1 - keep) * number
    assert weight(mean) == pytest.approx(expected, rel=1e-5)
    assert weight(mean) == pytest.approx(199 - 9, abs=0.01)  # a lag of 1 / (1 - decay) - 1 updates


def test_a_short_run_remembers_its_last_tenth():
    mean = MeanWeights(network(), 0.9999)
    for number in range(300):
        mean.update(network(float(number)))
    assert 250 < weight(mean) < 285


def test_statistics_move_too_and_counters_are_copied():
    followed = network(1.0)
    mean = MeanWeights(followed, 0.5, ramp=0.5)
    for _ in range(3):
        followed.train()(torch.randn(8, 1) * 3 + 7)
        mean.update(followed)
    assert mean.network[1].num_batches_tracked.item() == 3
    assert 0 < mean.network[1].running_mean.item() < followed[1].running_mean.item()


def test_it_is_never_in_training_and_asks_for_no_gradients():
    mean = MeanWeights(network(), 0.9).train()
    assert not mean.training and not mean.network[1].training
    assert not any(p.requires_grad for p in mean.parameters())
    followed = network(1.0)
    mean.update(followed)
    with torch.no_grad():
        followed[0].weight.fill_(9.0)
    assert weight(mean) == 1.0  # a copy, not the same memory


def test_it_goes_on_from_a_state_dict_as_if_there_had_been_no_break():
    straight, broken = MeanWeights(network(), 0.99), MeanWeights(network(), 0.99)
    for number in range(6):
        straight.update(network(float(number)))
        broken.update(network(float(number)))
        fresh = MeanWeights(network(33.0), 0.99)
        fresh.load_state_dict(broken.state_dict())
        broken = fresh
    assert torch.equal(straight.network[0].weight, broken.network[0].weight)
    assert int(broken.updates) == 6
