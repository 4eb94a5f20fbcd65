"""symae: the terms of the reference model's loss.

Shape letters: b bag, t trace, n time sample.

With everything summed over a batch of bags the loss is::

    L = sum_b [ NLL_b + beta_coherent KL(c_b) + beta_nuisance KL(n_b) + KL(category_b) + gamma C_b ]
        + gamma_shift |v|

* NLL = sum over samples of ((x' - x)^2 exp(-lambda) + lambda) / 2, lambda the trained logarithm of the noise variance
  (the constant ln(2 pi) / 2 is left out);
* KL: of the codes from standard normal distributions; of the categories, where there are several, from their prior;
* C: the coherence penalty. Of the T aligned traces y_i of a bag and their mean y,
  ``C = sum_i |y_i - y|^2 / ((T - 1) n)``: a variance per sample, 0 if all aligned traces are alike and about 1,
  whatever T is, if traces of unit variance have nothing in common. Minimising it over shifts maximises the power of
  the stack;
* ``|v|``: one Euclidean norm over all the batch's shifts, not squared.

What is minimised is L divided by the number of bags: Adam is blind to such a factor, and gradients can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from groundswell.pipelines.symae.models.pooling import kl_from_standard
from groundswell.pipelines.symae.models.reference import Outputs


@dataclass(frozen=True)
class Weights:
    """What the terms are multiplied by; the reference's code has 1, 1, 0 and 100."""

    beta_coherent: float = 1.0
    beta_nuisance: float = 1.0
    gamma: float = 100.0
    gamma_shift: float = 100.0


@dataclass(frozen=True)
class Terms:
    """Terms of the loss, not yet weighted: (b,) each, but ``shift_norm``, a scalar.

    ``squared_error`` is the sum over a bag's samples; ``samples`` is their number.
    """

    nll: Tensor
    kl_coherent: Tensor
    kl_nuisance: Tensor
    kl_category: Tensor
    coherence: Tensor
    squared_error: Tensor
    samples: Tensor
    shift_norm: Tensor

    def loss(self, weights: Weights, bag_weight: Tensor | None = None) -> Tensor:
        """L over the number of bags, a scalar.

        Args:
            weights: of the terms.
            bag_weight: (b,), 0 for bags that only fill up a batch; of ``shift_norm`` they are to be left out before.
        """
        elbo = self.nll + weights.beta_coherent * self.kl_coherent + weights.beta_nuisance * self.kl_nuisance
        each = elbo + self.kl_category + weights.gamma * self.coherence
        if bag_weight is None:
            bag_weight = torch.ones_like(each)
        count = bag_weight.sum().clamp(min=torch.finfo(each.dtype).tiny)
        # Without a bag there is nothing to norm, but 0 / tiny must not become more than 0.
        return ((each * bag_weight).sum() + weights.gamma_shift * self.shift_norm) / count


def coherence(aligned_btn: Tensor, mask_bt: Tensor) -> Tensor:
    """The coherence penalty C (b,) of bags of aligned traces; see the top of this file."""
    inside = mask_bt[..., None].to(aligned_btn.dtype)
    count = mask_bt.sum(dim=1).to(aligned_btn.dtype)
    mean = (aligned_btn * inside).sum(dim=1, keepdim=True) / count[:, None, None]
    apart = ((aligned_btn - mean) * inside).square().sum(dim=(1, 2))
    return apart / ((count - 1).clamp(min=1) * aligned_btn.shape[-1])


def elbo_terms(out: Outputs, x_btn: Tensor, mask_bt: Tensor, prior_logits: Tensor,
               bag_weight: Tensor | None = None) -> Terms:
    """The terms of a batch.

    Args:
        out: of the model.
        x_btn: what it was given.
        mask_bt: false at padding.
        prior_logits: (k,), of the categories.
        bag_weight: (b,); bags of weight 0 are left out of ``shift_norm``.
    """
    inside = mask_bt.to(x_btn.dtype)
    samples = inside.sum(dim=1) * x_btn.shape[-1]
    squared = ((out.reconstruction - x_btn).square().sum(dim=-1) * inside).sum(dim=1)
    nll = 0.5 * (squared * (-out.log_variance).exp() + out.log_variance * samples)
    category = (out.log_category.exp() * (out.log_category - prior_logits.log_softmax(-1))).sum(dim=-1)
    if len(prior_logits) == 1:
        category = torch.zeros_like(category)
    kept = inside if bag_weight is None else inside * (bag_weight > 0)[:, None]
    return Terms(nll, kl_from_standard(out.coherent), (kl_from_standard(out.nuisance) * inside).sum(dim=1),
                 (category * inside).sum(dim=1), coherence(out.aligned, mask_bt), squared, samples,
                 torch.linalg.vector_norm(out.shift * kept))
