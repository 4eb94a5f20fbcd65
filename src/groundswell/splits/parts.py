"""splits: the codes of the parts."""

from __future__ import annotations

EXCLUDED, TRAIN, VALIDATION, TEST = 0, 1, 2, 3

PARTS = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}
"""Name of each part; samples that are EXCLUDED from a fold are in none."""
