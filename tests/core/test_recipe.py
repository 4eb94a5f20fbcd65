"""Recipes: strict, closed to unknown keys, and helpful about it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from groundswell.core.errors import InputError
from groundswell.core.recipe import (
    RecipePart,
    build_recipe,
    commented_yaml,
    describe_recipe,
    dump_recipe,
    keys_of,
    load_recipe,
    recipe_pipeline,
)


class Inner(RecipePart):
    learning_rate: float = Field(1e-3, gt=0)
    """Step size."""
    range: tuple[float, float] | None = None
    """Two numbers."""


class Outer(RecipePart):
    pipeline: str = "toy"
    """Name."""
    train: Inner = Inner()
    """How."""
    epochs: int = 5
    """How long."""


def test_defaults_are_complete() -> None:
    assert list(keys_of(Outer)) == ["pipeline", "train.learning_rate", "train.range", "epochs"]
    assert [row[3] for row in describe_recipe(Outer)] == ["Name.", "Step size.", "Two numbers.", "How long."]


def test_unknown_key_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"no key 'train.lerning_rate' \(did you mean 'train.learning_rate'\?\)"):
        build_recipe(Outer, {"train": {"lerning_rate": 1e-4}})


@pytest.mark.parametrize(("values", "words"), [
    ({"epochs": "3"}, "'epochs': Input should be a valid integer"),
    ({"epochs": 2.5}, "'epochs'"),
    ({"train": {"learning_rate": 0}}, "greater than 0"),
    ({"train": 3}, "'train'"),
])
def test_wrong_values_are_refused_by_key(values: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_recipe(Outer, values)


def test_every_problem_is_in_one_message() -> None:
    with pytest.raises(InputError) as caught:
        build_recipe(Outer, {"epochs": "x", "train": {"learning_rate": -1, "nonsense": 1}})
    assert all(key in str(caught.value) for key in ("epochs", "learning_rate", "nonsense"))


def test_set_overrides_and_reads_numbers_as_people_write_them() -> None:
    recipe = build_recipe(Outer, {}, ["train.learning_rate=1e-4", "train.range=[1, 2.5]", "epochs=7"])
    assert (recipe.train.learning_rate, recipe.train.range, recipe.epochs) == (1e-4, (1.0, 2.5), 7)


def test_set_takes_a_date() -> None:
    class Dated(RecipePart):
        since: date

    assert build_recipe(Dated, {}, ["since=2003-10-29"]).since == date(2003, 10, 29)


@pytest.mark.parametrize("text", ["epochs", "epochs.x=1", "train.range=[1"])
def test_a_malformed_set_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        build_recipe(Outer, {}, [text])


@given(rate=st.floats(1e-12, 1e6), epochs=st.integers(-1000, 1000))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, rate: float, epochs: int) -> None:
    recipe = build_recipe(Outer, {"train": {"learning_rate": rate}, "epochs": epochs})
    path = tmp_path_factory.mktemp("recipe") / "r.yaml"
    for text in (dump_recipe(recipe), commented_yaml(recipe)):
        path.write_text(text)
        assert load_recipe(Outer, path) == recipe


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("epochs: 3\ntrain: [1\n")
    with pytest.raises(InputError, match="line 3"):
        load_recipe(Outer, path)


def test_yaml_cannot_construct_objects(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("pipeline: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(InputError):
        load_recipe(Outer, path)


def test_the_pipeline_of_a_recipe_is_read_from_it(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("pipeline: das\n")
    assert recipe_pipeline(path) == "das"
    path.write_text("epochs: 1\n")
    with pytest.raises(InputError, match="which pipeline"):
        recipe_pipeline(path)
