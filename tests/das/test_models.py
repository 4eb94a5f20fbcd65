"""The networks: sizes as published, every setting with an effect, and one that knows no channel numbers."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.pipelines.das.models import build_model
from groundswell.pipelines.das.models.fibre_cnn import FibreCnn
from groundswell.pipelines.das.models.fibre_grid import at_reference_spacing, whole_steps
from groundswell.pipelines.das.models.lstm import LstmClassifier
from groundswell.pipelines.das.preprocess import Prepared
from groundswell.pipelines.das.recipe import DasModelRecipe

SEED_CHANNELS = 18958
SEED_NETWORKS = ("temporal_cnn", "lstm", "transformer")


def size(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("recipe", "channels", "samples", "parameters"), [
    (DasModelRecipe(type="temporal_cnn", hidden_dim=128, num_layers=4), SEED_CHANNELS, 2000, 8_628_738),
    (DasModelRecipe(type="temporal_cnn", hidden_dim=128, num_layers=4), 256, 2000, 6_234_882),
    (DasModelRecipe(type="lstm", hidden_dim=64, num_layers=1), SEED_CHANNELS, 2000, 2_460_418),
    (DasModelRecipe(type="transformer", hidden_dim=128, num_layers=4), SEED_CHANNELS, 2000, 3_492_738)])
def test_sizes_are_those_of_the_seed(recipe, channels, samples, parameters):
    assert size(build_model(recipe, channels, samples, 2)) == parameters


def test_fibre_cnn_is_small_whatever_the_cable():
    recipe = DasModelRecipe(type="fibre_cnn")
    assert size(build_model(recipe, 96, 256, 3)) == size(build_model(recipe, SEED_CHANNELS, 1024, 3)) < 150_000


@pytest.mark.parametrize("kind", SEED_NETWORKS)
@pytest.mark.parametrize("channels", [1, 3, 9])
def test_shapes_and_gradients(kind, channels):
    torch.manual_seed(0)
    network = build_model(DasModelRecipe(type=kind, hidden_dim=16, num_layers=2), channels, 64, 3)
    logits = network(torch.randn(5, channels, 64))
    assert logits.shape == (5, 3)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_bidirectional_has_an_effect():
    sizes = {both: size(build_model(DasModelRecipe(type="lstm", hidden_dim=8, num_layers=2, bidirectional=both),
                                    8, 32, 2)) for both in (True, False)}
    assert sizes[True] > 2 * sizes[False] - 100
    torch.manual_seed(0)
    x = torch.randn(1, 8, 32)
    changed = x.clone()
    changed[:, :, 0] += 5
    for both in (True, False):
        network = LstmClassifier(8, 2, width=8, layers=1, bidirectional=both, dropout=0.0).eval()
        # Only the direction that ends at the first sample still sees it clearly after 32 steps.
        moved = (network.lstm(x[:, :2].transpose(1, 2))[1] - network.lstm(changed[:, :2].transpose(1, 2))[1]).abs()
        assert moved[:, 8:].max() > 1e-2 if both else moved.max() < 1e-2


def test_lstm_averages_four_neighbours_and_keeps_the_rest():
    network = LstmClassifier(11, 2, width=8, layers=1, bidirectional=True, dropout=0.0).eval()
    assert network.groups == 2
    x = torch.randn(1, 11, 20)
    swapped = x[:, [3, 1, 2, 0, 10, 5, 6, 7, 8, 9, 4]]
    assert torch.allclose(network(x), network(swapped), atol=1e-6)
    assert not torch.allclose(network(x), network(x[:, [4, 1, 2, 3, 0, 5, 6, 7, 8, 9, 10]]), atol=1e-6)


@pytest.mark.parametrize("kind", [*SEED_NETWORKS, "fibre_cnn"])
def test_dropout_and_layers_have_an_effect(kind):
    def network(**changes):
        torch.manual_seed(0)
        recipe = DasModelRecipe(**{"type": kind, "hidden_dim": 32, "num_layers": 2, "heads": 4, **changes})
        return build_model(recipe, 8, 64, 2)

    assert size(network(num_layers=3)) > size(network())
    assert size(network(hidden_dim=64)) > size(network())
    window = window_of(torch.randn(4, 8, 64))
    given = (window, torch.ones(4)) if kind == "fibre_cnn" else (window.x_bct,)
    for dropout in (0.0, 0.5):
        dropping = network(dropout=dropout).train()
        answers = [dropping(*given) for _ in range(2)]
        assert torch.allclose(*answers) == (dropout == 0)


def test_too_short_windows_are_refused():
    with pytest.raises(InputError, match="num_layers"):
        build_model(DasModelRecipe(type="temporal_cnn", num_layers=7), 4, 64, 2)
    with pytest.raises(InputError, match="window_samples"):
        build_model(DasModelRecipe(type="fibre_cnn"), 4, 15, 2)


def test_importing_the_package_imports_no_torch():
    code = "import sys, groundswell.pipelines.das.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# fibre_cnn

def window_of(x_bct, alive_bc=None):
    alive_bc = torch.ones(x_bct.shape[:2], dtype=torch.bool) if alive_bc is None else alive_bc
    valid_bt = torch.ones(x_bct.shape[0], x_bct.shape[2], dtype=torch.bool)
    return Prepared(x_bct * alive_bc[:, :, None], alive_bc, valid_bt)


def fibre_cnn(seed=0):
    torch.manual_seed(seed)
    network = FibreCnn(128, 3, width=32, blocks=3, dropout=0.2)
    with torch.no_grad():  # normalisation that has seen something
        network(window_of(torch.randn(16, 20, 128)), torch.ones(16))
    return network.eval()


@pytest.mark.parametrize("channels", [1, 2, 5, 64, 201])
@pytest.mark.parametrize("stretch", [0.01, 0.5, 1.0, 1.5, 30.0])
def test_fibre_cnn_takes_any_cable(channels, stretch):
    logits = fibre_cnn()(window_of(torch.randn(2, channels, 128)), torch.full((2,), stretch))
    assert logits.shape == (2, 3) and logits.isfinite().all()


@settings(max_examples=15, deadline=None)
@given(channels=st.integers(1, 40), more=st.integers(1, 30), stretch=st.sampled_from([0.4, 1.0, 1.5, 2.0]),
       others=st.integers(1, 3))
def test_fibre_cnn_answers_for_each_window_alone(channels, more, stretch, others):
    """Neither the padding to a wider cable nor the rest of the batch changes an answer."""
    network = fibre_cnn()
    x = torch.randn(1, channels, 128, generator=torch.Generator().manual_seed(channels))
    wide = torch.zeros(1 + others, channels + more, 128)
    wide[1:] = torch.randn(others, channels + more, 128)
    wide[:1, :channels] = x
    alive = torch.ones(1 + others, channels + more, dtype=torch.bool)
    alive[0, channels:] = False
    spacing = torch.tensor([stretch] + [2.0] * others)
    with torch.no_grad():
        alone = network(window_of(x), spacing[:1])
        together = network(window_of(wide, alive), spacing)[:1]
    assert torch.allclose(alone, together, atol=1e-4)


def test_fibre_cnn_ignores_dead_channels():
    network = fibre_cnn()
    x, alive = torch.randn(2, 30, 128), torch.ones(2, 30, dtype=torch.bool)
    alive[:, [3, 17]] = False
    junk = x.clone()
    junk[:, [3, 17]] = 1e6
    with torch.no_grad():
        given, masked = network(window_of(x, alive), torch.ones(2)), network(window_of(junk, alive), torch.ones(2))
    assert torch.equal(given, masked)
    assert network(window_of(x, torch.zeros(2, 30, dtype=torch.bool)), torch.ones(2)).isfinite().all()


def test_fibre_cnn_knows_no_channel_number():
    """A wave in the middle of a long quiet cable is the same wave further along it."""
    network = fibre_cnn()
    x = torch.zeros(2, 96, 128)
    burst = torch.randn(8, 128)
    x[0, 32:40], x[1, 48:56] = burst, burst  # a shift by a whole number of the coarsest steps
    with torch.no_grad():
        first, second = network(window_of(x), torch.ones(2))
    assert torch.allclose(first, second, atol=1e-4)


@given(stretch=st.floats(1 / 200, 10))
def test_spacings_come_in_whole_steps(stretch):
    apart, every = (int(v[0]) for v in whole_steps(torch.tensor([stretch])))
    assert min(apart, every) == 1
    if stretch <= 8:
        claimed = apart / every
        assert 1 / 1.26 <= claimed / stretch <= 1.76
    if 0.81 < stretch < 1.24:
        assert apart == every == 1


@settings(max_examples=40, deadline=None)
@given(channels=st.integers(1, 30), stretch=st.sampled_from([0.25, 0.33, 0.5, 0.7, 1.0, 1.5, 2.0, 3.1]))
def test_channels_are_put_where_they_belong(channels, stretch):
    x = torch.arange(1.0, channels + 1)[None, :, None].expand(1, channels, 4)
    dead = torch.zeros(1, channels, dtype=torch.bool)
    placed, alive = at_reference_spacing(x, ~dead, torch.tensor([stretch]))
    apart, every = (int(v[0]) for v in whole_steps(torch.tensor([stretch])))
    assert torch.equal(placed[0, alive[0], 0], x[0, ::every, 0])
    assert torch.equal(alive[0].nonzero()[:, 0], torch.arange(int(alive.sum())) * apart)
    assert not placed[0, ~alive[0]].any()
    assert not at_reference_spacing(x, dead, torch.tensor([stretch]))[1].any()


def plane_waves(count, channels, spacing_m, seed, rate_hz=50.0, samples=128):
    """Bursts of equal spectrum in noise: steep (class 0, 5 km/s) or slow (class 1, 0.8 km/s) along the fibre."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % 2
    start = 0.8 + 0.3 * torch.rand(count, generator=draw)
    slowness = torch.where(label == 0, 1 / 5000, 1 / 800) * (torch.randint(0, 2, (count,), generator=draw) * 2 - 1)
    place = (torch.arange(channels) - channels / 2) * spacing_m
    delay = torch.arange(samples) / rate_hz - start[:, None, None] - (slowness[:, None] * place)[:, :, None]
    wave = torch.exp(-(delay / 0.25) ** 2) * torch.cos(2 * torch.pi * 5 * delay)
    return 3 * wave + torch.randn(count, channels, samples, generator=draw), label


def test_fibre_cnn_learns_velocities_that_hold_on_another_cable():
    """Nothing but the move-out tells the classes apart, and it is metres per second that count."""
    torch.manual_seed(3)
    network = FibreCnn(128, 2, width=32, blocks=2, dropout=0.1).train()
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    x, label = plane_waves(192, 48, 20.0, seed=1)
    for step in range(60):
        rows = torch.randperm(192, generator=torch.Generator().manual_seed(step))[:32]
        loss = torch.nn.functional.cross_entropy(network(window_of(x[rows]), torch.ones(32)), label[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    for channels, spacing_m in ((48, 20.0), (100, 10.0), (24, 40.0)):
        x, label = plane_waves(64, channels, spacing_m, seed=2)
        with torch.no_grad():
            answer = network(window_of(x), torch.full((64,), spacing_m / 20.0)).argmax(dim=1)
        assert (answer == label).float().mean() >= 0.9, (channels, spacing_m)
