"""Ids of observations: made, taken apart, and refused; one text for each image of an observation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.errors import InputError
from groundswell.pipelines.biodiversity.ids import create_observation_id, parse_observation_id, parse_observation_ids

GBIF = st.integers(1, 2**63 - 1)
IMAGE = st.integers(1, 10**9 - 1)


def test_the_seeds_example():
    assert create_observation_id(4171912265) == "4171912265_1"
    assert parse_observation_id("4171912265_1") == (4171912265, 1)


@given(GBIF, IMAGE)
def test_what_is_made_is_taken_apart_again(gbif_id, image):
    assert parse_observation_id(create_observation_id(gbif_id, image)) == (gbif_id, image)


@given(st.text(st.sampled_from("0123456789_ +-.a١\n"), max_size=12))
def test_a_text_is_either_refused_or_the_only_one_of_its_observation(text):
    try:
        pair = parse_observation_id(text)
    except InputError:
        return
    assert create_observation_id(*pair) == text


@pytest.mark.parametrize("text", ["", "1", "1_", "_1", "1_2_3", "1_0", "0_1", "-1_1", "1 _1", "01_1", "1_1\n", "1.0_1",
                                  "a_1", "٣_1", f"{2**63}_1", 11, None, b"1_1"])
def test_a_wrong_shape_is_bad_input_and_a_value_error(text):
    for kind in (InputError, ValueError):
        with pytest.raises(kind, match="is not the id of an observation"):
            parse_observation_id(text)


@pytest.mark.parametrize("pair", [(0, 1), (-1, 1), (1, 0), (2**63, 1), (1.0, 1), ("1", 1), (True, 1), (1, None)])
def test_no_id_is_made_of_numbers_that_are_none(pair):
    with pytest.raises(InputError, match="no observation id"):
        create_observation_id(*pair)


def test_many_are_taken_apart_at_once_and_the_wrong_ones_named():
    gbif_ids, images = parse_observation_ids(["4171912265_1", "7_2"])
    assert gbif_ids.dtype == images.dtype == np.int64
    assert (gbif_ids.tolist(), images.tolist()) == ([4171912265, 7], [1, 2])
    assert [len(part) for part in parse_observation_ids([])] == [0, 0]
    with pytest.raises(InputError, match=r"6 of 7 ids are not .*: 'b0', 'b1', 'b2', 'b3', 'b4', \.\.\."):
        parse_observation_ids(["1_1", *(f"b{i}" for i in range(6))])
