"""The labelling dialogue: every answer is kept, undone or resumed; the journal is the truth, labels.json its export."""

from __future__ import annotations

import io
import json

import pytest
from window_archive import write_file

from groundswell.core.errors import FailureError, InputError
from groundswell.pipelines.das import label_journal
from groundswell.pipelines.das.label_journal import LabelEvent, LabelJournal, read_journal
from groundswell.pipelines.das.label_terminal import Progress, label_folder

CLASSES = ("earthquake", "quarry_blast")


@pytest.fixture
def folder(tmp_path):
    for k, name in enumerate("abc"):
        write_file(tmp_path / f"{name}.h5", seed=k, samples=50)
    return tmp_path


def ask(folder, answers, *, annotator="ada", draw=lambda record, path: path.write_bytes(b"PNG")):
    screen = io.StringIO()
    progress = label_folder(folder, annotator, classes=CLASSES, draw=draw, answers=io.StringIO(answers), screen=screen)
    return progress, screen.getvalue()


def exported(folder):
    return json.loads((folder / "labels.json").read_text())


def journal_of(folder, annotator="ada"):
    return next((folder / "labels").glob(f"*/{annotator}.jsonl"))


def test_each_unlabelled_file_is_asked_for_with_its_picture(folder):
    progress, screen = ask(folder, "0\n1\n0\n")
    assert progress == Progress(3, 0) and exported(folder) == {"a.h5": 0, "b.h5": 1, "c.h5": 0}
    for name in "abc":
        picture = folder / ".groundswell" / "pictures" / f"{name}.h5.png"
        assert picture.read_bytes() == b"PNG" and str(picture) in screen
    assert ask(folder, "")[0] == Progress(3, 0)


def test_each_answer_is_saved_before_the_next_question(folder):
    seen = []

    def draw(record, path):
        labels = exported(folder) if (folder / "labels.json").exists() else {}
        lines = len(journal_of(folder).read_text().splitlines()) if labels else 0
        seen.append((record.path.name, labels, lines))

    ask(folder, "1\n0\nq\n", draw=draw)
    assert seen == [("a.h5", {}, 0), ("b.h5", {"a.h5": 1}, 1), ("c.h5", {"a.h5": 1, "b.h5": 0}, 2)]


def test_the_end_of_the_answers_quits_and_the_next_session_goes_on(folder):
    assert ask(folder, "1\n")[0] == Progress(1, 2)
    progress, screen = ask(folder, "0\n0\n", annotator="ben")
    assert progress == Progress(3, 0) and "a.h5 " not in screen
    assert exported(folder) == {"a.h5": 1, "b.h5": 0, "c.h5": 0}


def test_skipped_files_are_asked_for_again_in_the_next_session(folder):
    assert ask(folder, "s\n1\ns\n")[0] == Progress(1, 2)
    assert ask(folder, "0\n0\n")[0] == Progress(3, 0)


def test_undo_takes_the_latest_answer_back_and_asks_again(folder):
    progress, screen = ask(folder, "0\n0\nu\n1\nu\nu\n1\nq\n")
    assert progress == Progress(1, 2) and exported(folder) == {"a.h5": 1}
    assert screen.count("Took back") == 3
    events = read_journal(journal_of(folder))
    assert [e.action for e in events] == ["label", "label", "undo", "label", "undo", "undo", "label"]


def test_undo_reaches_back_into_earlier_sessions_but_not_to_others(folder):
    ask(folder, "0\nq\n")
    assert "nothing to undo" in ask(folder, "u\nq\n", annotator="ben")[1]
    assert ask(folder, "u\nq\n")[0] == Progress(0, 3) and exported(folder) == {}


def test_what_is_no_answer_is_asked_again(folder):
    progress, screen = ask(folder, "2\nyes\n\n 1 \nq\n")
    assert progress == Progress(1, 2) and screen.count("is none of these") == 3


