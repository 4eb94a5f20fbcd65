"""How fast the reference model of symae takes a training step, in several forms of the same, in turns in one run."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from groundswell.pipelines.symae.models.fast import FastSymVAE, Way, Ways
from groundswell.pipelines.symae.models.losses import Weights, elbo_terms
from groundswell.pipelines.symae.models.reference import DECODER, ENCODER, SymVAE
from groundswell.pipelines.symae.simulate.bags import simulate_bags
from groundswell.pipelines.symae.simulate.worlds import ROWS

Rows = list[dict[str, Any]]
BAGS, TRACES, SAMPLES, STEPS, THREADS = 32, 20, 192, 11, 2
"""The reference's batch; steps after which losses are compared. As many are timed; the first three do not count."""
CODE = Weights(gamma=0.0)
"""What the reference's code minimises."""
BLOCKS: Ways = {sizes: Way(8, 8, 8) for sizes in (*ENCODER, *DECODER)}
FORMS: dict[str, Callable[[], SymVAE]] = {
    "plain": SymVAE, "convolutions with channels last": lambda: FastSymVAE(ways={}),
    "blocks of 8 in every layer": lambda: FastSymVAE(ways=BLOCKS), "the best of each layer": FastSymVAE}
OURS = "the best of each layer"


def _row(what: str, value: Any, target: str = "", reached: bool | None = None) -> dict[str, Any]:
    return {"what": what, "value": value, "target": target, "reached": reached}


def operations(network: SymVAE) -> float:
    """Multiplications and additions of a step: twice the products of weights and values forward, thrice for both
    gradients."""
    products = 0
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear):
            products += layer.weight.numel()
        elif isinstance(layer, nn.Conv1d):
            pooled = name.startswith(("coherent.", "nuisance.")) and name.split(".")[-1] in "23"
            products += layer.weight.numel() * (SAMPLES // 4 if pooled else SAMPLES)
    return 3 * 2.0 * products * BAGS * TRACES


class _Form:
    """A network in training: the same weights and the same chance for each."""

    def __init__(self, make: Callable[[], SymVAE], half: bool) -> None:
        torch.manual_seed(0)
        self.network, self.half = make(), half
        self.optimiser = torch.optim.AdamW(self.network.parameters(), 1e-3, weight_decay=0.0, fused=True)
        self.generator = torch.Generator().manual_seed(1)
        self.seconds: list[float] = []
        self.loss = float("nan")

    def step(self, x: Tensor, mask: Tensor) -> None:
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            out = self.network(x, mask, self.generator)
        loss = elbo_terms(out, x, mask, self.network.prior_logits).loss(CODE)
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.loss = BAGS * float(loss.detach())
        self.seconds.append(time.perf_counter() - started)

    def took(self) -> float:
        return statistics.median(self.seconds[3:])


class _Product:
    """Products of square matrices, for the rate that arithmetic can have on this machine."""

    def __init__(self, half: bool, size: int = 2048) -> None:
        self.matrix = torch.randn(size, size).to(torch.bfloat16 if half else torch.float32)
        self.seconds: list[float] = []

    def step(self) -> None:
        started = time.perf_counter()
        torch.mm(self.matrix, self.matrix)
        self.seconds.append(time.perf_counter() - started)

    def rate(self) -> float:
        """Operations a second, of the better half of the turns: a limit is what can be had."""
        return 2.0 * len(self.matrix) ** 3 / statistics.quantiles(self.seconds, n=4)[0]


def step(work: Path) -> Rows:
    """A step of 32 simulated bags of 20 traces on two threads: plain against fast forms, and the arithmetic limit."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        return _rows()
    finally:
        torch.set_num_threads(before)


def _rows() -> Rows:
    bags = simulate_bags(list(ROWS), BAGS, TRACES, generator=np.random.default_rng(0))
    x, mask = torch.from_numpy(bags.x), torch.ones(BAGS, TRACES, dtype=torch.bool)
    forms = {(name, half): _Form(make, half) for half in (False, True) for name, make in FORMS.items()}
    products = {half: _Product(half) for half in (False, True)}
    for _ in range(STEPS):
        for form in forms.values():
            form.step(x, mask)
        for product in products.values():
            product.step()
    plain, work = forms["plain", False], operations(forms["plain", False].network)
    rows = [_row("machine", f"{os.cpu_count()} cores, {THREADS} threads, {os.getloadavg()[0]:.1f} processes at work "
                            "(of others too)")]
    for (name, half), form in forms.items():
        ratio, aim = plain.took() / form.took(), (2.5 if half else 1.5) if name == OURS else None
        rows.append(_row(f"{name}, {'bfloat16' if half else 'float32'}",
                         f"{1e3 * form.took():.0f} ms a step, {ratio:.2f} times as fast; loss after {STEPS} steps "
                         f"{form.loss:.2f}", "" if aim is None else f"at least {aim} times",
                         None if aim is None else ratio >= aim))
    for half, product in products.items():
        limit, ours = work / product.rate(), forms[OURS, half].took()
        rows.append(_row(f"arithmetic limit, {'bfloat16' if half else 'float32'}",
                         f"{1e3 * limit:.0f} ms ({work / 1e9:.1f} billion operations at {product.rate() / 1e9:.0f} a "
                         f"nanosecond); ours takes {ours / limit:.1f} times that"))
    apart = abs(forms[OURS, False].loss / plain.loss - 1)
    rows.append(_row("difference of the losses in float32", f"{apart:.1e} of it", "at most 1e-5", apart <= 1e-5))
    return rows
