"""The masked autoencoder: masks hide what goes in, losses count what was hidden, and one modality says the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.data.arrays import ArraySource
from groundswell.data.loader import Loader
from groundswell.data.order import Order
from groundswell.pipelines.biodiversity.models.masked import MultimodalMaskedAutoencoder
from groundswell.pipelines.biodiversity.pretrain_recipe import PretrainRecipe
from groundswell.pipelines.biodiversity.pretrain_task import PretrainTask, draw_masks

WIDTHS = {"vision": 12, "language": 20}
NAMES = ("vision", "language", "place")


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def places(count):
    r = np.random.default_rng(0)
    return torch.tensor(np.stack([r.uniform(27, 29, count), r.uniform(-82, -80, count), np.zeros(count),
                                  r.uniform(2012, 2025, count)], axis=1))


def inputs(count=6, names=NAMES):
    every = {"vision": draw(count, 2, 12), "language": 3 + 2 * draw(count, 20, seed=1), "place": places(count)}
    return {name: every[name] for name in names}


def small(names=NAMES, *, awake=True):
    """An untrained network; ``awake`` gives its predictors, which begin at zero, something to say."""
    torch.manual_seed(0)
    network = MultimodalMaskedAutoencoder(12, 20, 16, modalities=names, heads=2, hidden_dim=24, place_size="tiny")
    if awake:
        with torch.no_grad():
            for name in names:
                getattr(network, f"{name}_predictor").weight.normal_(std=0.5)
    return network.eval()


def test_the_seeds_call_and_keys():
    network = MultimodalMaskedAutoencoder().eval()
    vision, language = draw(3, 8, 1408), draw(3, 7168, seed=1)
    shapes = {"vision_reconstruction": (3, 1408), "language_reconstruction": (3, 7168), "shared_vision": (3, 512),
              "shared_language": (3, 512)}
    with torch.inference_mode():
        for masks in ({}, {"vision_mask": torch.ones(3)}, {"language_mask": torch.tensor([True, False, True])}):
            assert {key: tuple(value.shape) for key, value in network(vision, language, **masks).items()} == shapes
        assert torch.equal(network(vision, language)["shared_vision"], network.vision_encoder(vision))
    assert isinstance(network.vision_encoder.layers[0], torch.nn.Linear)
    assert network.language_predictor.out_features == 7168


@pytest.mark.parametrize("hidden", NAMES)
def test_what_is_hidden_cannot_reach_a_prediction(hidden):
    network, given = small(), inputs()
    mask = torch.tensor([True, False, True, True, False, False])
    before = network.reconstruct(given, {hidden: mask})
    spoilt = {**given, hidden: given[hidden].clone()}
    spoilt[hidden][mask] = 7.0 if hidden == "place" else torch.nan
    after = network.reconstruct(spoilt, {hidden: mask.float()})
    assert all(torch.equal(after[key], value) for key, value in before.items())
    visible = {**given, hidden: given[hidden] * 0.9}
    changed = network.reconstruct(visible, {hidden: mask})
    for name in NAMES:
        apart = (changed[f"{name}_reconstruction"] - before[f"{name}_reconstruction"]).abs().amax(1)
        assert torch.equal(apart > 1e-6, ~mask)


@pytest.mark.parametrize("hidden", NAMES)
def test_every_visible_modality_reaches_the_prediction_of_a_hidden_one(hidden):
    network, given = small(), inputs()
    mask = {hidden: torch.ones(6)}
    before = network.reconstruct(given, mask)[f"{hidden}_reconstruction"]
    for other in set(NAMES) - {hidden}:
        changed = network.reconstruct({**given, other: given[other].flip(0)}, mask)[f"{hidden}_reconstruction"]
        assert ((changed - before).abs().amax(1) > 1e-6).all()


def test_without_masks_each_is_predicted_from_the_others():
    network, given = small(), inputs()
    found = network(given["vision"], given["language"], place=given["place"])
    for name in NAMES:
        alone = network.reconstruct(given, {name: torch.ones(6)})[f"{name}_reconstruction"]
        assert torch.equal(found[f"{name}_reconstruction"], alone)
    more = network(given["vision"], given["language"], place=given["place"], place_mask=torch.ones(6))
    assert torch.equal(more["place_reconstruction"], found["place_reconstruction"])


def test_something_must_stay_visible():
    network, given = small(("vision", "language")), inputs(names=("vision", "language"))
    mask = torch.tensor([1.0, 0, 0, 1, 0, 0])
    with pytest.raises(InputError, match=r"2 observation.*every modality hidden"):
        network(given["vision"], given["language"], mask, mask)
    network(given["vision"], given["language"], mask, 1 - mask)
    with pytest.raises(InputError, match="takes no 'place'"):
        network(given["vision"], given["language"], place=places(6))
    with pytest.raises(InputError, match="was not given 'language'"):
        network.reconstruct({"vision": given["vision"]}, {})
    for wrong in ({"modalities": ("vision",)}, {"heads": 3}, {"modalities": ("vision", "sound")}):
        with pytest.raises(InputError):
            MultimodalMaskedAutoencoder(12, 20, 16, **wrong)


def test_losses_count_what_was_hidden_and_nothing_else():
    network, given = small(), inputs()
    masks = {"vision": torch.tensor([1, 1, 0, 0, 1, 0]).bool(), "language": torch.tensor([0, 1, 1, 0, 0, 0]).bool()}
    outputs = {key: value.detach().requires_grad_() for key, value in network.reconstruct(given, masks).items()}
    found = network.losses(outputs, given, masks, mse_weight=2.0, cosine_weight=0.0)
    vision, language = found["vision_error"], found["language_error"]
    wanted = torch.stack([2 * vision[0], vision[1] + language[1], 2 * language[2], vision[0] * 0, 2 * vision[4],
                          vision[0] * 0])
    torch.testing.assert_close(found["loss"], wanted)
    found["loss"].sum().backward()
    for name, mask in masks.items():
        assert torch.equal(outputs[f"{name}_reconstruction"].grad.abs().sum(1) > 0, mask)
    assert outputs["place_reconstruction"].grad is None
    error = (outputs["vision_reconstruction"] - given["vision"].mean(1)).square().mean(1)
    torch.testing.assert_close(vision, error)


def test_the_cosine_counts_direction_and_has_no_cliff_at_zero():
    network, given = small(("vision", "language")), inputs(names=("vision", "language"))
    mask = {"vision": torch.ones(6)}
    truth = given["vision"].mean(1)

    def loss(predicted):
        outputs = {"vision_reconstruction": predicted, "language_reconstruction": given["language"]}
        return network.losses(outputs, given, mask, mse_weight=0.0, cosine_weight=1.0)["loss"]

    torch.testing.assert_close(loss(truth), torch.zeros(6), rtol=0, atol=1e-6)
    torch.testing.assert_close(loss(3 * truth), loss(truth), rtol=0, atol=1e-6)
    torch.testing.assert_close(loss(-truth), torch.full((6,), 2.0))
    nothing = torch.zeros(6, 12, requires_grad=True)
    loss(nothing).sum().backward()
    assert nothing.grad.abs().max() < 5


def test_every_parameter_learns():
    network, given = small(), inputs(64)
    masks = draw_masks(dict.fromkeys(NAMES, 0.5), 64, torch.Generator().manual_seed(0))
    network.losses(network.reconstruct(given, masks), given, masks)["loss"].mean().backward()
    assert not [name for name, value in network.named_parameters() if value.grad is None or not value.grad.abs().sum()]


probabilities = st.lists(st.floats(0.01, 0.99), min_size=2, max_size=4)


@given(probabilities, st.integers(0, 2**32))
def test_masks_leave_something_visible_and_something_to_predict(chances, seed):
    names = [f"m{k}" for k in range(len(chances))]
    drawn = draw_masks(dict(zip(names, chances, strict=True)), 200, torch.Generator().manual_seed(seed))
    hidden = torch.stack([drawn[name] for name in names], 1)
    assert hidden.any(1).all() and not hidden.all(1).any()
    again = draw_masks(dict(zip(names, chances, strict=True)), 200, torch.Generator().manual_seed(seed))
    assert all(torch.equal(drawn[name], again[name]) for name in names)


def test_masks_follow_their_probabilities():
    generator = torch.Generator().manual_seed(0)
    even = draw_masks({"a": 0.5, "b": 0.5}, 20_000, generator)
    assert abs(even["a"].float().mean() - 0.5) < 0.02
    uneven = draw_masks({"a": 0.8, "b": 0.2}, 20_000, generator)
    alone, tie = 0.8 * 0.8, 0.8 * 0.2  # a without b; as often nothing as everything, of which a takes its share
    assert abs(uneven["a"].float().mean() - (alone + 2 * tie * 0.8)) < 0.02
    three = draw_masks({"a": 0.3, "b": 0.3, "c": 0.3}, 20_000, generator)
    nothing, everything = 0.7**3, 0.3**3
    assert abs(three["b"].float().mean() - (0.3 + nothing / 3 - everything / 3)) < 0.02


def loader(arrays, count=90, batch=32):
    return Loader(ArraySource(arrays), Order(np.arange(count), batch, 0, shuffle=False), {}, threads=1)


def test_vectors_are_standardised_by_the_training_part():
    count = 90
    vision = (5 + 3 * np.random.default_rng(0).normal(size=(count, 2, 12))).astype(np.float32)
    vision[:, :, 3] = 0.1  # never changes
    arrays = {"vision": vision, "language": inputs(count)["language"].numpy(), "place": places(count).numpy()}
    task = PretrainTask(PretrainRecipe(modalities=NAMES, fusion_dim=16, heads=2, place_size="tiny"), WIDTHS).eval()
    task.standardise_by(loader(arrays))
    given = {name: torch.from_numpy(value) for name, value in arrays.items()}
    for name in NAMES:
        vector = task.network.vector(name, given[name])
        scaled = task.network.standardised(name, vector)
        torch.testing.assert_close(scaled.mean(0), torch.zeros(scaled.shape[1]), rtol=0, atol=1e-3)
        varies = vector.std(0) > 1e-6
        spread = scaled.std(0, correction=0)[varies]
        torch.testing.assert_close(spread, torch.ones_like(spread), rtol=0, atol=1e-3)
        assert (scaled[:, ~varies].abs() < 1e-3).all() and (~varies).sum() == {"vision": 1, "place": 1}.get(name, 0)
    torch.testing.assert_close(task.network.vision_encoder.lift(given["vision"]),
                               task.network.standardised("vision", task.network.vector("vision", given["vision"])))
    assert torch.equal(task.network.place_encoder.mean, torch.zeros(68))  # features of a grid are not standardised
    # Before training every prediction is the mean of the training part, whose error is 1.
    batch = {**given, "weight": torch.ones(count), "row": torch.arange(count)}
    loss, sums = task(batch)
    metrics = task.metrics(sums)
    assert metrics["error"] == pytest.approx(1) and metrics["error_place"] == pytest.approx(1)
    assert loss.item() == pytest.approx(metrics["loss"])
    torch.testing.assert_close(task.predict(batch)["vision_reconstruction"][4], given["vision"].mean((0, 1)))
    arrays["language"][17, 3] = np.nan
    with pytest.raises(InputError, match=r"vector of language is not finite \(row 17"):
        task.standardise_by(loader(arrays))


def test_filling_counts_nothing_and_validation_knows_no_chance():
    task = PretrainTask(PretrainRecipe(fusion_dim=16, heads=2, dropout=0.0), WIDTHS).train()
    given = inputs(8, ("vision", "language"))
    batch = {**given, "weight": torch.tensor([1.0] * 5 + [0] * 3)}
    spoilt = {**batch, "vision": torch.where(batch["weight"][:, None, None] > 0, given["vision"], 50.0)}
    loss, sums = task(batch)
    again, others = task(spoilt)
    assert torch.equal(loss, again) and all(torch.equal(sums[key], others[key]) for key in sums)
    generator = torch.Generator().manual_seed(3)
    first, _ = task(batch, generator)
    second, _ = task(batch, generator)
    assert not torch.equal(first, second) and torch.equal(first, task(batch, generator.manual_seed(3))[0])
    nothing, _ = task({**batch, "weight": torch.zeros(8)}, generator)
    assert nothing.item() == 0


@pytest.mark.parametrize(("values", "complaint"), [
    ({"modalities": ("vision",)}, "at least two"), ({"modalities": ("vision", "vision")}, "each once"),
    ({"mask": (0.5, 0.5, 0.5)}, "one for each of 2"), ({"mask": (1.0,)}, "between 0 and 1"),
    ({"heads": 7}, "cannot be divided"), ({"mse_weight": 0.0, "cosine_weight": 0.0}, "nothing would be learnt")])
def test_impossible_recipes_are_refused(values, complaint):
    with pytest.raises(ValueError, match=complaint):
        PretrainRecipe(**values)


def test_one_probability_goes_for_all_modalities():
    assert PretrainRecipe(modalities=NAMES, mask=(0.4,)).mask_probabilities == dict.fromkeys(NAMES, 0.4)
    assert PretrainRecipe(mask=(0.7, 0.2)).mask_probabilities == {"vision": 0.7, "language": 0.2}
