"""The fast forms of the reference model are the plain one."""

from __future__ import annotations

import pytest
import torch
from reference_bags import noise_bags

from groundswell.pipelines.symae.models import fast as fast_forms
from groundswell.pipelines.symae.models.fast import CONVOLUTION, HALF, ROWS, SINGLE, FastSymVAE, Way, convolve
from groundswell.pipelines.symae.models.losses import Weights, elbo_terms
from groundswell.pipelines.symae.models.reference import DECODER, ENCODER, Convolution, SymVAE

EVERY_WAY = [Way(*ways) for ways in ((CONVOLUTION, CONVOLUTION, CONVOLUTION), (4, 4, 4), (1, 3, 24), (12, 16, 5),
                                     (ROWS, ROWS, ROWS))]


def pair(k: int = 1, nt: int = 192, **ways) -> tuple[SymVAE, FastSymVAE]:
    torch.manual_seed(0)
    plain, fast = SymVAE(nt=nt, k=k), FastSymVAE(nt=nt, k=k, **ways)
    torch.nn.init.normal_(plain.shift_net.layers[4].weight, std=0.02)
    fast.load_state_dict(plain.state_dict())
    return plain, fast


def loss_of(net: SymVAE, x: torch.Tensor, mask: torch.Tensor, half: bool = False) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        out = net(x, mask, torch.Generator().manual_seed(1))
    return elbo_terms(out, x, mask, net.prior_logits).loss(Weights())


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
@pytest.mark.parametrize("sizes", sorted({*ENCODER, *DECODER, (3, 2, 8)}), ids=str)
@pytest.mark.parametrize("pool", [1, 4])
def test_every_way_of_every_layer_gives_its_values_and_gradients(sizes, way, pool) -> None:
    torch.manual_seed(0)
    layer = Convolution(*sizes).double()
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(3, sizes[0], 48, dtype=torch.float64, requires_grad=True)
    wanted = torch.nn.functional.leaky_relu(layer(x), 0.1)
    wanted = torch.nn.functional.avg_pool1d(wanted, pool) if pool > 1 else wanted
    upstream = torch.randn_like(wanted)
    leaves = (x, layer.weight, layer.bias)
    found = convolve(x.transpose(1, 2), layer.weight, layer.bias, slope=0.1, pool=pool, way=way).transpose(1, 2)
    assert torch.allclose(found, wanted, atol=1e-10)
    for a, b in zip(torch.autograd.grad(found, leaves, upstream), torch.autograd.grad(wanted, leaves, upstream),
                    strict=True):
        assert torch.allclose(a, b, atol=1e-10)


@pytest.mark.parametrize(("k", "nt"), [(1, 192), (2, 192), (1, 208)])
@pytest.mark.parametrize("ways", [{}, {"ways": {}}, {"ways": HALF}, {"ways": SINGLE}], ids=("own", "none", "bf", "fp"))
def test_the_fast_model_has_the_plain_ones_loss_and_gradients(monkeypatch, k, nt, ways) -> None:
    monkeypatch.setattr(fast_forms, "TRACES", 13)
    # In double precision, for in single some of a million leaky ReLUs always fall on the other side of their bend.
    plain, fast = (net.double() for net in pair(k, nt, **ways))
    x, mask = noise_bags(4, 5, nt, sizes=(5, 3, 2))
    losses = [loss_of(net, x.double(), mask) for net in (plain, fast)]
    assert abs(losses[0] - losses[1]) <= 1e-12 * losses[0]
    for loss in losses:
        loss.backward()
    for (name, a), b in zip(plain.named_parameters(), fast.parameters(), strict=True):
        assert (a.grad - b.grad).norm() <= 1e-9 * a.grad.norm(), name


def test_in_single_precision_loss_and_gradients_agree_to_rounding() -> None:
    plain, fast = pair()
    x, mask = noise_bags(66, 5)  # more traces than are computed at a time
    losses = [loss_of(net, x, mask) for net in (plain, fast)]
    assert abs(losses[0] - losses[1]) <= 1e-6 * losses[0]
    for loss in losses:
        loss.backward()
    both = [torch.cat([p.grad.flatten() for p in net.parameters()]) for net in (plain, fast)]
    assert (both[0] - both[1]).norm() <= 1e-3 * both[0].norm()


def test_after_five_steps_the_weights_are_still_the_same() -> None:
    # Adam's first steps are signs of gradients, so that single precision can tell apart what is the same.
    x, mask = noise_bags(4, 6)
    found = []
    for net in pair():
        net = net.double()
        optimiser = torch.optim.Adam(net.parameters(), 1e-3)
        for _ in range(5):
            optimiser.zero_grad()
            loss = loss_of(net, x.double(), mask)
            loss.backward()
            optimiser.step()
        found.append((loss.item(), torch.cat([p.detach().flatten() for p in net.parameters()])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-9)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-8)


def test_in_half_precision_it_is_as_near_to_the_truth_as_the_plain_one() -> None:
    plain, fast = pair()
    x, mask = noise_bags(8, 10)
    with torch.no_grad():
        truth, rough, ours = loss_of(plain, x, mask), loss_of(plain, x, mask, True), loss_of(fast, x, mask, True)
    assert abs(ours - truth) <= max(2 * abs(rough - truth), 1e-4 * truth)
    loss_of(fast, x, mask, True).backward()
    assert all(p.grad.dtype == torch.float32 and bool(p.grad.isfinite().all()) for p in fast.parameters())


def test_weights_are_exchanged_freely() -> None:
    plain, fast = pair(2)
    assert list(plain.state_dict()) == list(fast.state_dict())
    x, mask = noise_bags()
    with torch.no_grad():
        assert torch.allclose(plain(x, mask).reconstruction, fast(x, mask).reconstruction, atol=1e-5)
