"""The reference's way to coherent signals: ranking, descent that never rises, and convergence that is said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference_bags import noise_bags
from torch import Tensor

from groundswell.pipelines.symae.coherent import descend, get_coherent_information
from groundswell.pipelines.symae.models.pooling import bag_size_floor, kl_between
from groundswell.pipelines.symae.models.reference import SymVAE


def bowl(z: Tensor) -> tuple[Tensor, Tensor]:
    """Convex: the distance of each code from a point of its own, and nothing of spikes."""
    return 1 + (z - torch.arange(4.0)).square().sum(-1), torch.ones(())


@pytest.mark.parametrize("rate", [2.0, 50.0])
def test_on_a_convex_bowl_no_divergence_ever_rises(rate: float) -> None:
    found = descend(bowl, torch.zeros(3, 4), steps=200, rate=rate, alpha=0.0)
    assert (np.diff(found.objective) <= 0).all()
    assert (np.diff(found.kl, axis=0) <= 1e-6).all()
    np.testing.assert_allclose(found.kl[-1], 1, atol=1e-3)
    assert found.converged and "has converged" in found.verdict


def test_a_descent_that_still_falls_is_said_to_and_numbers_are_told() -> None:
    found = descend(bowl, torch.zeros(3, 4), steps=20, rate=1e-3, alpha=0.0)
    assert not found.converged and "still falling and has not converged" in found.verdict
    assert "In 20 steps" in found.verdict and "15.0" in found.verdict


def test_no_step_is_no_convergence() -> None:
    found = descend(bowl, torch.zeros(3, 4), steps=0, rate=0.1, alpha=0.0)
    assert not found.converged and found.verdict == "No step was taken." and len(found.objective) == 1


def test_adam_gives_back_the_best_codes_of_its_way() -> None:
    found = descend(bowl, torch.zeros(2, 4), steps=60, rate=1.0, alpha=0.0, optimiser="adam")
    assert float(bowl(found.codes)[0].sum()) == pytest.approx(found.objective.min() * found.kl[0].sum(), rel=1e-5)
    assert found.objective.min() < 0.2


def test_the_term_for_few_spikes_is_weighed_with_alpha() -> None:
    def told(z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones(len(z)), z.abs().sum()

    start = torch.ones(2, 3)
    assert descend(told, start, steps=5, rate=0.1, alpha=0.1).objective[0] == pytest.approx(1.1)
    assert float(descend(told, start, steps=5, rate=0.1, alpha=0.0).codes.sub(start).abs().max()) == 0
    assert float(descend(told, start, steps=5, rate=0.1, alpha=1.0).codes.max()) < 1


@pytest.fixture(scope="module")
def network() -> SymVAE:
    torch.manual_seed(0)
    return SymVAE(64, 6, 5).eval()


@pytest.fixture(scope="module")
def bags() -> list[Tensor]:
    x, _ = noise_bags(2, 9, 64)
    return [x[0, :5], x[1]]


def test_ideal_seismograms_are_those_of_the_smallest_divergence_from_the_largest_bag(
        network: SymVAE, bags: list[Tensor]) -> None:
    found = get_coherent_information(network, bags, N=4, nepochs=3)
    assert found.target == 1
    with torch.no_grad():
        wanted = network.posterior(bags[1][None])
        for bag, ranking in zip(bags, found.ranking, strict=True):
            made = network.decode(wanted.mean, network.nuisance_means(bag[None])[0])
            made = made - made.mean(-1, keepdim=True)
            single = network.posterior(made[:, None], align=False)
            np.testing.assert_allclose(ranking, kl_between(wanted, single).numpy(), rtol=1e-4)
    every = sorted(np.concatenate(found.ranking))
    chosen = [found.ranking[b][t] for b, t in found.chosen]
    np.testing.assert_allclose(chosen, every[:4])
    np.testing.assert_allclose(found.descent.kl[0], chosen, rtol=1e-4)
    np.testing.assert_allclose(found.ideal[0], bags[found.chosen[0][0]][found.chosen[0][1]].numpy(), atol=1e-6)


def test_shapes_floors_and_means_are_as_promised(network: SymVAE, bags: list[Tensor]) -> None:
    found = get_coherent_information(network, bags, N=4, nepochs=3)
    assert [made.shape for made in found.virtual] == [(4, 64)] * 2 and found.descent.kl.shape == (4, 4)
    assert all(abs(made.mean(-1)).max() < 1e-5 for made in found.virtual)
    assert all((spread > 0).all() for spread in found.spread)
    assert found.floor == pytest.approx(float(bag_size_floor(9, 6)))
    assert (np.diff(found.descent.objective) <= 0).all()


def test_fewer_traces_than_wanted_give_fewer_ideal_seismograms(network: SymVAE, bags: list[Tensor]) -> None:
    assert len(get_coherent_information(network, [bags[0]], N=10, nepochs=1).chosen) == 5


def test_the_network_is_frozen_and_the_answer_is_the_same_each_time(network: SymVAE, bags: list[Tensor]) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    one, other = (get_coherent_information(network, bags, N=3, nepochs=4) for _ in range(2))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    np.testing.assert_array_equal(one.spread[0], other.spread[0])
    np.testing.assert_array_equal(one.descent.kl, other.descent.kl)


def test_several_categories_keep_those_of_the_ideal_seismograms(bags: list[Tensor]) -> None:
    torch.manual_seed(1)
    found = get_coherent_information(SymVAE(64, 4, 3, 2).eval(), bags, N=3, nepochs=2)
    assert found.virtual[0].shape == (3, 64) and np.isfinite(found.information).all()