def test_labels_json_made_elsewhere_is_taken_over_once_and_edits_win(folder):
    (folder / "labels.json").write_text('{"b.h5": 1, "elsewhere.h5": 0}')
    progress, screen = ask(folder, "0\nq\n")
    assert progress == Progress(2, 1) and "2 label(s) taken over" in screen
    assert exported(folder) == {"a.h5": 0, "b.h5": 1, "elsewhere.h5": 0}
    assert "taken over" not in ask(folder, "q\n")[1]
    (folder / "labels.json").write_text('{"a.h5": 1, "b.h5": 1}')
    assert "1 label(s) taken over" in ask(folder, "q\n")[1]
    assert exported(folder) == {"a.h5": 1, "b.h5": 1, "elsewhere.h5": 0}
    # An import is not an answer: there is the answer for a.h5 to undo, and then nothing.
    assert "nothing to undo" in ask(folder, "u\nu\nq\n")[1]


def test_a_kill_between_the_journal_and_the_export_loses_nothing(folder):
    ask(folder, "0\n1\nq\n")
    before_undo = (folder / "labels.json").read_text()
    ask(folder, "u\nq\n")
    (folder / "labels.json").write_text(before_undo)
    assert "taken over" not in ask(folder, "q\n")[1]
    assert exported(folder) == {"a.h5": 0}


def test_a_line_cut_off_by_a_crash_does_not_count_and_the_journal_goes_on(folder):
    ask(folder, "0\n1\nq\n")
    path = journal_of(folder)
    path.write_bytes(path.read_bytes()[:-9])
    (folder / "labels.json").unlink()
    assert ask(folder, "q\n")[0] == Progress(1, 2)
    assert ask(folder, "0\n0\n")[0] == Progress(3, 0)
    assert [e.label for e in read_journal(path)] == [0, 0, 0]


def test_a_damaged_journal_is_named_with_its_line(folder):
    ask(folder, "0\n1\nq\n")
    path = journal_of(folder)
    path.write_text(path.read_text().replace('"label"', "label", 1))
    with pytest.raises(InputError, match=rf"{path.name}, line 1"):
        ask(folder, "q\n")


def test_added_files_begin_a_new_journal_and_keep_the_old_labels(folder):
    ask(folder, "0\n1\n0\n")
    write_file(folder / "d.h5", seed=9, samples=50)
    assert ask(folder, "1\n")[0] == Progress(4, 0)
    assert len(list((folder / "labels").glob("*/ada.jsonl"))) == 2
    assert exported(folder) == {"a.h5": 0, "b.h5": 1, "c.h5": 0, "d.h5": 1}


def test_an_answer_that_cannot_be_saved_says_so_and_leaves_the_journal_whole(folder, monkeypatch):
    ask(folder, "0\nq\n")
    path = journal_of(folder)
    before, journal = path.read_bytes(), LabelJournal(folder, path.parent.name, "ada", CLASSES)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(label_journal.os, "fsync", full)
        with pytest.raises(FailureError, match=r"could not be saved: .*No space left"):
            journal.append(LabelEvent("label", "b.h5", 1))
    assert path.read_bytes() == before and journal.labels() == {"a.h5": 0}


def test_an_annotator_cannot_write_elsewhere(folder):
    for name in ("../me", "", ".hidden", "a/b"):
        with pytest.raises(InputError, match="cannot name a journal"):
            LabelJournal(folder, "f", name, CLASSES)


def test_a_picture_that_fails_does_not_stop_the_questions(folder):
    def draw(record, path):
        raise InputError("The record cannot be drawn")

    progress, screen = ask(folder, "0\nq\n", draw=draw)
    assert progress.labelled == 1 and "cannot be drawn" in screen


def test_a_folder_without_waveforms_is_refused(tmp_path):
    with pytest.raises(InputError, match="no waveform to label"):
        ask(tmp_path, "0\n")


def test_labels_of_two_annotators_are_merged_by_time(tmp_path):
    first, second = (LabelJournal(tmp_path, "f", who, CLASSES) for who in ("ada", "ben"))
    first.append(LabelEvent("label", "a.h5", 0, time="2026-01-01T00:00:00+00:00"))
    second.append(LabelEvent("label", "a.h5", 1, time="2026-01-02T00:00:00+00:00"))
    first.append(LabelEvent("label", "b.h5", 1, time="2026-01-01T00:00:01+00:00"))
    assert LabelJournal(tmp_path, "other", "eve", CLASSES).labels() == {"a.h5": 1, "b.h5": 1}
