"""das: the complete configuration of a run, as a pydantic model."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from groundswell.core.recipe import RecipePart
from groundswell.data.recipe import LoaderRecipe
from groundswell.evaluate.recipe import EvaluateRecipe
from groundswell.splits.recipe import SplitRecipe
from groundswell.train.recipe import TrainRecipe

Channels = tuple[int, ...]
"""First channel, one past the last, and (if given) the step: 2 takes every other one."""


class DasDataRecipe(RecipePart):
    """Which records, which labels, and how they are cut into windows."""

    folder: str = "data"
    """Folder of records, read with all its subfolders."""
    labels: str = ""
    """labels.json of the folder (file name to 0 or 1), or an interval table (CSV or Parquet with record, start, stop,
    label, event_id). Empty looks for intervals.csv, then labels.json, in the folder."""
    region_labels: bool = False
    """Read the region label maps inside the files (seed data set) as labels of windows."""
    window_samples: int = Field(1024, ge=16)
    """Length of a window, in time samples at the records' own rate."""
    stride_samples: int = Field(512, ge=1)
    """Step between the starts of windows."""
    tail: Literal["drop", "pad"] = "drop"
    """What becomes of samples after the last full window: dropped, or zero-padded to one more window."""
    channels: Channels | None = Field(None, min_length=2, max_length=3)
    """Half-open range of channels, [first, one past the last], or with a third number, the step between them;
    "0:1000:10" says the same as [0, 1000, 10]. All when absent."""
    rate_hz: float | None = Field(None, gt=0)
    """Sampling rate that every record must have; absent, that of the first record. Mixed rates are refused."""
    classes: tuple[str, ...] = ("earthquake", "quarry_blast")
    """Names of the labels, in label order."""
    noise_class: bool = True
    """With interval labels: windows without an event are a class 'noise' of their own; otherwise they are left out."""
    event_overlap: float = Field(0.5, gt=0, le=1)
    """Least share of a window (or of the event, whichever is shorter) that must hold the event to carry its label."""
    noise_windows_per_record: int = Field(0, ge=0)
    """At most so many noise windows of each record, evenly spread; 0 keeps all."""
    allow_guessed_axes: bool = False
    """Train on records whose axis order or rate is a guess."""
    allow_unfit: bool = False
    """Train on records whose verdict is not ok (all zero, dead, saturated); never on spectra or label maps."""

    @field_validator("channels", mode="before")
    @classmethod
    def _channels_of_text(cls, value: Any) -> Any:
        """``"start:stop:step"`` as numbers; what is no such text is left to be judged as it is."""
        parts = value.split(":") if isinstance(value, str) else value
        if isinstance(value, str) and all(part.isdecimal() for part in parts):
            return tuple(int(part) for part in parts)
        return tuple(value) if isinstance(value, list) else value


class PreprocessRecipe(RecipePart):
    """What happens to a window on the device, in training, prediction and the exported file alike."""

    scaling: Literal["channel", "window", "none"] = "channel"
    """channel: z-score of each channel (seed); window: one scale for all, which keeps amplitudes along the fibre."""
    bandpass_hz: tuple[float, float] | None = None
    """Corner frequencies of a zero-phase FIR band-pass."""
    decimate: int = Field(1, ge=1, le=100)
    """Keep one time sample in so many, after an anti-alias filter."""
    average_channels: int = Field(1, ge=1)
    """Average so many neighbouring channels into one (anti-aliasing along the fibre)."""

    @model_validator(mode="after")
    def _band_is_a_band(self) -> PreprocessRecipe:
        if self.bandpass_hz is not None and not 0 < self.bandpass_hz[0] < self.bandpass_hz[1]:
            raise ValueError("bandpass_hz must be two frequencies, the lower one first and above 0")
        return self


class AugmentRecipe(RecipePart):
    """Random changes to training windows, each applied with its own probability."""

    use_augmentation: bool = True
    """Whether to augment at all."""
    probability: float = Field(0.5, ge=0, le=1)
    """Chance of each change for each window, independently."""
    noise_level: float = Field(0.05, ge=0)
    """Standard deviation of added Gaussian noise, as a share of the window's own."""
    amplitude_scale_range: tuple[float, float] = (0.9, 1.1)
    """Range of one factor for the whole window."""
    time_shift_range: int = Field(50, ge=0)
    """Largest shift in samples either way, taken from the record, not rolled round."""
    drop_channels: float = Field(0.6, ge=0, lt=1)
    """Largest share of channels treated as dead (fibre_cnn only, whose windows are also turned end for end)."""
    cut_fibre: float = Field(0.5, ge=0, lt=1)
    """Largest share of the fibre's length that is cut away (fibre_cnn only)."""

    @model_validator(mode="after")
    def _range_is_a_range(self) -> AugmentRecipe:
        low, high = self.amplitude_scale_range
        if not 0 < low <= high:
            raise ValueError("amplitude_scale_range must be two factors above 0, the smaller one first")
        return self


class DasModelRecipe(RecipePart):
    """Which network and how large."""

    type: Literal["temporal_cnn", "lstm", "transformer", "fibre_cnn"] = "temporal_cnn"
    """temporal_cnn, lstm and transformer are the seed's and bound to one cable; fibre_cnn works on any."""
    hidden_dim: int = Field(128, ge=4)
    """Width of the network."""
    num_layers: int = Field(4, ge=1, le=12)
    """Blocks or layers."""
    bidirectional: bool = True
    """Read the window both ways (lstm only)."""
    heads: int = Field(8, ge=1)
    """Attention heads (transformer only)."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of activations dropped in training."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> DasModelRecipe:
        if self.type == "transformer" and self.hidden_dim % self.heads:
            raise ValueError(f"hidden_dim {self.hidden_dim} cannot be divided among {self.heads} heads")
        return self


class DasRecipe(RecipePart):
    """A complete DAS run."""

    listed_by: ClassVar[str] = "groundswell recipe show das"

    pipeline: Literal["das"] = "das"
    """Which pipeline the recipe is for."""
    data: DasDataRecipe = DasDataRecipe()
    """Records, labels, windows."""
    preprocess: PreprocessRecipe = PreprocessRecipe()
    """What happens to a window on the device."""
    augment: AugmentRecipe = AugmentRecipe()
    """Random changes to training windows."""
    model: DasModelRecipe = DasModelRecipe()
    """The network."""
    loader: LoaderRecipe = LoaderRecipe()
    """How windows get from files into batches."""
    split: SplitRecipe = SplitRecipe()
    """Who may see what."""
    train: TrainRecipe = TrainRecipe()
    """How the network is trained."""
    evaluate: EvaluateRecipe = EvaluateRecipe()
    """How the model is judged."""

    @model_validator(mode="after")
    def _band_fits_rate(self) -> DasRecipe:
        band, rate_hz = self.preprocess.bandpass_hz, self.data.rate_hz
        if band and rate_hz and band[1] >= rate_hz / 2:
            raise ValueError(f"preprocess.bandpass_hz reaches {band[1]} Hz, at or above half the sampling rate of "
                             f"{rate_hz} Hz")
        if self.data.window_samples // self.preprocess.decimate < 16:
            raise ValueError("data.window_samples leaves fewer than 16 samples after preprocess.decimate")
        if self.train.balanced_sampling and self.train.use_class_weights:
            raise ValueError("train.balanced_sampling and train.use_class_weights correct for the same imbalance; "
                             "choose one")
        return self
