"""The reference model is the one that was specified."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference_bags import noise_bags
from torch.distributions import Independent, Normal, kl_divergence

from groundswell.core.errors import InputError
from groundswell.pipelines.symae.models.losses import Weights, coherence, elbo_terms
from groundswell.pipelines.symae.models.pooling import (
    Gaussian,
    bag_size_floor,
    kl_between,
    kl_from_standard,
    product_of_gaussians,
)
from groundswell.pipelines.symae.models.reference import PARAMETERS, SymVAE, padding
from groundswell.pipelines.symae.models.shift import advance, delay, to_samples


def model(k: int = 1, seed: int = 0, **sizes: int) -> SymVAE:
    torch.manual_seed(seed)
    made = SymVAE(k=k, **sizes)
    torch.nn.init.normal_(made.shift_net.layers[4].weight, std=0.02)  # so that shifts are not all 0
    return made


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(of: Gaussian) -> Independent:
    return Independent(Normal(of.mean, of.log_std.exp()), 1)


def test_it_has_199120_parameters_of_which_each_part_has_its_share() -> None:
    parts = SymVAE()
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.named_children()}
    assert sum(p.numel() for p in parts.parameters()) == PARAMETERS == 199_120
    assert (count["shift_net"], count["coherent"], count["nuisance"], count["decoder"]) == (74_305, 28_365, 28_365,
                                                                                           64_364)
    assert parts.log_variance.item() == 1.0


def test_a_shift_of_a_tenth_moves_an_impulse_from_100_to_90() -> None:
    impulse = torch.zeros(192)
    impulse[100] = 1
    assert int(advance(impulse, torch.tensor(0.1)).argmax()) == 90
    exact = advance(impulse, torch.tensor(10 / 96))
    assert float(exact[90]) == pytest.approx(1, abs=1e-5)
    assert float(to_samples(torch.tensor(0.1), 192)) == pytest.approx(9.6)
    assert int(advance(impulse, torch.tensor(-0.5)).argmax()) == 148  # half the window is 96 samples: v is half of it


@given(st.floats(-3, 3), st.integers(0, 1000))
def test_a_shift_can_be_undone_and_whole_samples_are_a_roll(shift, seed) -> None:
    x = torch.randn(192, generator=draw(seed), dtype=torch.float64)
    spectrum = torch.fft.rfft(x)
    spectrum[-1] = 0  # of the Nyquist frequency only the real part is kept
    x = torch.fft.irfft(spectrum, n=192)
    v = torch.tensor(shift, dtype=torch.float64)
    assert torch.allclose(delay(advance(x, v), v), x, atol=1e-9)
    whole = round(shift * 96)
    assert torch.allclose(advance(x, torch.tensor(whole / 96, dtype=torch.float64)), x.roll(-whole), atol=1e-9)


def test_the_shift_follows_the_formula_of_the_complex_spectrum() -> None:
    x, v = torch.randn(3, 192, generator=draw(0), dtype=torch.float64), torch.tensor([0.03, -0.2, 1.7]).double()
    index = torch.fft.fftfreq(192, 1 / 192, dtype=torch.float64)
    ramp = torch.exp(1j * torch.pi * index * v[:, None])
    assert torch.allclose(advance(x, v), torch.fft.ifft(torch.fft.fft(x) * ramp).real, atol=1e-12)


def test_pooling_is_the_product_of_densities_in_closed_form() -> None:
    mean, log_precision = torch.randn(2, 4, 3, dtype=torch.float64), torch.randn(2, 4, 3, dtype=torch.float64)
    found = product_of_gaussians(mean, log_precision, torch.ones(2, 4, dtype=torch.bool))
    at = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None, None]
    product = Normal(mean, (-0.5 * log_precision).exp()).log_prob(at[:, None]).sum(dim=2)
    constant = product - Normal(found.mean, found.log_std.exp()).log_prob(at)
    assert torch.allclose(constant, constant[:1].expand_as(constant), atol=1e-9)


def test_kl_agrees_with_torch_distributions() -> None:
    one, other = (Gaussian(torch.randn(5, 30, dtype=torch.float64), torch.randn(5, 30, dtype=torch.float64))
                  for _ in range(2))
    standard = Gaussian(torch.zeros(5, 30, dtype=torch.float64), torch.zeros(5, 30, dtype=torch.float64))
    assert torch.allclose(kl_between(one, other), kl_divergence(normal(one), normal(other)))
    assert torch.allclose(kl_from_standard(one), kl_divergence(normal(one), normal(standard)))


def test_a_bag_and_one_of_its_traces_are_as_far_apart_as_its_size_demands() -> None:
    assert [round(float(bag_size_floor(n, 30))) for n in (1, 60, 300)] == [0, 47, 71]
    mean, log_precision = torch.randn(1, 1, 30).expand(1, 60, 30), torch.full((1, 60, 30), 0.7)
    bag = product_of_gaussians(mean, log_precision, torch.ones(1, 60, dtype=torch.bool))
    single = Gaussian(mean[:, 0], -0.5 * log_precision[:, 0])
    assert float(kl_between(bag, single)) == pytest.approx(float(bag_size_floor(60, 30)), rel=1e-4)


@pytest.mark.parametrize("k", [1, 2])
def test_the_order_of_the_traces_does_not_matter(k) -> None:
    net, (x, mask) = model(k), noise_bags()
    order = torch.tensor([3, 1, 4, 0, 2])
    with torch.no_grad():
        a, b = net(x, mask), net(x[:, order], mask)
    assert (a.coherent.mean - b.coherent.mean).abs().max() < 1e-6
    assert (a.coherent.log_std - b.coherent.log_std).abs().max() < 1e-6
    assert torch.allclose(a.reconstruction[:, order], b.reconstruction, atol=1e-5)


@pytest.mark.parametrize("k", [1, 2])
def test_padding_changes_nothing(k) -> None:
    net, (x, mask) = model(k), noise_bags(3, 8, sizes=(8, 5, 2))
    with torch.no_grad():
        together = elbo_terms(net(x, mask), x, mask, net.prior_logits)
        for bag, size in enumerate((8, 5, 2)):
            alone_x, alone_mask = x[bag:bag + 1, :size], mask[bag:bag + 1, :size]
            alone = elbo_terms(net(alone_x, alone_mask), alone_x, alone_mask, net.prior_logits)
            for name in ("nll", "kl_coherent", "kl_nuisance", "kl_category", "coherence", "squared_error", "samples"):
                assert float(getattr(together, name)[bag]) == pytest.approx(float(getattr(alone, name)[0]), rel=1e-4)
    loud = x + 5.0 * (~mask)[..., None]
    with torch.no_grad():
        same = elbo_terms(net(loud, mask), loud, mask, net.prior_logits)
    assert torch.allclose(same.loss(Weights()), together.loss(Weights()), rtol=1e-5)


def test_weights_go_through_a_file_and_back(tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    net, (x, mask) = model(2), noise_bags()
    save_file(net.state_dict(), tmp_path / "weights.safetensors")
    other = model(2, seed=1)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        assert torch.equal(net(x, mask, draw(1)).reconstruction, other(x, mask, draw(1)).reconstruction)


def test_the_same_seed_gives_the_same_and_another_does_not() -> None:
    net, (x, mask) = model(2), noise_bags()
    with torch.no_grad():
        one, same, other, none = (net(x, mask, g).reconstruction for g in (draw(1), draw(1), draw(2), None))
        assert torch.equal(one, same) and not torch.equal(one, other)
        assert torch.equal(none, net(x, mask).reconstruction)
    assert torch.equal(model(seed=3).coherent.flat.weight, model(seed=3).coherent.flat.weight)


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_with_two_categories_each_trace_has_one_of_two_codes(temperature) -> None:
    net, (x, mask) = model(2), noise_bags(sizes=(5, 3))
    out = net(x, mask, draw(0), temperature)
    terms = elbo_terms(out, x, mask, net.prior_logits)
    terms.loss(Weights()).backward()
    assert out.coherent.mean.shape == (4, 60) and out.log_category.shape == (4, 5, 2)
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())
    assert bool((terms.kl_category > 0).all())
    with torch.no_grad():
        codes = net.encode(net(x, mask).aligned)
        pooled = codes.pooled(mask).mean
        each = net.chosen(pooled, codes.log_category)
        wanted = pooled.reshape(4, 2, 30)[torch.arange(4)[:, None], codes.log_category.argmax(-1)]
        assert torch.equal(each, wanted)
        cold = net.chosen(pooled, codes.log_category, draw(0), 1e-4)
        assert float((cold[:, :, None] - pooled.reshape(4, 1, 2, 30)).abs().amax(-1).amin(-1).max()) < 1e-3
        assert net.redatum(x[:2], x[2:], mask[:2]).shape == (2, 5, 192)


def test_redatuming_a_bag_to_its_own_paths_is_its_reconstruction() -> None:
    net, (x, mask) = model(), noise_bags()
    with torch.no_grad():
        assert torch.allclose(net.redatum(x, x, mask), net(x, mask).reconstruction, atol=1e-5)
        virtual = net.redatum(x[:1], x[1:2])
        apart = delay(net.decode(net.posterior(x[:1]).mean[:, None], net.nuisance_means(x[1:2])), net.shifts(x[1:2]))
        assert torch.allclose(virtual, apart, atol=1e-6)


def test_coherence_is_0_for_like_traces_and_1_for_unlike_ones_of_any_number() -> None:
    _, mask = noise_bags(200, 8)
    like = torch.randn(200, 1, 192, generator=draw(0)).expand(200, 8, 192)
    assert float(coherence(like, mask).abs().max()) < 1e-10
    unlike = torch.randn(200, 8, 192, generator=draw(1))
    for size in (2, 4, 8):
        few = mask.clone()
        few[:, size:] = False
        assert float(coherence(unlike, few).mean()) == pytest.approx(1, abs=0.02)


def test_the_loss_is_the_sum_that_the_reference_minimises() -> None:
    net, (x, mask) = model(), noise_bags()
    out = net(x, mask)
    v, y = out.shift, out.reconstruction
    nll = 0.5 * ((y - x) ** 2 * torch.exp(torch.tensor(-1.0)) + 1.0).sum()
    kl = kl_from_standard(out.coherent).sum() + kl_from_standard(out.nuisance).sum()
    wanted = nll + kl + 100 * v.square().sum().sqrt()
    terms = elbo_terms(out, x, mask, net.prior_logits)
    assert torch.allclose(4 * terms.loss(Weights(gamma=0.0)), wanted, rtol=1e-5)
    assert torch.allclose(terms.loss(Weights()) - terms.loss(Weights(gamma=0.0)), 100 * terms.coherence.mean(),
                          rtol=1e-3)


def test_unusable_bags_are_refused_in_one_sentence() -> None:
    net, (x, mask) = model(), noise_bags()
    with pytest.raises(InputError, match=r"at least two traces.*\[2\]"):
        single = mask.clone()
        single[2, 1:] = False
        net(x, single)
    for value in (torch.nan, torch.inf):
        bad = x.clone()
        bad[1, 2, 7] = value
        with pytest.raises(InputError, match=r"\[\[1, 2\]\]"):
            net(bad, mask)
    with pytest.raises(InputError, match="192"):
        net(x[..., :191], mask)
    with pytest.raises(InputError, match="multiple of 16"):
        SymVAE(nt=100)


def test_padding_of_even_kernels_keeps_the_length() -> None:
    assert padding(50) == (25, 24) and padding(20) == (10, 9) and padding(5) == (2, 2)
