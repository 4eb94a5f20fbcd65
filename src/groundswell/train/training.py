"""train: the state of a fit and the few things that happen to it: a batch, a step, a validation, the end of an epoch.

What is drawn by chance in a batch follows from (seed, epoch, batch, process) alone. Together with the order of the
loader, which is a pure function of (seed, epoch), that makes the state small: weights, optimiser, schedule, running
sums and the place in the epoch.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from groundswell.core.errors import FailureError, InputError
from groundswell.core.seeds import derive_seed
from groundswell.train.checkpoint import CheckpointFolder
from groundswell.train.launch import Stop
from groundswell.train.logs import RunLogs
from groundswell.train.objective import Objective, Sealed
from groundswell.train.optimisers import make_optimiser
from groundswell.train.processes import Processes
from groundswell.train.quarantine import Quarantine
from groundswell.train.recipe import TrainRecipe
from groundswell.train.schedule import Schedule
from groundswell.train.setbacks import NotFiniteError, Setback
from groundswell.train.setup import Setup
from groundswell.train.signals import STOPS
from groundswell.train.state import Place, add, generators, reseed, set_generators
from groundswell.train.task import Batch, Sums, check_monitor
from groundswell.train.weights import BEST, NEXT, facts_of, write_weights

FREE_KEYS = {"accelerator", "threads", "tensorboard", "keep", "checkpoint_every", "checkpoint_every_steps",
             "checkpoint_epochs", "folds_at_once", "nan_retries"}
"""Keys of the recipe that may change between a checkpoint and its resuming: results depend on them by rounding at most
(accelerator, threads), not at all, or only once a fit has failed (nan_retries)."""


class Training:
    """One process's share of a fit.

    Args:
        fabric: launched.
        parts: task and batches.
        recipe: of training.
        folder: of the fit.
        stop: polled after each optimiser step and each batch of validation.
        checkpoints: where they go; None in all processes but the first.
    """

    def __init__(self, fabric: Fabric, parts: Setup, recipe: TrainRecipe, folder: Path, stop: Stop,
                 checkpoints: CheckpointFolder | None) -> None:
        self.fabric, self.parts, self.recipe, self.folder, self.stop = fabric, parts, recipe, folder, stop
        self.checkpoints, self.processes = checkpoints, Processes(fabric)
        self.logs: RunLogs | None = None
        self.task, self.place = parts.task.train(), Place()
        self.sums: Sums = {}
        self.batches = self.processes.agreed_batches(parts)
        self.schedule = Schedule(recipe, recipe.epochs * math.ceil(self.batches / recipe.accumulate))
        parameters = [p for p in self.task.parameters() if p.requires_grad]
        self.raw = make_optimiser(parameters, recipe)
        self.model, self.optimiser = fabric.setup(Objective(self.task), self.raw)
        self.parameters = parameters
        self.generator = torch.Generator(fabric.device)
        self.quarantine = Quarantine(parts.bad)
        self.setbacks: list[dict[str, Any]] = []
        self._kept: tuple[int, int, int] | None = None
        self._group: list[tuple[Tensor, Tensor, Tensor]] = []
        self._samples = 0.0
        self.task.stage(0)
        self.task.epoch(0)

    # -- an optimiser step -------------------------------------------------------------------------------------------

    def batch(self, index: int, batch: Batch) -> None:
        """Add the gradients of one batch; with the last one of a group, step."""
        if index == 0:
            self._begin_stage()
        last = (index + 1) % self.recipe.accumulate == 0 or index + 1 == self.batches
        batch = self.quarantine.look(batch)
        if self.place.step in self.place.left_out:
            self._leave_out(index, batch, last=last)
            return
        seed = derive_seed(self.recipe.seed, "batch", self.place.epoch, index, self.fabric.global_rank)
        reseed(seed, self.fabric.device)
        self.generator.manual_seed(seed)
        with self.fabric.no_backward_sync(self.model, enabled=not last):
            loss, sums = self.model(Sealed((batch, self.generator)))
            weight = batch["weight"].sum()
            # Gradients are summed with the weight of their batch and divided by all of it when the group is complete.
            self.fabric.backward(loss * (weight / len(batch["weight"])))
        self._group.append((loss.detach().double(), weight.double(), batch["row"].clone()))
        add(self.sums, sums.value)
        if last:
            self._step(index, len(batch["weight"]))

    def _begin_stage(self) -> None:
        """Before an epoch: with the first of a stage the optimiser forgets its moments."""
        stage, epoch = self.schedule.stage(self.place.epoch)
        if stage and not epoch:
            self.raw.state.clear()
        self.task.stage(stage)
        self.task.epoch(self.place.epoch)

    def _step(self, index: int, samples: int) -> None:
        losses = torch.stack([loss * weight for loss, weight, _ in self._group]).sum()
        weight = torch.stack([weight for _, weight, _ in self._group]).sum()
        facts = torch.tensor([self._crc(), float(len(self.quarantine.found))], dtype=torch.float64)
        seen = self.processes.summed(torch.cat([torch.stack([losses, weight]), facts.to(losses.device)]))
        scale = (samples * self.fabric.world_size / seen[1].clamp(min=1e-12)).float()
        if scale.device.type != "cpu" or float(scale) != 1:  # a pass over all gradients; asking costs nothing on a CPU
            torch._foreach_mul_([p.grad for p in self.parameters if p.grad is not None], scale)
        norm = self.fabric.clip_gradients(self.model, self.optimiser, max_norm=self.recipe.clip_norm or math.inf,
                                          error_if_nonfinite=False)
        assert norm is not None
        total, weights, crcs, skipped, length = torch.cat([seen, norm.double().reshape(1)]).tolist()
        if skipped:
            self._note_skipped("train")
        self._check_finite(total, length)
        rate = self.schedule.rate(self.place.step) * self.place.slowed
        for group in self.raw.param_groups:
            group["lr"] = rate
        if weights > 0:
            self.optimiser.step()
        else:
            self._forgo_step()
        self.optimiser.zero_grad()
        self.processes.share_buffers(self.task)
        self._samples += weights
        self._end_step(index, total / max(weights, 1e-12), length, rate, int(crcs))

    def _end_step(self, index: int, loss: float, length: float, rate: float, crc: int) -> None:
        self._group.clear()
        self.place.batch, self.place.step = index + 1, self.place.step + 1
        if self.logs is not None:
            self.logs.step({"epoch": self.place.epoch + 1, "step": self.place.step, "loss": loss,
                            "gradient_norm": length, "learning_rate": rate, "rows_crc32": crc})

    def _crc(self) -> float:
        rows = torch.cat([rows for _, _, rows in self._group]).cpu().numpy().tobytes()
        return float(zlib.crc32(rows, self.fabric.global_rank))

    def _leave_out(self, index: int, batch: Batch, *, last: bool) -> None:
        """Pass over a batch of a step that was not finite: nothing learns from it, no running statistic sees it."""
        nothing = torch.zeros((), dtype=torch.float64, device=self.fabric.device)
        self._group.append((nothing, nothing, batch["row"].clone()))
        if last:
            facts = torch.tensor([self._crc(), float(len(self.quarantine.found))], dtype=torch.float64)
            crcs, skipped = self.processes.summed(facts.to(self.fabric.device)).tolist()
            if skipped:
                self._note_skipped("train")
            rate = self.schedule.rate(self.place.step) * self.place.slowed
            self._end_step(index, math.nan, math.nan, rate, int(crcs))

    def _note_skipped(self, part: str) -> None:
        """Write down samples that any process has found to be of no use.

        Raises:
            FailureError: there are too many.
        """
        found = [item for share in self.processes.gathered(self.quarantine.taken()) for item in share]
        entries = self.quarantine.entries(found, part=part, epoch=self.place.epoch + 1, step=self.place.step + 1)
        if self.logs is not None:
            for entry in entries:
                self.logs.quarantine.write(entry)
        self.quarantine.check_most(entries)

    def _forgo_step(self) -> None:
        """Leave weights, moments and decay as they are: a group of batches without a single sample teaches nothing."""
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        if scaler is not None:
            # Clipping has unscaled the gradients, which may happen once between two updates only.
            scaler.update()

    def _check_finite(self, total: float, length: float) -> None:
        # With loss scaling an infinite gradient is an everyday event: the scaler skips that step.
        if math.isfinite(total) and (math.isfinite(length) or self.recipe.precision == "16"):
            return
        suspects = [rows.tolist() for loss, _, rows in self._group if not torch.isfinite(loss)]
        mine = suspects or ([rows.tolist() for _, _, rows in self._group] if math.isfinite(total) else [])
        rows = [row for part in self.processes.gathered(mine) for group in part for row in group]
        what = "gradient" if math.isfinite(total) else "loss"
        raise NotFiniteError(f"The {what} of epoch {self.place.epoch + 1}, step {self.place.step + 1} is not a finite "
                             f"number; no weights of it were kept", step=self.place.step, rows=rows,
                             where=f"rows {rows[:64]} of the sample table",
                             fix="Look at these samples for NaN or infinite values, or lower train.learning_rate")

    # -- validation and the end of an epoch --------------------------------------------------------------------------

    def validate(self, most: int | None = None) -> dict[str, float]:
        """Metrics of the validation part (of its first ``most`` batches); nothing of the state changes."""
        reseed(derive_seed(self.recipe.seed, "validation", self.place.epoch, self.fabric.global_rank),
               self.fabric.device)
        self.task.eval()
        sums: Sums = {}
        batches = self.parts.validation.iterate(0)
        with torch.no_grad():
            for index, batch in enumerate(batches):
                _, part = self.model(Sealed((self.quarantine.look(batch), None)))
                add(sums, part.value)
                if most is not None and index + 1 >= most:
                    break
                if most is None:
                    self.stop_if_asked()
        close = getattr(batches, "close", None)
        if close is not None:
            close()
        self.task.train()
        count = torch.tensor(float(len(self.quarantine.found)), dtype=torch.float64, device=self.fabric.device)
        if most is not None:
            self.quarantine.taken()  # only a first look, before it is known what an earlier process has written down
        elif float(self.processes.summed(count)):
            self._note_skipped("validation")
        return self._metrics(sums)

    def end_epoch(self, validation: dict[str, float], train_s: float, validation_s: float) -> None:
        """Schedule, best weights, early stopping, logs, and as the last act a checkpoint."""
        place, recipe = self.place, self.recipe
        train, rate = self._metrics(self.sums), self.raw.param_groups[0]["lr"]
        for name, value in (("val_loss", validation["loss"]), (recipe.monitor, self.monitored(validation))):
            if not math.isfinite(value):
                raise FailureError(f"{name} of epoch {place.epoch + 1} is not a finite number; no weights of that "
                                   "epoch were kept", where=self.folder,
                                   fix="Look at the validation samples, or set another train.monitor")
        self.schedule.epoch_ended(validation["loss"])
        metrics = {**{f"train_{k}": float(v) for k, v in train.items()},
                   **{f"val_{k}": float(v) for k, v in validation.items()}}
        lower = recipe.monitor.removeprefix("val_") in self.task.lower_is_better
        place.epoch_ended(self.monitored(validation), metrics, lower=lower, patience=recipe.early_stopping_patience,
                          epochs=recipe.epochs)
        self.sums = {}
        if self.logs is not None:
            self.logs.epoch(place.epoch, place.step, rate, metrics)
            self.logs.timing(place.epoch, place.step, self._samples, train_s, validation_s)
        self._samples = 0.0
        self.write_best()
        if recipe.checkpoint_epochs and (place.epoch % recipe.checkpoint_epochs == 0 or place.finished):
            self.save()
        if place.finished:
            self.settle_best()

    def _metrics(self, sums: Sums) -> dict[str, float]:
        return self.task.metrics({name: self.processes.summed(value).cpu() for name, value in sums.items()})

    def monitored(self, validation: dict[str, float]) -> float:
        """The value that the best epoch is chosen by.

        Raises:
            InputError: the task has no such metric.
        """
        check_monitor(self.recipe.monitor, validation)
        return float(validation[self.recipe.monitor.removeprefix("val_")])

    def write_best(self) -> None:
        """Write the present weights beside the best ones, if the epoch that has just ended is better."""
        place = self.place
        if self.checkpoints is not None and 0 < place.best_epoch == place.epoch and not place.batch:
            write_weights(self.folder / NEXT, self.task, {
                "epoch": place.best_epoch, "step": place.best_step, "monitor": self.recipe.monitor,
                "metrics": place.best_metrics})

    def settle_best(self) -> None:
        """Now that a checkpoint holds the present state: what was written beside the best weights takes their place.

        Not before: a fit that goes back to a checkpoint also goes back to the weights that were the best there.

        Raises:
            FailureError: training has ended, and those of its best epoch are not there.
        """
        if self.checkpoints is None:
            return
        best, waiting = self.folder / BEST, self.folder / NEXT
        if waiting.exists():
            if facts_of(waiting).get("step") == self.place.best_step:
                waiting.replace(best)
            else:
                waiting.unlink()
        if self.place.finished and facts_of(best).get("step") != self.place.best_step:
            raise FailureError(f"The weights of the best epoch, {self.place.best_epoch}, are not there: a checkpoint "
                               "was lost, and going on from the one before gave other weights", where=best,
                               fix="Train again in another folder")

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint of the present state."""
        shares = self.processes.gathered({"sums": self.sums, "generators": generators()})
        self._kept = (self.place.epoch, self.place.batch, self.place.step)
        if self.checkpoints is None or self.logs is None:
            return
        bad = [name for name, value in self.task.named_parameters() if not torch.isfinite(value).all()]
        bad += [name for name, value in self.task.named_buffers() if value.is_floating_point() and value.isnan().any()]
        if bad:
            raise FailureError(f"'{bad[0]}' holds values that are not finite after step {self.place.step}; no "
                               "checkpoint of it was written", where=self.folder,
                               fix="Lower train.learning_rate and train again")
        lengths = self.logs.sync()
        self.checkpoints.save({**self.state(), "shares": shares, "logs": lengths, "log_crc32": self.logs.checksums()},
                              self.place.step, None if self.place.batch else self.place.epoch)
        self.settle_best()

    def state(self) -> dict[str, Any]:
        """What all processes have in common."""
        return {"recipe": self.recipe.model_dump(mode="json"), "world": self.fabric.world_size,
                "batches": self.batches, "order": dict(self.parts.order), "place": asdict(self.place),
                "model": dict(self.task.state_dict()), "optimiser": self.raw.state_dict(),
                "schedule": self.schedule.state(),
                "precision": self.fabric.strategy.precision.state_dict()}

    def restore(self, state: dict[str, Any], path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            InputError: it belongs to another recipe, network, number of processes or amount of data.
        """
        self._check_same(state, path)
        try:
            self.task.load_state_dict(state["model"])
            self.raw.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError) as error:
            raise InputError(f"The checkpoint belongs to another network: {error}", where=path) from error
        self.schedule.restore(state["schedule"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.place = Place(**state["place"])
        self.task.stage(self.schedule.stage(self.place.epoch)[0])
        self.task.epoch(self.place.epoch)
        self._kept = (self.place.epoch, self.place.batch, self.place.step)
        mine = state["shares"][self.fabric.global_rank]
        self.sums = {name: value.to(self.fabric.device) for name, value in mine["sums"].items()}
        set_generators(mine["generators"])

    def _check_same(self, state: dict[str, Any], path: Path) -> None:
        now = self.recipe.model_dump(mode="json")
        # A key that came later had its default's effect before.
        then = {key: field.default for key, field in TrainRecipe.model_fields.items()} | state["recipe"]
        changed = [f"train.{key} was {then.get(key)!r} and is {now[key]!r}" for key in now
                   if key not in FREE_KEYS and then.get(key) != now[key]]
        if state["world"] != self.fabric.world_size:
            changed.append(f"there were {state['world']} processes and are {self.fabric.world_size}")
        if state["batches"] != self.batches:
            changed.append(f"an epoch had {state['batches']} batches and has {self.batches}: the data changed")
        # What came later was not there before: samples were drawn one by one.
        before, order = (facts or "single samples" for facts in (state.get("order"), dict(self.parts.order)))
        if before != order:
            changed.append(f"the order (loader.read_once) followed from {before} and does from {order}")
        if changed:
            raise InputError(f"This fit cannot be resumed: {'; '.join(changed)}", where=path,
                             fix="Resume with what it was begun with, or train anew in another folder")

    def go_back(self, setback: Setback) -> None:
        """After going back to a checkpoint because a step was not finite: what will be different this time."""
        self.setbacks = [*setback.before, setback.apply(self.place)]
        if self.logs is not None:
            kept = len(self.logs.setbacks.lines())  # those before the checkpoint; the log was cut back to it
            for entry in self.setbacks:
                if entry["setback"] > kept:
                    self.logs.setbacks.write(entry)

    def save_if_due(self) -> None:
        """After a step: write a checkpoint every so many steps and when asked to stop, but never with a validation
        or the end of the epoch pending, for that ends with a checkpoint of its own."""
        every = self.recipe.checkpoint_every_steps
        if self.place.batch < self.batches and not self._group:
            self.stop_if_asked()
            if every and self.place.step % every == 0:
                self.save()
                self.stop_if_asked()  # asked while it was written: this is the one that is kept

    def stop_if_asked(self) -> None:
        """If a signal came to any process: checkpoint, then leave all of them.

        Within a validation nothing has changed since the epoch's last step. It is that state which is kept, and
        resuming begins the validation again.

        Raises:
            TrainingStopped: of the kind that goes with the signal.
        """
        asked = torch.tensor([float(self.stop() == number) for number in STOPS], device=self.fabric.device)
        numbers = [number for number, count in zip(STOPS, self.processes.summed(asked).tolist(), strict=True) if count]
        if not numbers:
            return
        place = self.place
        if place.step and self._kept != (place.epoch, place.batch, place.step):
            self.save()
        self.fabric.barrier()
        kept = "a checkpoint was written" if place.step else "there was nothing to keep yet"
        raise STOPS[numbers[0]](f"Training stopped by signal {numbers[0]} after step {place.step} "
                                f"(epoch {place.epoch + (place.batch > 0)}); {kept}",
                                where=self.folder, fix="'groundswell resume RUN' goes on from there")
