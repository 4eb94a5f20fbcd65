"""Fixtures that the tests of the marine pipeline share."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundswell.core.run import RunFolder
from groundswell.pipelines.marine.data import WORKFLOW
from groundswell.pipelines.workflow import start_run, train_run


@pytest.fixture(scope="session")
def small_detector(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of the smallest detector, two epochs on simulated images; it is not to be changed."""
    folder: Path = tmp_path_factory.mktemp("small-detector")
    run = start_run("marine", WORKFLOW.small(folder, seed=1), folder / "run")
    train_run(run, quiet=True)
    return run
