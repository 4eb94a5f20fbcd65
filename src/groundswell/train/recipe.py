"""train: the part of a recipe that says how a network is trained."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from groundswell.core.recipe import RecipePart


class Stage(RecipePart):
    """Some epochs with a learning rate of their own, begun with a new optimiser."""

    epochs: int = Field(ge=1)
    """Epochs of the stage."""
    learning_rate: float = Field(gt=0)
    """Step size in its first epoch."""
    decay: float = Field(1.0, gt=0, le=1)
    """What the step size is multiplied by after each epoch."""


class TrainRecipe(RecipePart):
    """How a network is trained. Names and defaults follow the seed of the DAS pipeline where it has them."""

    epochs: int = Field(50, ge=1)
    """Passes over the training samples."""
    batch_size: int = Field(16, ge=1)
    """Samples in a batch, per process."""
    optimiser: Literal["adamw", "sgd"] = "adamw"
    """adamw, or sgd: with Nesterov momentum, and without decay of biases and of the scales of normalisation."""
    learning_rate: float = Field(1e-3, gt=0)
    """Initial step size."""
    momentum: float = Field(0.937, ge=0, lt=1)
    """Of sgd."""
    weight_decay: float = Field(1e-4, ge=0)
    """Weight decay, decoupled with adamw."""
    warmup_epochs: float = Field(0.0, ge=0)
    """Epochs in which the step size rises in a line from nearly nothing; not with scheduler stages."""
    clip_norm: float = Field(1.0, ge=0)
    """Largest gradient norm; 0 clips nothing."""
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients are added before a step."""
    scheduler: Literal["plateau", "cosine", "none", "stages"] = "plateau"
    """plateau: halve the rate when the validation loss stops falling; cosine: to zero over all epochs; stages: as
    train.stages says, whatever train.learning_rate is."""
    stages: tuple[Stage, ...] | None = None
    """Epochs, learning rate and its decay an epoch of each stage, with scheduler stages; their epochs make up
    train.epochs."""
    plateau_factor: float = Field(0.5, gt=0, lt=1)
    """What the rate is multiplied by at a plateau."""
    plateau_patience: int = Field(5, ge=0)
    """Epochs without a lower validation loss before the rate is reduced."""
    early_stopping_patience: int = Field(10, ge=0)
    """Epochs without a better monitored value before training stops; 0 never stops early."""
    monitor: str = "val_accuracy"
    """What the best checkpoint and early stopping look at: val_loss, val_accuracy or another metric of the task."""
    use_class_weights: bool = True
    """Weight the loss of the rarer classes more."""
    class_weight_method: Literal["inverse", "sqrt", "effective", "balanced"] = "inverse"
    """inverse and balanced: N / (K n_c); sqrt: its square root; effective: by the effective number of samples."""
    balanced_sampling: bool = False
    """Draw the classes equally often instead; not together with use_class_weights."""
    use_focal_loss: bool = False
    """Focal loss instead of cross-entropy."""
    focal_gamma: float = Field(2.0, ge=0)
    """Focusing exponent of the focal loss."""
    precision: Literal["32", "bf16", "16"] = "32"
    """32: float32; bf16: bfloat16 autocast; 16: float16 autocast with loss scaling (GPU only)."""
    devices: int = Field(1, ge=1)
    """Processes, one device each."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """What to run on."""
    checkpoint_every: int = Field(5, ge=0)
    """Epochs between periodic checkpoints that are kept; 0 keeps only the last and the best."""
    checkpoint_epochs: int = Field(1, ge=0)
    """Epochs between checkpoints for resuming; 0 writes none but on a request to stop: a killed fit begins anew."""
    checkpoint_every_steps: int = Field(0, ge=0)
    """Optimiser steps between checkpoints for resuming; 0 saves at the end of each epoch only."""
    keep: int = Field(3, ge=1)
    """How many resumable checkpoints are kept beside the best one."""
    folds_at_once: int = Field(1, ge=1)
    """Folds that are fitted side by side, each in a process of its own (kfold, leave_one_out and controls)."""
    threads: int = Field(0, ge=0)
    """Torch threads of each process; 0 leaves torch's choice."""
    nan_retries: int = Field(3, ge=0)
    """How often a fit whose loss or gradient is not finite goes back to its last checkpoint and leaves out that step,
    from the second time on at half the rate; 0 ends it at once."""
    seed: int = 42
    """Of everything that is drawn by chance."""
    tensorboard: bool = True
    """Write TensorBoard files beside the CSV logs."""

    @model_validator(mode="after")
    def _stages_make_up_the_epochs(self) -> TrainRecipe:
        staged = self.scheduler == "stages"
        if staged != bool(self.stages):
            raise ValueError("scheduler: stages and a list of stages need one another")
        if self.stages and sum(stage.epochs for stage in self.stages) != self.epochs:
            raise ValueError(f"the stages have {sum(stage.epochs for stage in self.stages)} epochs together and "
                             f"train.epochs is {self.epochs}")
        return self

    @field_validator("precision", mode="before")
    @classmethod
    def _precision_may_be_a_number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value  # YAML reads 32 as one
