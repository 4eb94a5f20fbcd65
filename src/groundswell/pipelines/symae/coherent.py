"""symae: the reference model's own way to coherent signals: ideal seismograms whose nuisance codes are optimised.

The seed calls it ``get_coherent_information``. Of the event's bag with most traces (the target) the posterior of the
coherent code is taken, Q. Every trace of the event gives a nuisance code; decoded with the target's coherent code and
encoded again by itself, it says how much of Q one such trace tells: KL(Q || Q_j). The N traces of the smallest
divergence are the ideal seismograms. Their nuisance codes are then moved, the network frozen, to lessen::

    J(z) = sum_j KL_j(z) / sum_j KL_j(z_0) + alpha |y(z)|_1 / |y(z_0)|_1

where y are the decoded traces, standardised: the second term prefers waveforms of few spikes. With those codes and the
coherent code of each bag its virtual waveforms are decoded.

Shape letters: b bag, t trace, n time sample, j ideal seismogram, q length of a nuisance code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groundswell.pipelines.symae.models.pooling import Gaussian, bag_size_floor, kl_between
from groundswell.pipelines.symae.models.reference import SymVAE
from groundswell.pipelines.symae.models.shift import advance

Floats = NDArray[np.float64]
Optimiser = Literal["descent", "adam"]

_HALVINGS = 20
_LAST, _STILL = 0.1, 0.02
"""A descent has converged if the last tenth of its steps brought less than this share of all that it gained."""
_TINY = 1e-12


@dataclass(frozen=True)
class Descent:
    """An optimisation of codes, float64 histories beginning with the start.

    Attributes:
        codes: (j, q), the best that were found.
        kl: (steps + 1, j), of each code.
        objective: (steps + 1,), J.
        converged: whether it came to rest.
        verdict: that in a sentence, with numbers.
    """

    codes: Tensor
    kl: Floats
    objective: Floats
    converged: bool
    verdict: str


@dataclass(frozen=True)
class Coherent:
    """What the procedure gives for an event.

    Attributes:
        target: which of the bags was the target.
        chosen: (bag, trace) of each ideal seismogram.
        ranking: for each bag KL(Q || Q_j) of its traces, nats.
        floor: what of it is the size of the target's bag alone, nats.
        descent: of the nuisance codes.
        ideal: (j, n), the ideal seismograms, as read.
        shifted: (j, n), the same, aligned by the network.
        virtual: for each bag (j, n), decoded with the codes that were found, mean 0.
        spread: for each bag (n,), standard deviation of the virtual waveforms over codes and over draws of the bag's
            coherent code.
        information: for each bag the mean KL of its posterior from that of one of its virtual waveforms, less what is
            its size alone; nats. The less, the more one waveform tells of what the whole bag does.
    """

    target: int
    chosen: list[tuple[int, int]]
    ranking: list[Floats]
    floor: float
    descent: Descent
    ideal: Floats
    shifted: Floats
    virtual: list[Floats]
    spread: list[Floats]
    information: list[float]


def get_coherent_information(network: SymVAE, bags: Sequence[Tensor], *, target: int | None = None, N: int = 10,
                             nepochs: int = 100, alpha: float = 0.1, learning_rate: float = 0.1,
                             optimiser: Optimiser = "descent", draws: int = 16) -> Coherent:
    """See the top of this file. The names and values of the settings are the seed's.

    Args:
        network: trained, in evaluation mode.
        bags: of one event, float32 (t, n) each, as the network takes them.
        target: which bag is the target; absent, the one of most traces.
        N: ideal seismograms; fewer, if the event has fewer traces.
        nepochs: steps of the optimisation.
        alpha: weight of the term for few spikes.
        learning_rate: size of a step.
        optimiser: descent, plain gradient descent as in the original, with steps that would raise J halved; or adam.
        draws: of the coherent codes, for the spread.
    """
    target = max(range(len(bags)), key=lambda b: len(bags[b])) if target is None else target
    with torch.no_grad():
        posteriors = [network.posterior(bag[None]) for bag in bags]
        aligned = [advance(bag[None], network.shifts(bag[None])) for bag in bags]
        codes = [network.encode(bag) for bag in aligned]
        wanted = posteriors[target]
        ranking = [_kl(network, wanted, _decoded(network, wanted.mean, code.nuisance.mean[0], code.log_category[0]))
                   for code in codes]
    every = sorted((float(kl), b, t) for b, of_bag in enumerate(ranking) for t, kl in enumerate(of_bag.tolist()))
    chosen = [(b, t) for _, b, t in every[:N]]
    start = torch.stack([codes[b].nuisance.mean[0, t] for b, t in chosen])
    category = torch.stack([codes[b].log_category[0, t] for b, t in chosen])

    def told(z: Tensor) -> tuple[Tensor, Tensor]:
        made = _decoded(network, wanted.mean, z, category)
        unit = made / made.square().mean(-1, keepdim=True).sqrt().clamp_min(_TINY)
        return _kl(network, wanted, made), unit.abs().sum()

    descent = descend(told, start, steps=nepochs, rate=learning_rate, alpha=alpha, optimiser=optimiser)
    with torch.no_grad():
        virtual, spread = _virtual(network, posteriors, descent.codes, category, draws)
        floors = [float(bag_size_floor(len(bag), wanted.mean.shape[-1])) for bag in bags]
        known = [float(_kl(network, one, made).mean()) - floor
                 for one, made, floor in zip(posteriors, virtual, floors, strict=True)]
    return Coherent(target, chosen, [_array(kl) for kl in ranking], floors[target], descent,
                    _array(torch.stack([bags[b][t] for b, t in chosen])),
                    _array(torch.stack([aligned[b][0, t] for b, t in chosen])), [_array(made) for made in virtual],
                    [_array(one) for one in spread], known)


def _virtual(network: SymVAE, posteriors: Sequence[Gaussian], codes: Tensor, category: Tensor,
             draws: int) -> tuple[list[Tensor], list[Tensor]]:
    """Virtual waveforms (j, n) of each bag's coherent code, and their spread (n,) over codes and draws of it."""
    generator = torch.Generator().manual_seed(0)
    virtual = [_decoded(network, one.mean, codes, category) for one in posteriors]
    spread = [torch.stack([_decoded(network, one.sample(generator), codes, category) for _ in range(draws)])
              .std(dim=(0, 1), correction=0) for one in posteriors]
    return virtual, spread


