"""The pooled source network: any number of traces in any order, padding that changes nothing, a sign that follows."""

from __future__ import annotations

import pytest
import torch
from reference_bags import noise_bags

from groundswell.core.errors import InputError
from groundswell.pipelines.symae.models.source import SourceNetwork

KINDS = {"weighted": {}, "mean": {"pooling": "mean"}, "stack_only": {"stack_only": True}}


def network(**options):
    torch.manual_seed(0)
    made = SourceNetwork(192, widths=(6, 8, 8), trace_widths=(4, 6), **options)
    torch.nn.init.normal_(made.out.weight, std=0.1)
    return made.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_traces_has_no_say(kind):
    x, mask = noise_bags(3, 7, sizes=(7, 4))
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    one, other = network(**KINDS[kind])(x, mask), network(**KINDS[kind])(x[:, order], mask[:, order])
    assert torch.allclose(one.mean, other.mean, atol=1e-5)
    assert torch.allclose(one.log_variance, other.log_variance, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing_whatever_it_holds(kind):
    x, mask = noise_bags(3, 4)
    longer = torch.cat([x, torch.full((3, 5, 192), 7.0)], 1)
    padded = torch.cat([mask, torch.zeros(3, 5, dtype=torch.bool)], 1)
    one, other = network(**KINDS[kind])(x, mask), network(**KINDS[kind])(longer, padded)
    assert torch.allclose(one.mean, other.mean, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_bags_do_not_meet(kind):
    x, mask = noise_bags(4, 5)
    made = network(**KINDS[kind])
    assert torch.allclose(made(x, mask).mean[:1], made(x[:1], mask[:1]).mean, atol=1e-5)


def test_a_bag_upside_down_has_its_source_upside_down():
    x, mask = noise_bags(3, 5)
    made = network()
    one, other = made(x, mask), made(-x, mask)
    assert torch.allclose(one.mean, -other.mean, atol=1e-6)
    assert torch.allclose(one.log_variance, other.log_variance, atol=1e-6)
    assert one.mean.abs().max() > 0.1


def test_the_unit_of_the_traces_does_not_matter():
    x, mask = noise_bags(3, 5)
    made = network(stack_only=True)
    assert torch.allclose(made(x, mask).mean, made(30 * x, mask).mean, atol=1e-4)


def test_only_the_stack_reaches_the_control():
    x, mask = noise_bags(2, 4)
    mean = x.mean(1, keepdim=True).expand_as(x)
    control, whole = network(stack_only=True), network()
    assert torch.allclose(control(x, mask).mean, control(mean, mask).mean, atol=1e-5)
    assert not torch.allclose(whole(x, mask).mean, whole(mean, mask).mean, atol=1e-3)


def test_sources_have_no_offset_and_before_training_are_the_stack():
    x, mask = noise_bags(2, 5)
    made = SourceNetwork(192, pooling="mean").eval()
    mean = made(x, mask).mean
    stack = x.mean(1) - x.mean(1).mean(-1, keepdim=True)
    assert mean.mean(-1).abs().max() < 1e-6
    assert torch.nn.functional.cosine_similarity(mean, stack).min() > 0.9999


def test_lengths_that_cannot_be_halved_are_refused():
    with pytest.raises(InputError, match="halved"):
        SourceNetwork(190, widths=(4, 4, 4))
    with pytest.raises(InputError, match="scales"):
        SourceNetwork(192, widths=(4, 4), trace_widths=(4, 4))
