"""A source of embeddings serves the loader: from memory or from files, the same numbers."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from groundswell.core.errors import InputError
from groundswell.data.embeddings import reading
from groundswell.data.embeddings.source import EmbeddingSource
from groundswell.data.embeddings.spec import TableSpec
from groundswell.data.embeddings.store import EmbeddingStore
from groundswell.data.loader import Loader
from groundswell.data.order import Order
from groundswell.data.source import Source

N = 30
VISION = np.random.default_rng(0).standard_normal((N, 2, 4)).astype(np.float32)
LANGUAGE = np.random.default_rng(1).standard_normal((3, 7)).astype(np.float32)
TAXON = np.random.default_rng(2).integers(0, 3, N)


@pytest.fixture
def store(tmp_path):
    store = EmbeddingStore.create(tmp_path / "s")
    store.add_taxa(["a", "b", "c"])
    with store.writer(TableSpec("vision", (2, 4)), rows_per_part=8) as writer:
        writer.add(np.arange(N) + 100, VISION)
        writer.add(np.array([999]), VISION[:1], np.array([True]))
    with store.writer(TableSpec("language", (7,), "bfloat16", "taxon")) as writer:
        writer.add(np.arange(3), LANGUAGE)
    return store


def source(store, **settings):
    ids = np.arange(N)[::-1] + 100
    return EmbeddingSource(store, {"x": ("vision", ids), "words": ("language", TAXON)}, **settings)


@pytest.mark.parametrize("memory_bytes", [0, 3 * 7 * 4, 1 << 20])
@pytest.mark.parametrize("large", [False, True])
def test_fields_are_the_vectors_of_each_sample(store, monkeypatch, memory_bytes, large):
    if large:
        monkeypatch.setattr(reading, "LARGE_ROW_BYTES", 1)
    made = source(store, memory_bytes=memory_bytes)
    assert isinstance(made, Source) and len(made) == N
    language = store.gather("language")
    for current in (made, pickle.loads(pickle.dumps(made))):
        loader = Loader(current, Order(np.arange(N), 7, seed=1), {}, threads=3)
        seen = 0
        for batch in loader.iterate(0):
            rows = batch["row"].numpy()
            np.testing.assert_array_equal(batch["x"], VISION[::-1][rows])
            np.testing.assert_array_equal(batch["words"], language[TAXON[rows]])
            seen += int(batch["weight"].sum())
        loader.close()
        assert seen == N


def test_what_is_not_there_is_refused_at_once_unless_nan_is_asked_for(store):
    fields = {"x": ("vision", np.array([100, 999]))}
    with pytest.raises(InputError, match="missing, of the id"):
        EmbeddingSource(store, fields)
    out = {"x": np.zeros((2, 2, 4), np.float32)}
    EmbeddingSource(store, fields, missing="nan").read(np.array([1, 0]), out)
    assert np.isnan(out["x"][0]).all() and (out["x"][1] == VISION[0]).all()
    with pytest.raises(InputError, match="not in the table"):
        EmbeddingSource(store, {"x": ("vision", np.array([5]))})
    with pytest.raises(InputError, match="one length"):
        EmbeddingSource(store, {"x": ("vision", np.array([100])), "y": ("vision", np.array([100, 101]))})
    with pytest.raises(InputError, match="one length"):
        EmbeddingSource(store, {})
    with pytest.raises(InputError, match="Row 30 is outside"):
        source(store).read(np.array([0, 30]), {})


def test_a_pickled_source_survives_the_growing_of_its_store(store):
    frozen = pickle.dumps(source(store, memory_bytes=0))
    with store.writer(TableSpec("vision", (2, 4))) as writer:
        writer.add(np.arange(50), np.zeros((50, 2, 4), np.float32))
    out = {"x": np.empty((N, 2, 4), np.float32), "words": np.empty((N, 7), np.float32)}
    pickle.loads(frozen).read(np.arange(N), out)
    np.testing.assert_array_equal(out["x"], VISION[::-1])
