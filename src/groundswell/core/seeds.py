"""core: seeds derived from names, so that no two uses of chance share one and none depends on call order."""

from __future__ import annotations

import hashlib
import random


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that is a pure function of ``parts``: ``derive_seed(42, "order", epoch)``."""
    text = "\x1f".join(f"{type(p).__name__}:{p}" for p in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch (all devices) from one number."""
    import numpy as np
    import torch

    random.seed(derive_seed(seed, "python"))
    np.random.seed(derive_seed(seed, "numpy") % 2**32)  # noqa: NPY002 - third-party code still draws from it
    torch.manual_seed(derive_seed(seed, "torch"))
