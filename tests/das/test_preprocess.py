"""What happens to a window before the network sees it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import freqz

from groundswell.core.errors import InputError
from groundswell.pipelines.das import preprocess
from groundswell.pipelines.das.preprocess import Preprocess, crop, design_filter
from groundswell.pipelines.das.recipe import PreprocessRecipe

RATE_HZ, SAMPLES = 100.0, 256


def noise(batch=3, samples=SAMPLES, channels=8, seed=0):
    return torch.randn(batch, samples, channels, generator=torch.Generator().manual_seed(seed))


def prepared(x, **recipe):
    return Preprocess(PreprocessRecipe(**recipe), RATE_HZ, x.shape[1])(x)


def tone(hz, samples=SAMPLES, channels=4):
    t = torch.arange(samples) / RATE_HZ
    return torch.sin(2 * torch.pi * hz * t)[None, :, None].expand(1, samples, channels).contiguous()


def test_z_score_of_each_channel():
    x = noise() * torch.arange(1, 9) + 1000.0
    window = prepared(x, scaling="channel")
    expected = (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)
    assert window.x_bct.shape == (3, 8, SAMPLES)
    assert torch.allclose(window.x_bct, expected.transpose(1, 2), atol=2e-3)
    assert window.alive_bc.all() and window.valid_bt.all()


def test_scaling_of_the_window_keeps_amplitudes_along_the_fibre():
    gain = torch.tensor([1.0, 1, 1, 2, 1, 1, 5, 1])
    sizes = prepared(noise(1) * gain, scaling="window").x_bct.abs().mean(dim=2)[0]
    assert sizes[6] / sizes[0] == pytest.approx(5, rel=0.2)
    assert sizes.median() == pytest.approx(1, rel=1e-4)


def test_no_scaling_leaves_units():
    x = noise() * 37
    assert torch.allclose(prepared(x, scaling="none").x_bct, (x - x.mean(1, keepdim=True)).transpose(1, 2), atol=1e-3)


@pytest.mark.parametrize("scaling", ["channel", "window"])
@pytest.mark.parametrize("unit", [1e-15, 1e-9, 1.0, 1e12])
def test_the_unit_does_not_matter(scaling, unit):
    x = noise()
    assert torch.allclose(prepared(x * unit, scaling=scaling).x_bct, prepared(x, scaling=scaling).x_bct, atol=1e-4)


@pytest.mark.parametrize("recipe", [{"scaling": "channel"}, {"scaling": "window", "decimate": 2},
                                    {"scaling": "window", "bandpass_hz": (2.0, 20.0)}])
def test_padding_changes_nothing(recipe):
    """Padded channels never; padded time samples only within a filter's reach of the record's end."""
    x = noise(2)
    alone = prepared(x, **recipe)
    wide = torch.cat([x, torch.zeros(2, SAMPLES, 5)], dim=2)
    padded = prepared(wide, **recipe)
    assert torch.allclose(padded.x_bct[:, :8], alone.x_bct, atol=1e-5)
    assert not padded.x_bct[:, 8:].any() and not padded.alive_bc[:, 8:].any()


def test_padded_time_samples_are_not_part_of_the_scale():
    x = noise(2) + 500.0
    x[:, 150:] = 0
    window = prepared(x, scaling="channel")
    assert window.valid_bt.sum(dim=1).tolist() == [150, 150]
    assert not window.x_bct[:, :, 150:].any()
    assert torch.allclose(window.x_bct[:, :, :150].std(dim=2, correction=0), torch.ones(2, 8), atol=1e-3)


def test_padding_does_not_ring_through_the_filter():
    x = noise(1) + 500.0
    x[:, 150:] = 0
    sizes = prepared(x, scaling="none", decimate=2).x_bct.abs()
    assert sizes[:, :, 60:75].max() < 5


def test_dead_saturated_and_missing():
    x = noise(1)
    x[:, :, 1] = 0
    x[:, :, 2] = 1234.567
    x[:, :, 3] = torch.where(x[:, :, 3] > 0, 3000.0, -3000.0)
    x[:, 40, 4] = float("nan")
    x[:, 41, 5] = float("inf")
    for scaling in ("channel", "window", "none"):
        window = prepared(x, scaling=scaling)
        assert window.alive_bc[0].tolist() == [True, False, False, False, True, True, True, True]
        assert window.x_bct.isfinite().all()
        assert not window.x_bct[:, 1:4].any()


def test_all_dead_window_is_all_zero():
    window = prepared(torch.zeros(2, SAMPLES, 8), scaling="window", decimate=2)
    assert not window.x_bct.any() and not window.alive_bc.any() and not window.valid_bt.any()


def test_loud_and_dead_channels_do_not_set_the_scale():
    x = noise(1)
    quiet = prepared(x, scaling="window").x_bct[0, 0]
    x[:, :, 5:] *= 1000
    assert torch.allclose(prepared(x, scaling="window").x_bct[0, 0], quiet, rtol=0.3, atol=1e-3)


@pytest.mark.parametrize("recipe", [{}, {"scaling": "window", "decimate": 2, "average_channels": 3}])
def test_a_few_windows_at_a_time_is_the_same_as_all_at_once(monkeypatch, recipe):
    x = noise(batch=7) + 5.0
    x[2, :, 3], x[4, 200:] = 0.0, 0.0
    with torch.enable_grad():
        whole = prepared(x, **recipe)
    monkeypatch.setattr(preprocess, "PIECE_BYTES", 2 * 4 * x[0].numel())
    with torch.no_grad():
        assert [part.start for part in preprocess.pieces(x)] == [0, 2, 4, 6]
        parts = prepared(x, **recipe)
        assert prepared(x[:0], **recipe).x_bct.shape == (0, *whole.x_bct.shape[1:])
    assert torch.allclose(parts.x_bct, whole.x_bct, atol=1e-5)
    assert torch.equal(parts.alive_bc, whole.alive_bc) and torch.equal(parts.valid_bt, whole.valid_bt)


def test_int16_is_taken():
    x = (noise() * 1000).to(torch.int16)
    assert torch.allclose(prepared(x).x_bct, prepared(x.float()).x_bct)


@pytest.mark.parametrize("decimate", [2, 3, 4, 7])
def test_decimation_keeps_the_band_and_stops_aliases(decimate):
    kept_hz = RATE_HZ / 2 / decimate
    middle = slice(25, -25)
    for hz, stays in ((0.5 * kept_hz, True), (0.75 * kept_hz, True), (1.05 * kept_hz, False), (1.7 * kept_hz, False)):
        x = tone(hz, samples=1024)
        y = prepared(x, scaling="none", decimate=decimate).x_bct[0, 0]
        assert len(y) == -(-1024 // decimate)
        if stays:  # and not delayed: zero phase
            assert torch.allclose(y[middle], x[0, ::decimate, 0][middle], atol=0.02)
        else:
            assert y[middle].abs().max() < 0.01


def test_band_pass_is_zero_phase_and_stops_what_it_should():
    for hz, gain in ((10.0, 1.0), (0.5, 0.0), (40.0, 0.0)):
        x = tone(hz, samples=1024)
        y = prepared(x, scaling="none", bandpass_hz=(4.0, 20.0)).x_bct[0, 0]
        assert torch.allclose(y[200:-200], gain * x[0, 200:-200, 0], atol=0.02)


@settings(max_examples=30, deadline=None)
@given(decimate=st.integers(1, 9), low=st.floats(1.0, 3.0), high=st.floats(0.3, 0.95), banded=st.booleans())
def test_filters_are_symmetric_and_flat(decimate, low, high, banded):
    kept_hz = RATE_HZ / 2 / decimate
    band = (low, max(low + 1, high * kept_hz)) if banded else None
    if band and band[1] >= kept_hz:
        return
    taps = design_filter(PreprocessRecipe(decimate=decimate, bandpass_hz=band), RATE_HZ, 2048)
    assert len(taps) % 2 == 1 and np.allclose(taps, taps[::-1])
    hz, response = freqz(taps, worN=4096, fs=RATE_HZ)
    assert np.abs(response).max() < 1.02
    if decimate > 1:
        assert np.abs(response[hz > 1.02 * kept_hz]).max() < 3e-3
    if not banded:
        assert np.abs(np.abs(response[hz < 0.75 * kept_hz]) - 1).max() < 0.02


@settings(max_examples=25, deadline=None)
@given(samples=st.integers(128, 300), decimate=st.integers(1, 5), channels=st.integers(1, 9), seed=st.integers(0, 99))
def test_the_fast_filter_is_the_plain_convolution(samples, decimate, channels, seed):
    recipe = PreprocessRecipe(scaling="none", decimate=decimate)
    x = noise(2, samples, channels, seed)
    taps = torch.as_tensor(design_filter(recipe, RATE_HZ, samples), dtype=torch.float32)
    reach = len(taps) // 2
    centred = (x - x.mean(1, keepdim=True)).transpose(1, 2)
    plain = torch.nn.functional.conv1d(
        torch.nn.functional.pad(centred, (reach, reach), mode="reflect").flatten(0, 1)[:, None], taps[None, None],
        stride=decimate).reshape(2, channels, -1)
    found = Preprocess(recipe, RATE_HZ, samples)(x).x_bct
    assert found.shape == plain.shape
    assert torch.allclose(found, plain, atol=2e-5)


def test_averaging_of_channels_counts_the_living_only():
    x = noise(1, channels=7)
    x[:, :, 2] = 0
    window = prepared(x, scaling="none", average_channels=3)
    centred = x - x.mean(1, keepdim=True)
    assert window.x_bct.shape[1] == 2 and window.alive_bc.all()
    assert torch.allclose(window.x_bct[0, 0], centred[0, :, :2].mean(dim=1), atol=1e-5)
    assert torch.allclose(window.x_bct[0, 1], centred[0, :, 3:6].mean(dim=1), atol=1e-5)


@pytest.mark.parametrize(("recipe", "named"), [
    ({"bandpass_hz": (2.0, 50.0)}, "bandpass_hz"), ({"bandpass_hz": (2.0, 20.0), "decimate": 3}, "bandpass_hz"),
    ({"bandpass_hz": (0.1, 20.0)}, "bandpass_hz"), ({"decimate": 60}, "decimate")])
def test_what_cannot_work_is_refused(recipe, named):
    with pytest.raises(InputError, match=named):
        Preprocess(PreprocessRecipe(**recipe), RATE_HZ, SAMPLES)


def test_too_few_channels_to_average():
    with pytest.raises(InputError, match="average_channels"):
        Preprocess(PreprocessRecipe(average_channels=4), RATE_HZ, SAMPLES).channels_out(3)


def test_crop():
    x = torch.arange(2 * 10 * 1).reshape(2, 10, 1)
    assert torch.equal(crop(x, 4), x[:, 3:7])
    found = crop(x, 4, torch.tensor([0, 6]))
    assert torch.equal(found[0], x[0, :4]) and torch.equal(found[1], x[1, 6:])
