"""splits: what a regime gives before it is audited: parts, strata, and what it wants to be known of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Division:
    """A table divided.

    Attributes:
        assignment: part codes, int8, shape (n, folds).
        stratum: in words, what kind of test each sample is, such as "unseen place, future"; "" for samples that no
            fold tests; object, shape (n,). None where all tests are of one kind. Scores are reported for each.
        settings: JSON-able facts, such as how many samples a buffer left out; they go into the manifest.
    """

    assignment: NDArray[np.int8]
    stratum: NDArray[np.object_] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
