"""Fault 7: SIGTERM and SIGUSR1 in every phase: one checkpoint where there is something to keep, 143 or 138 as exit
status, and the end at once for a second one."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from survivors import At, Command, outcome

STATUS = {signal.SIGTERM: 143, signal.SIGUSR1: 138}
PHASES = {
    "looking at the data": At("groundswell.pipelines.workflow:open_and_split"),
    "preflight": At("groundswell.pipelines.workflow:rehearse"),
    "first look at the validation part": At("groundswell.train.training:Training.validate"),
    "training": At("groundswell.train.training:Training.batch", 4),
    "validation": At("groundswell.train.training:Training.validate", 2),
    "writing a checkpoint": At("groundswell.train.checkpoint:write_checkpoint", 1),
    "end of the last epoch": At("groundswell.train.training:Training.end_epoch", 3),
    "prediction after training": At("groundswell.pipelines.workflow:predict_rows"),
}
CASES = [(phase, number) for index, phase in enumerate(PHASES) for number in STATUS
         if phase == "training" or (number == signal.SIGTERM) == bool(index % 2)]


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in run.glob("fold-1/checkpoints/step-*.ckpt"))


@pytest.mark.parametrize(("phase", "number"), CASES, ids=[f"{phase}-{number.name}" for phase, number in CASES])
def test_a_signal_in_any_phase_keeps_what_there_is_and_says_its_status(
        phase: str, number: signal.Signals, place: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = Command(tmp_path / "said", "das", "train", place / "recipe.yaml", "--out", run, at=PHASES[phase]).met()
    before = checkpoints(run)
    command.send(number)
    time.sleep(0.05)
    assert command.let_go().end() == STATUS[number], command.said
    said = command.complaint
    assert f"signal {int(number)}" in said
    if not run.exists():
        assert "nothing was written" in said
        assert phase in ("looking at the data", "preflight")
        return
    assert f"groundswell resume {run}" in said or "'groundswell resume RUN'" in said
    after = checkpoints(run)
    assert len(set(after) - set(before)) <= 1, (before, after)
    if phase in ("training", "validation", "writing a checkpoint"):
        assert len(set(after) - set(before)) == 1
    assert not list(run.rglob(".*.part*"))
    again = Command(tmp_path / "said", "resume", run)
    assert again.end() == 0, again.said
    assert outcome(run) == outcome(whole)


@pytest.mark.parametrize("number", list(STATUS), ids=["SIGTERM", "SIGUSR1"])
def test_a_signal_in_the_evaluation_leaves_the_run_as_it_was(
        number: signal.Signals, place: Path, whole: Path, tmp_path: Path) -> None:
    before = outcome(whole)
    command = Command(tmp_path, "evaluate", whole, at=At("groundswell.pipelines.judge:run_controls")).met()
    assert command.send(number).end() == STATUS[number], command.said
    assert "in the evaluation" in command.complaint
    assert f"groundswell evaluate {whole}" in command.complaint
    assert outcome(whole) == before
    assert not (whole / "metrics.json").exists()


@pytest.mark.parametrize(("words", "at"), [
    (("das", "train", "RECIPE", "--out", "RUN"), "groundswell.pipelines.workflow:rehearse"),
    (("das", "train", "RECIPE", "--out", "RUN"), "groundswell.train.training:Training.batch"),
    (("evaluate", "WHOLE"), "groundswell.pipelines.judge:run_controls"),
], ids=["preflight", "training", "evaluation"])
def test_a_second_signal_ends_at_once_even_deep_in_a_library(
        words: tuple[str, ...], at: str, place: Path, whole: Path, tmp_path: Path) -> None:
    meant = {"RECIPE": place / "recipe.yaml", "RUN": tmp_path / "run", "WHOLE": whole}
    command = Command(tmp_path / "said", *(meant.get(word, word) for word in words), at=At(at, deep=True)).met()
    time.sleep(0.1)
    command.send(signal.SIGTERM)
    time.sleep(0.8)
    assert command.process.is_alive(), "the first signal waits for a clean point"
    asked = time.monotonic()
    assert command.send(signal.SIGUSR1).end() == 138
    assert time.monotonic() - asked < 5  # the library keeps it for more than twice as long


def test_two_signals_in_one_breath_are_one_request(place: Path, tmp_path: Path) -> None:
    at = At("groundswell.train.training:Training.batch", 4)
    command = Command(tmp_path / "said", "das", "train", place / "recipe.yaml", "--out", tmp_path / "run", at=at).met()
    command.send(signal.SIGTERM).send(signal.SIGTERM)
    time.sleep(0.05)
    assert command.let_go().end() == 143
    assert "a checkpoint was written" in command.complaint
