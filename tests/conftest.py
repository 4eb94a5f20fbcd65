"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# One thread a process: tests compare runs bit for bit and often run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# A shell starts what runs in its background deaf to Ctrl-C, and so would be every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from hypothesis import settings

# How long an example takes says more of the machine's other work than of ours.
settings.register_profile("groundswell", deadline=None)
settings.load_profile("groundswell")

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def _real(name: str, what: str) -> Path:
    folder = REAL_DATA / name
    if not folder.is_dir():
        pytest.skip(f"{what} not at hand ({folder} is absent)")
    return folder


@pytest.fixture(scope="session")
def real_das() -> Path:
    """Folder of real DAS files; the test is skipped where it is absent."""
    return _real("das", "real DAS files are")


@pytest.fixture(scope="session")
def real_geomag() -> Path:
    """Folder of real observatory data; the test is skipped where it is absent."""
    return _real("geomag", "real observatory data is")


@pytest.fixture(scope="session")
def real_biodiversity() -> Path:
    """Folder of real observations of plants; the test is skipped where it is absent."""
    return _real("biodiversity", "real observations are")


@pytest.fixture(scope="session")
def real_symae() -> Path:
    """Folder of real teleseismic P waves; the test is skipped where it is absent."""
    return _real("symae", "real teleseismic P waves are")


@pytest.fixture(scope="session")
def real_marine() -> Path:
    """Folder of real underwater images and clips; the test is skipped where it is absent."""
    return _real("marine", "real underwater images are")
