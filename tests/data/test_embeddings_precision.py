"""Short floats: bits as torch has them, and as arithmetic by hand has them; the rounding is what was measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from groundswell.core.errors import InputError
from groundswell.data.embeddings import precision
from groundswell.data.embeddings.precision import Rounding, decode, encode
from groundswell.data.embeddings.spec import STORED
from groundswell.data.embeddings.store import EmbeddingStore, TableSpec

BFLOAT16_MOST = 3.3895313892515355e38


def stored(values, dtype):
    out = np.empty(values.shape, STORED[dtype])
    return out, encode(values, np.arange(len(values)), dtype, out)


def nearest_even(values):
    """bfloat16 by hand: the upper half of the bits, rounded to nearest, ties to even."""
    bits = values.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def test_every_bfloat16_and_float16_is_decoded_as_torch_and_numpy_do():
    bits = np.arange(2**16, dtype=np.uint16)
    out = np.empty(2**16, np.float32)
    decode(bits, "bfloat16", out)
    np.testing.assert_array_equal(out.view(np.uint32), bits.astype(np.uint32) << 16)
    decode(bits.view(np.float16), "float16", out)
    np.testing.assert_array_equal(out, bits.view(np.float16).astype(np.float32))


@given(hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(-BFLOAT16_MOST, BFLOAT16_MOST, width=32)))
def test_bfloat16_is_torchs_to_the_bit_and_rounded_to_nearest_even(values):
    got, rounding = stored(values[None], "bfloat16")
    np.testing.assert_array_equal(got[0], torch.from_numpy(values).bfloat16().view(torch.uint16).numpy())
    np.testing.assert_array_equal(got[0], nearest_even(values))
    back = (got[0].astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    assert rounding.max_abs == np.abs(back - values).max()


def test_ties_go_to_even():
    ties = np.array([0x3F808000, 0x3F818000, 0xBF808000, 0xBF818000], np.uint32).view(np.float32)
    np.testing.assert_array_equal(stored(ties[None], "bfloat16")[0][0], [0x3F80, 0x3F82, 0xBF80, 0xBF82])


@given(hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(-65504, 65504, width=32)))
def test_float16_is_numpys_to_the_bit(values):
    np.testing.assert_array_equal(stored(values[None], "float16")[0][0].view(np.uint16),
                                  values.astype(np.float16).view(np.uint16))


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 0.0), ("float16", 2**-11), ("bfloat16", 2**-8)])
def test_the_rounding_is_measured_and_within_what_the_type_promises(monkeypatch, dtype, bound):
    monkeypatch.setattr(precision, "BLOCK", 1000)
    values = np.random.default_rng(0).uniform(1, 2, (20, 700)).astype(np.float32)
    got, rounding = stored(values, dtype)
    back = np.empty_like(values)
    decode(got, dtype, back)
    away = np.abs(back.astype(np.float64) - values)
    assert rounding.rows == 20
    assert rounding.max_abs == away.max() and rounding.max_rel == (away / values).max() <= bound
    assert rounding.rms == pytest.approx(np.sqrt(np.mean(away**2)))
    assert (rounding.max_abs == 0) == (dtype == "float32")


def test_rounding_of_parts_is_that_of_the_whole(tmp_path):
    values = np.random.default_rng(0).standard_normal((40, 30), dtype=np.float32)
    store = EmbeddingStore.create(tmp_path / "s")
    for start, stop in ((0, 7), (7, 40)):
        with store.writer(TableSpec("t", (30,), "float16"), rows_per_part=6) as writer:
            writer.add(np.arange(start, stop), values[start:stop])
    measured, whole = store.manifest("t").rounding, stored(values, "float16")[1]
    assert (measured.rows, measured.max_abs, measured.max_rel) == (40, whole.max_abs, whole.max_rel)
    assert measured.rms == pytest.approx(whole.rms)
    assert Rounding().joined(Rounding()) == Rounding()


def test_doubles_are_measured_against_what_was_given():
    values = np.array([[1 + 2**-30, 2.0]])
    assert stored(values, "float32")[1].max_abs == 2**-30


def test_values_below_the_normal_range_count_absolutely():
    _, rounding = stored(np.array([[1e-9, 1.0, 2**-14 * (1 + 2**-11)]]), "float16")
    assert rounding.max_abs == pytest.approx(2**-25) and rounding.max_rel == pytest.approx(2**-11, rel=1e-3)


@pytest.mark.parametrize(("bad", "dtype", "said"), [
    (np.nan, "float32", "is nan"), (-np.inf, "bfloat16", "is -inf"), (70000.0, "float16", "70000 is too large"),
    (3.4e38, "bfloat16", "too large for bfloat16"), (1e300, "float32", "too large for float32")])
def test_what_cannot_be_kept_is_refused_and_its_id_named(bad, dtype, said):
    values = np.ones((5, 4), np.float64)
    values[3, 2] = bad
    with pytest.raises(InputError, match=f"{said}.*id 33"):
        encode(values, np.array([30, 31, 32, 33, 34]), dtype, np.empty(values.shape, STORED[dtype]))
