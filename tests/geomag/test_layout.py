"""The folder layout: what is read is what was written, and bad input is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_windows import toy_layout

from groundswell.core.errors import InputError
from groundswell.pipelines.geomag.layout import (
    ClassFile,
    WindowWriter,
    files_of,
    read_layout,
    read_windows,
    window_folder,
)
from groundswell.pipelines.geomag.source import GeomagSource

COLUMNS = 7 * 1440 + 1


def write_pair(root: Path, zero: np.ndarray, one: np.ndarray) -> Path:
    folder = window_folder(root, 7)
    folder.mkdir(parents=True)
    np.save(folder / "data_0.npy", zero)
    np.save(folder / "data_1.npy", one)
    return root


def rows(count: int, label: int, dtype: str = "f4") -> np.ndarray:
    made = np.random.default_rng(label).normal(20000, 30, (count, COLUMNS)).astype(dtype)
    made[:, -1] = label
    return made


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", ">f4", "f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_read_whatever_their_type_and_order(tmp_path, dtype, order) -> None:
    zero, one = rows(5, 0).astype(dtype, order=order), rows(3, 1).astype(dtype, order=order)
    layout = read_layout(write_pair(tmp_path, zero, one), 7)
    chosen = np.array([7, 0, 4, 5, 0])
    both = np.concatenate([zero, one])[:, :-1].astype(np.float32)
    np.testing.assert_array_equal(layout.read(chosen), both[chosen])
    np.testing.assert_array_equal(layout.files[0].block(1, 4), zero[1:4])
    assert layout.files[0].block(1, 4)[0].flags.c_contiguous
    assert layout.labels().tolist() == [0] * 5 + [1] * 3
    source = GeomagSource(files_of(layout.facts()))
    out = {"x": np.full((5, COLUMNS - 1), np.nan, np.float32)}
    source.read(chosen, out)
    np.testing.assert_array_equal(out["x"], both[chosen])
    assert len(source) == 8


def test_rows_outside_the_files_are_refused(tmp_path) -> None:
    layout = read_layout(write_pair(tmp_path, rows(2, 0), rows(2, 1)), 7)
    with pytest.raises(InputError, match="outside"):
        read_windows(layout.files, np.array([4]), np.empty((1, COLUMNS - 1), np.float32))


def test_what_is_written_is_read(tmp_path) -> None:
    root = toy_layout(tmp_path, events=6, placebo=True)
    layout = read_layout(root, 7)
    assert layout.sidecar is not None
    assert list(layout.sidecar["event_id"]) == ["e000", "e000", "e002", "e002", "e004", "e004",
                                                "e001", "e001", "e003", "e003", "e005", "e005"]
    assert layout.origin["simulated"] is True
    assert layout.read(np.arange(12), placebo=True).shape == (12, 10080)
    assert not (root / ".window-7.part").exists()


def test_nothing_is_seen_before_the_end_and_nothing_is_left_of_a_failure(tmp_path) -> None:
    with pytest.raises(RuntimeError), WindowWriter(tmp_path, 7, (1, 1)) as writer:
        writer.put(0, 0, np.zeros(10080))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    toy_layout(tmp_path / "there")
    with pytest.raises(InputError, match="already"):
        WindowWriter(tmp_path / "there", 7, (1, 1))


def test_an_unknown_window(tmp_path) -> None:
    with pytest.raises(InputError, match="no window of 8 days"):
        read_layout(tmp_path, 8)


def test_no_files(tmp_path) -> None:
    with pytest.raises(InputError, match="no such file of windows"):
        read_layout(tmp_path, 7)


@pytest.mark.parametrize(("zero", "one", "message"), [
    (rows(2, 0)[:, :-1], rows(2, 1), "Rows have 10080 columns"),
    (rows(2, 0)[0], rows(2, 1), "two-dimensional"),
    (rows(2, 0), rows(0, 1), "only one class"),
    (rows(2, 0), rows(2, 1).astype("c8"), "two-dimensional array of numbers"),
])
def test_bad_shapes(tmp_path, zero, one, message) -> None:
    with pytest.raises(InputError, match=message):
        read_layout(write_pair(tmp_path, zero, one), 7)


@pytest.mark.parametrize(("label", "message"), [(2.0, "labels must be 0 or 1"), (0.0, "every label must be 1"),
                                                (0.5, "labels must be 0 or 1")])
def test_bad_labels(tmp_path, label, message) -> None:
    one = rows(3, 1)
    one[1, -1] = label
    with pytest.raises(InputError, match=message) as caught:
        read_layout(write_pair(tmp_path, rows(2, 0), one), 7)
    assert "row 1" in caught.value.where


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path, bad) -> None:
    one = rows(3, 1)
    one[2, 77] = bad
    with pytest.raises(InputError, match="not finite") as caught:
        read_layout(write_pair(tmp_path, rows(2, 0), one), 7)
    assert "row 2" in caught.value.where


def test_nothing_is_unpickled(tmp_path) -> None:
    folder = window_folder(tmp_path, 7)
    folder.mkdir()
    np.save(folder / "data_0.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match="not an array file"):
        read_layout(tmp_path, 7)


@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t.drop(columns="station"), "lacks the column"),
    (lambda t: t.iloc[1:], "do not name each"),
    (lambda t: t.assign(row=0), "do not name each"),
    (lambda t: t.assign(event_id=None), "no event_id"),
])
def test_a_sidecar_that_does_not_fit(tmp_path, change, message) -> None:
    root = toy_layout(tmp_path, events=4)
    path = root / "window-7" / "samples.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(InputError, match=message):
        read_layout(root, 7)


def test_a_changed_file_is_noticed(tmp_path) -> None:
    layout = read_layout(toy_layout(tmp_path), 7)
    layout.files[0].check_unchanged()
    path = Path(layout.files[0].path)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(InputError, match="has changed"):
        layout.files[0].check_unchanged()
    path.unlink()
    with pytest.raises(InputError, match="gone"):
        layout.files[0].check_unchanged()


def test_a_file_cut_short_after_it_was_looked_at_is_named(tmp_path) -> None:
    layout = read_layout(write_pair(tmp_path, rows(2, 0), rows(2, 1)), 7)
    path = Path(layout.files[1].path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="ends too early"):
        layout.files[1].block(0, 2)


def test_a_file_cut_short_is_named(tmp_path) -> None:
    root = toy_layout(tmp_path)
    path = root / "window-7" / "data_0.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="not an array file"):
        ClassFile.of(path, 0, COLUMNS)


def test_looking_at_windows_does_not_hold_their_files_in_memory(tmp_path) -> None:
    count = 3000  # 121 MB a file
    with WindowWriter(tmp_path, 7, (count, 2)) as writer:
        for label, rows_of in ((0, count), (1, 2)):
            for row in range(rows_of):
                writer.put(label, row, np.full(COLUMNS - 1, 20000.0 + row, np.float32))
        writer.finish(None, {})
    looked = """
import sys
from pathlib import Path
from groundswell.pipelines.geomag.layout import read_layout
from groundswell.pipelines.geomag.windows import sample_table
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
sample_table(read_layout(Path(sys.argv[1]), 7), "any")
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", looked, str(tmp_path)], check=True, capture_output=True, text=True)
    assert int(done.stdout) / 1024 < 80  # two blocks of 16 MiB; mapped pages would be 115
