"""splits: the codes of the parts."""

from __future__ import annotations

EXCLUDED, TRAIN, VALIDATION, TEST, HOLDOUT = 0, 1, 2, 3, 4

PARTS = {TRAIN: "train", VALIDATION: "validation", TEST: "test", HOLDOUT: "holdout"}
"""Name of each part; samples that are EXCLUDED from a fold are in none. HOLDOUT is the same in every fold, and there is
one only where the recipe asks for it."""
