"""symae: the complete configuration of a run, as a pydantic model."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from groundswell.core.recipe import RecipePart
from groundswell.data.recipe import LoaderRecipe
from groundswell.evaluate.waveform_recipe import WaveformEvaluateRecipe
from groundswell.splits.recipe import SplitRecipe
from groundswell.train.recipe import TrainRecipe

Model = Literal["source", "reference"]


class SymaeDataRecipe(RecipePart):
    """Which bags, and how many of their traces."""

    store: str = "bags"
    """Folder of a store of bags, made by `groundswell symae prepare` or `groundswell symae simulate`."""
    most_traces: int = Field(20, ge=2)
    """Traces of a bag that training and scores look at; of a larger bag, as many drawn by its name alone."""
    stations: Literal["all", "kept"] = "all"
    """kept: leave the stations out that the preparation marked as held out (prepare --set stations_out=0.1)."""
    labels: bool = True
    """Learn from the true sources and paths where they are known (simulated bags); false: from the traces alone."""


class SymaeModelRecipe(RecipePart):
    """Which network and how large."""

    type: Model = "source"
    """source: aligned traces, a network pooled over the bag, a convolutional path code; reference: the seed's
    variational autoencoder."""
    widths: tuple[int, ...] = (24, 32, 48, 64)
    """Channels at each scale of the network that answers, from full resolution down (source)."""
    trace_widths: tuple[int, ...] = (12, 24, 32)
    """Channels of the encoder of single traces (source)."""
    pooling: Literal["weighted", "mean"] = "weighted"
    """How what was found of single traces is pooled over a bag (source)."""
    stack_only: bool = False
    """Let the network see nothing but the aligned stack: what it finds is what it knows beforehand of sources."""
    align: bool = True
    """Align the traces before the network reads them (source); without, it reads them as they arrive."""
    polarity: bool = True
    """Find the polarity of each trace (source); false where the preparation has made them agree."""
    realign: int = Field(2, ge=0, le=5)
    """Times that traces are aligned again, on the network's own source, in use (source)."""
    max_shift_s: float = Field(10.0, gt=0)
    """Largest shift that alignment looks for, seconds."""
    p: int = Field(30, ge=1)
    """Length of the coherent code of one category (reference)."""
    q: int = Field(30, ge=1)
    """Length of the nuisance code of a trace."""
    k: int = Field(1, ge=1)
    """Number of categories of coherent codes (reference)."""
    temperature: tuple[float, ...] = (1.0, 1.0, 0.25)
    """Of the choice among categories, for each stage of training; without stages, the last (reference, k > 1)."""
    gamma: float = Field(100.0, ge=0)
    """Weight of the coherence penalty: how far a bag's aligned traces lie from their mean (reference)."""
    gamma_shift: float = Field(100.0, ge=0)
    """Weight of the norm of all shifts (reference)."""
    envelope: bool = False
    """Read envelopes of the traces (Hilbert transform) instead of the traces (reference)."""


class SymaeTrainRecipe(TrainRecipe):
    """How a network is trained."""

    epochs: int = Field(30, ge=1)
    """Passes over the training bags."""
    batch_size: int = Field(32, ge=1)
    """Bags in a batch, per process."""
    learning_rate: float = Field(2e-3, gt=0)
    """Initial step size of AdamW."""
    scheduler: Literal["plateau", "cosine", "none", "stages"] = "cosine"
    """plateau: halve the rate when the validation loss stops falling; cosine: to zero over all epochs; stages: as
    train.stages says, whatever train.learning_rate is."""
    monitor: str = "val_loss"
    """What the epoch is chosen by, on held-out events: val_loss or another of the loss's terms."""
    early_stopping_patience: int = Field(0, ge=0)
    """Epochs without a better monitored value before training stops; 0 never stops early."""
    use_class_weights: bool = False
    """There are no classes here: must stay false."""
    checkpoint_every: int = Field(0, ge=0)
    """Epochs between periodic checkpoints that are kept; 0 keeps only the last and the best."""


class ExtractRecipe(RecipePart):
    """How the coherent signal of an event is extracted by the reference model; names and values are the seed's."""

    N: int = Field(10, ge=1)
    """Traces whose nuisance codes are kept: those that say most of the coherent code."""
    nepochs: int = Field(100, ge=1)
    """Steps of the optimisation of the nuisance codes."""
    alpha: float = Field(0.1, ge=0)
    """Weight of the term that wants a waveform with few spikes."""
    learning_rate: float = Field(0.1, gt=0)
    """Step size."""
    optimiser: Literal["descent", "adam"] = "descent"
    """descent: plain gradient descent, as the original has it, with steps halved that would lead uphill; adam."""


class SymaeRecipe(RecipePart):
    """A complete run."""

    listed_by: ClassVar[str] = "groundswell recipe show symae"

    pipeline: Literal["symae"] = "symae"
    """Which pipeline the recipe is for."""
    data: SymaeDataRecipe = SymaeDataRecipe()
    """Bags."""
    model: SymaeModelRecipe = SymaeModelRecipe()
    """The network."""
    split: SplitRecipe = SplitRecipe()
    """Who may see what: whole events are held out."""
    loader: LoaderRecipe = LoaderRecipe()
    """How bags get from the store into batches."""
    train: SymaeTrainRecipe = SymaeTrainRecipe()
    """How the network is trained."""
    extract: ExtractRecipe = ExtractRecipe()
    """How the reference model extracts a coherent signal."""
    evaluate: WaveformEvaluateRecipe = WaveformEvaluateRecipe()
    """How the model is judged."""

    @model_validator(mode="after")
    def _no_classes(self) -> SymaeRecipe:
        if self.train.use_class_weights or self.train.balanced_sampling or self.train.use_focal_loss:
            raise ValueError("bags have no classes: use_class_weights, balanced_sampling and use_focal_loss must be "
                             "false")
        return self
