"""Weights and losses for classes of unequal size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from groundswell.core.errors import InputError
from groundswell.train.imbalance import class_loss, class_weights


def test_weights_are_those_of_the_seed() -> None:
    labels = np.array([0] * 6 + [1] * 2 + [-1] * 5)
    np.testing.assert_allclose(class_weights(labels, 2), [8 / 12, 8 / 4])


@given(st.lists(st.integers(-1, 3), min_size=2, max_size=60))
@settings(deadline=None)
def test_each_class_weighs_the_same_in_all(labels) -> None:
    known = [label for label in labels if label >= 0]
    if len(set(known)) < 2:
        with pytest.raises(InputError, match="all of one class"):
            class_weights(np.array(labels), 4)
        return
    weights = class_weights(np.array(labels), 4)
    sums = [weights[k] * known.count(k) for k in range(4)]
    np.testing.assert_allclose([s for k, s in enumerate(sums) if k in known], len(known) / len(set(known)))
    assert all(weights[k] == 0 for k in range(4) if k not in known)


def test_each_way_to_weight_is_its_formula() -> None:
    labels = np.repeat([0, 1], [1661, 999])
    inverse = np.array([2660 / (2 * 1661), 2660 / (2 * 999)])
    np.testing.assert_allclose(inverse.round(3), [0.801, 1.331])
    np.testing.assert_array_equal(class_weights(labels, 2), inverse)
    np.testing.assert_array_equal(class_weights(labels, 2, "balanced"), inverse)
    np.testing.assert_allclose(class_weights(labels, 2, "balanced"),
                               compute_class_weight("balanced", classes=np.array([0, 1]), y=labels))
    np.testing.assert_allclose(class_weights(labels, 2, "sqrt"), np.sqrt(inverse))
    np.testing.assert_allclose(class_weights(labels, 2, "effective"),
                               [0.001 / (1 - 0.999**1661), 0.001 / (1 - 0.999**999)])


@pytest.mark.parametrize("method", ["inverse", "balanced", "sqrt", "effective"])
def test_normalised_weights_leave_the_loss_its_size(method) -> None:
    labels = np.array([0] * 40 + [2] * 7 + [-1] * 3)
    weights = class_weights(labels, 3, method, normalise=True)
    assert weights[labels[labels >= 0]].mean() == pytest.approx(1)
    assert weights[1] == 0
    raw = class_weights(labels, 3, method)
    np.testing.assert_allclose(weights[2] / weights[0], raw[2] / raw[0])


def test_an_unknown_way_to_weight_is_refused() -> None:
    with pytest.raises(InputError, match="no way 'cubic'"):
        class_weights(np.array([0, 1]), 2, "cubic")


def test_a_label_outside_the_classes_is_refused() -> None:
    with pytest.raises(InputError, match="only 2 classes"):
        class_weights(np.array([0, 1, 2]), 2)


@given(st.integers(0, 2**31), st.floats(0, 5))
@settings(deadline=None)
def test_focal_loss_is_its_formula(seed, gamma) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(7, 3, generator=random)
    labels = torch.randint(-1, 3, (7,), generator=random)
    weights = torch.tensor([0.5, 1.0, 2.0])
    p = logits.double().softmax(1)[torch.arange(7), labels.clamp(min=0)]
    expected = weights.double()[labels.clamp(min=0)] * -((1 - p) ** gamma) * p.log() * (labels >= 0)
    found = class_loss(logits, labels, weights=weights, focal_gamma=gamma)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_without_focus_it_is_cross_entropy_and_unknown_labels_teach_nothing() -> None:
    logits = torch.randn(5, 3, requires_grad=True)
    labels = torch.tensor([0, 1, 2, -1, 1])
    plain = class_loss(logits, labels)
    torch.testing.assert_close(plain[labels >= 0], functional.cross_entropy(logits[labels >= 0], labels[labels >= 0],
                                                                            reduction="none"))
    torch.testing.assert_close(class_loss(logits, labels, focal_gamma=0.0), plain)
    plain.sum().backward()
    assert logits.grad is not None
    assert not logits.grad[3].any()


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("sure", [-200.0, 40.0, 200.0])
def test_gradients_stay_finite_where_the_network_is_sure(gamma, sure) -> None:
    logits = torch.tensor([[sure, 0.0]], requires_grad=True)
    class_loss(logits, torch.tensor([0]), focal_gamma=gamma).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