def descend(told: Callable[[Tensor], tuple[Tensor, Tensor]], start: Tensor, *, steps: int, rate: float, alpha: float,
            optimiser: Optimiser = "descent") -> Descent:
    """Lessen J over codes.

    Plain gradient descent takes steps of ``rate``; one that would raise J is halved until it does not, and the size is
    kept, so J never rises. Adam's steps are its own, and the best codes on its way are what is given back.

    Args:
        told: from codes (j, q) to their divergences (j,) and the term for few spikes, a scalar; both differentiable.
        start: (j, q).
        steps, rate, alpha, optimiser: see :func:`get_coherent_information`.
    """
    first_kl, first_spikes = (value.detach() for value in told(start))

    def judged(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            kl, spikes = told(z)
            j = kl.sum() / first_kl.sum().clamp_min(_TINY) + alpha * spikes / first_spikes.clamp_min(_TINY)
            (gradient,) = torch.autograd.grad(j, z)
        return kl.detach(), j.detach(), gradient

    move = _adam(judged, rate) if optimiser == "adam" else _plain(judged, rate)
    here, (kl, j, gradient) = start.detach(), judged(start)
    kls, js, best, least, stuck = [kl], [float(j)], here, float(j), False
    for _ in range(steps):
        if not stuck:
            here, kl, j, gradient, stuck = move(here, kl, j, gradient)
        kls.append(kl)
        js.append(float(j))
        if js[-1] < least:
            best, least = here, js[-1]
    objective, history = np.array(js), _array(torch.stack(kls))
    converged, verdict = _rested(history, objective, stuck)
    return Descent(best, history, objective, converged, verdict)


Move = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor, bool]]
Judge = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


def _plain(judged: Judge, rate: float) -> Move:
    size = rate

    def move(z: Tensor, kl: Tensor, j: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, bool]:
        nonlocal size
        for _ in range(_HALVINGS):
            there = z - size * gradient
            found = judged(there)
            if bool(found[1] <= j):
                return there, *found, False
            size /= 2
        return z, kl, j, gradient, True

    return move


def _adam(judged: Judge, rate: float) -> Move:
    state: dict[str, Tensor] = {}
    count = 0

    def move(z: Tensor, kl: Tensor, j: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, bool]:
        nonlocal count
        count += 1
        state["mean"] = 0.9 * state.get("mean", torch.zeros_like(z)) + 0.1 * gradient
        state["square"] = 0.999 * state.get("square", torch.zeros_like(z)) + 0.001 * gradient.square()
        size = (state["square"] / (1 - 0.999**count)).sqrt() + 1e-8
        there = z - rate * state["mean"] / (1 - 0.9**count) / size
        return there, *judged(there), False

    return move


def _rested(kl: Floats, objective: Floats, stuck: bool) -> tuple[bool, str]:
    steps = len(objective) - 1
    if steps < 1:
        return False, "No step was taken."
    # The best so far: Adam's way there may rise.
    best = np.minimum.accumulate(objective)
    last = max(1, round(_LAST * steps))
    gained, late = best[0] - best[-1], best[-1 - last] - best[-1]
    share = late / gained if gained > 0 else 0.0
    place = int(objective.argmin())
    before, after = float(kl[0].mean()), float(kl[place].mean())
    converged = bool(stuck or share < _STILL)
    told = (f"In {steps} steps the divergence of the {kl.shape[1]} codes went from {before:.1f} to {after:.1f} nats "
            f"({100 * (after / max(before, _TINY) - 1):+.1f} %)")
    if stuck:
        return True, f"{told} and then no smaller step lowered the objective: it has converged."
    if gained <= 0:
        return False, f"{told}; the objective did not fall at all: the steps are too large."
    return converged, (f"{told}; the last {last} of them brought {100 * share:.0f} % of the gain: "
                       + ("it has converged." if converged else "it was still falling and has not converged."))


def _decoded(network: SymVAE, code_bp: Tensor, nuisance_jq: Tensor, log_category_jk: Tensor) -> Tensor:
    """Traces (j, n) of one bag's coherent code (1, k p) and nuisance codes, mean 0."""
    coherent = network.chosen(code_bp, log_category_jk[None])[0]
    made = network.decode(coherent, nuisance_jq)
    return made - made.mean(-1, keepdim=True)


def _kl(network: SymVAE, bag: Gaussian, made_jn: Tensor) -> Tensor:
    """KL (j,) of a bag's posterior (1, k p) from those of traces, each alone and not shifted."""
    return kl_between(bag, network.posterior(made_jn[:, None], align=False))


def _array(value: Tensor) -> Floats:
    return np.asarray(value.detach().double().numpy(), np.float64)
