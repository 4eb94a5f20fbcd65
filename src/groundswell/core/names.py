"""core: names that several rooms must agree on."""

from __future__ import annotations

NOISE = "noise"
"""The class of samples in which nothing happened: never the truth of an event, and not asked of a split's strata."""
