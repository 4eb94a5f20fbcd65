"""Progress: on stderr, plain where there is no terminal, silent on request."""

from __future__ import annotations

import io
import sys

import pytest

from groundswell.core import progress as module
from groundswell.core.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_count_rate_and_time_left(monkeypatch, capsys) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with progress(120, "read", "files", done=20) as bar:
        for _ in range(50):
            clock[0] += 0.5
            bar.note("now")
            bar.advance()
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "read: 40/120 files, 2/s, 0:10 spent, 0:40 left; now"
    assert lines[-1] == "read: 70/120 files, 2/s, 0:25 spent, 0:25 left; now"
    assert len(lines) == 3


def test_without_a_total_and_over_hours(monkeypatch, capsys) -> None:
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with progress(None, "scan") as bar:
        clock[0] = 3725.0
        bar.advance(2)
    assert "scan: 2 items" in capsys.readouterr().err.splitlines()[0]


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_quiet_shows_nothing(monkeypatch, capsys, way) -> None:
    if way == "environment":
        monkeypatch.setenv("GROUNDSWELL_QUIET", "1")
    with progress(3, "read", quiet=way == "argument") as bar:
        bar.advance()
        bar.note("x")
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal_and_another_within_it(monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    with progress(2, "folds", "folds") as outer:
        with progress(3, "train", "batches") as inner:
            inner.advance(3)
        outer.note("fold 1")
        outer.advance(2)
    shown = terminal.getvalue()
    assert "folds" in shown and "2/2" in shown and "fold 1" in shown
    assert "train: 3/3 batches" in shown


def test_an_error_passes_through(capsys) -> None:
    with pytest.raises(ValueError, match="no"), progress(3, "read"):
        raise ValueError("no")
    assert "0/3" in capsys.readouterr().err
