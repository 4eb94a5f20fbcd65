"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

# One thread a process: tests compare runs bit for bit and often run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import settings

# How long an example takes says more of the machine's other work than of ours.
settings.register_profile("groundswell", deadline=None)
settings.load_profile("groundswell")

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_das() -> Path:
    """Folder of real DAS files; the test is skipped where it is absent."""
    folder = REAL_DATA / "das"
    if not folder.is_dir():
        pytest.skip(f"real DAS files are not at hand ({folder} is absent)")
    return folder


@pytest.fixture(scope="session")
def real_geomag() -> Path:
    """Folder of real observatory data; the test is skipped where it is absent."""
    folder = REAL_DATA / "geomag"
    if not folder.is_dir():
        pytest.skip(f"real observatory data is not at hand ({folder} is absent)")
    return folder


@pytest.fixture(scope="session")
def real_biodiversity() -> Path:
    """Folder of real observations of plants; the test is skipped where it is absent."""
    folder = REAL_DATA / "biodiversity"
    if not folder.is_dir():
        pytest.skip(f"real observations are not at hand ({folder} is absent)")
    return folder


@pytest.fixture(scope="session")
def real_symae() -> Path:
    """Folder of real teleseismic P waves; the test is skipped where it is absent."""
    folder = REAL_DATA / "symae"
    if not folder.is_dir():
        pytest.skip(f"real teleseismic P waves are not at hand ({folder} is absent)")
    return folder
