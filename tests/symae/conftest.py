"""A small simulated store and small runs of both models, trained once for all tests of what a run gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_runs import trained_small

from groundswell.pipelines.symae.simulate.simulating import simulate_store
from groundswell.pipelines.symae.store import BagStore

SMALL: dict[str, Any] = {"seed": 3, "events": 10, "pixels": (2, 3), "traces": (4, 8), "worlds": ("easy",), "nt": 128}


@pytest.fixture(scope="session")
def small_bags(tmp_path_factory: pytest.TempPathFactory) -> BagStore:
    """Ten simulated events seen through two or three pixels each."""
    return simulate_store(tmp_path_factory.mktemp("small") / "bags", **SMALL)


@pytest.fixture(scope="session")
def source_run(small_bags: BagStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The improved model, small."""
    return trained_small(small_bags, tmp_path_factory.mktemp("runs") / "source",
                         {"widths": [6, 8], "trace_widths": [4], "q": 6, "realign": 1})


@pytest.fixture(scope="session")
def reference_run(small_bags: BagStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference model, with short codes."""
    return trained_small(small_bags, tmp_path_factory.mktemp("runs") / "reference",
                         {"type": "reference", "p": 6, "q": 5})
