"""The path network: no code gives the source back, codes undo convolutions, centred codes have no mean over a bag."""

from __future__ import annotations

import pytest
import torch
from source_bags import NT, simulated

from groundswell.core.errors import InputError
from groundswell.pipelines.symae.models.path import PathNetwork


def made(**options):
    torch.manual_seed(0)
    return PathNetwork(NT, **{"q": 12, **options}).eval()


def on_paths(path, source, codes, amplitude=1.0):
    return amplitude * path.decode(source, codes)


@pytest.fixture
def source():
    return simulated(3, 2)["source"]


def test_no_code_gives_the_source_back(source):
    decoded = made().decode(source, torch.zeros(3, 4, 12))
    assert torch.equal(decoded, source[:, None].expand(3, 4, NT))


def test_traces_are_the_source_convolved_with_the_response(source):
    path = made(before=4)
    codes = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(1))
    response = path.responses(codes)
    full = torch.fft.irfft(torch.fft.rfft(source[:, None].double(), 512) * torch.fft.rfft(response.double(), 512), 512)
    assert torch.allclose(path.decode(source, codes).double(), full[..., 4:4 + NT], atol=1e-4)


def test_codes_of_traces_without_noise_are_found_again(source):
    path = made()
    torch.nn.init.constant_(path.hold[2].bias, -7.0)
    with torch.no_grad():
        codes = 0.5 * torch.randn(3, 6, 12, generator=torch.Generator().manual_seed(2))
        traces = on_paths(path, source, codes, 0.7)
        found = path(traces, torch.ones(3, 6, dtype=torch.bool), source)
        again = path.decode(source, found.code)
    assert torch.allclose(found.amplitude, torch.full((3, 6), 0.7), atol=0.07)
    assert ((again - traces / 0.7).square().mean() / (traces / 0.7).square().mean()) < 0.02


def test_a_code_carries_the_path_to_another_source(source):
    path = made()
    torch.nn.init.constant_(path.hold[2].bias, -7.0)
    with torch.no_grad():
        codes = 0.5 * torch.randn(3, 6, 12, generator=torch.Generator().manual_seed(3))
        found = path(on_paths(path, source, codes), torch.ones(3, 6, dtype=torch.bool), source).code
        other = source.roll(1, 0)
        true, virtual = path.decode(other, codes), path.decode(other, found)
    assert (virtual - true).square().mean() < 0.2 * (other[:, None] - true).square().mean()


def test_what_a_bag_has_in_common_is_in_no_centred_code():
    batch = simulated(3, 6, sizes=(6, 4))
    found = made(centred=True)(batch["x"], batch["mask"], batch["source"])
    assert found.code.sum(1).abs().max() < 1e-4
    assert found.code[1, 4:].abs().max() == 0
    assert found.amplitude[1, 4:].abs().max() == 0
    assert made()(batch["x"], batch["mask"], batch["source"]).code.sum(1).abs().max() > 0.1


def test_padding_and_order_change_no_code():
    batch = simulated(2, 6)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    path = made()
    one = path(batch["x"], batch["mask"], batch["source"]).code
    other = path(batch["x"][:, order], batch["mask"][:, order], batch["source"]).code
    longer = torch.cat([batch["x"], torch.zeros(2, 2, NT)], 1)
    padded = path(longer, torch.cat([batch["mask"], torch.zeros(2, 2, dtype=torch.bool)], 1), batch["source"]).code
    assert torch.allclose(one[:, order], other, atol=1e-4)
    assert torch.allclose(one, padded[:, :6], atol=1e-4)


def test_louder_traces_have_the_same_codes(source):
    path = made()
    with torch.no_grad():
        traces = path.decode(source, 0.3 * torch.randn(3, 4, 12, generator=torch.Generator().manual_seed(4)))
        hold = path._held(traces, source)
        path._held = lambda x, s: hold  # how noisy a trace looks depends on its unit; its code given that does not
        mask = torch.ones(3, 4, dtype=torch.bool)
        assert torch.allclose(path(traces, mask, source).code, path(2 * traces, mask, source).code, atol=1e-4)


def test_sizes_that_make_no_code_are_refused():
    with pytest.raises(InputError, match="code"):
        PathNetwork(NT, q=0)
