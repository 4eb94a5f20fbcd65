"""data: stores of embeddings: row-aligned shards with a manifest, read at the speed of memory."""

from __future__ import annotations
