"""The settings: every key, its type, range and default, in one place; YAML files state differences only."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from mammo.settings.metrics import shown_in
from mammo.settings.types import (
    CalibrationMethod,
    FilePath,
    Fraction,
    HomePath,
    LesionType,
    LevelScore,
    NotNegative,
    Positive,
    Rule,
    Size,
    Strict,
    Task,
)


class PhantomSettings(Strict):
    """The generated data set: `patients` people, each with films of both breasts and views."""

    patients: Annotated[int, Field(ge=8)] = 160
    film_size: Size = (512, 384)
    seed: int = 0


class DataSettings(Strict):
    """Which films, which cases of them, which part each belongs to, and how pixels reach the network.

    With `folds` above 0, split holdout gives fold number `fold` (from 0) of so many as the test part, and takes validation
    out of the other patients. With `untrusted`, films from strangers are decoded in a process of their own with limits; that
    changes no pixels and is no part of the store's key. `root` may be an archive (.zip, .tar, .tar.gz, …): it is unpacked below
    the store, once. `cluster` is the address of a Ray or Dask cluster that prepares films; the pixels are the same.

    `raw_films: accept` takes DICOM FOR PROCESSING, raw detector values, which no viewer shows and networks do not expect.
    `bad_images: exclude` lists films that cannot be read as exclusions and goes on. `doubtful: refuse` treats a film on which the breast
    or the lesion's box is implausible like one that cannot be read; `warn` counts and lists them. `same_patients: differ` says that
    patient ids that look like one person's in two spellings (`audit` lists them) are of different people.
    """

    kind: str = "phantom"
    root: FilePath | None = None
    manifest: FilePath | None = None
    task: Task = "lesion"
    lesion_types: Annotated[tuple[LesionType, ...], Field(min_length=1)] = ("mass", "calcification")
    benign_without_callback: Literal["benign", "exclude"] = "benign"
    split: Literal["official", "official_clean", "manifest", "holdout"] = "holdout"
    split_seed: int = 0
    folds: Annotated[int, Field(ge=0)] = 0
    fold: Annotated[int, Field(ge=0)] = 0
    fractions: tuple[Fraction, Fraction, Fraction] = (0.70, 0.15, 0.15)
    clean_from: Literal["train", "test"] = "train"
    image_size: Size = (224, 224)
    context: Annotated[float, Field(ge=1, le=10)] = 2.0
    margin: Annotated[float, Field(ge=1, le=3)] = 1.3
    intensity: Literal["percentile", "full"] = "percentile"
    raw_films: Literal["refuse", "accept"] = "refuse"
    bad_images: Literal["refuse", "exclude"] = "refuse"
    doubtful: Literal["warn", "refuse"] = "warn"
    same_patients: Literal["refuse", "differ"] = "refuse"
    store: FilePath | None = None
    prepare_workers: Annotated[int, Field(ge=0)] = 0
    untrusted: bool = False
    cluster: str = ""
    phantom: PhantomSettings = PhantomSettings()

    @model_validator(mode="after")
    def _complete(self) -> "DataSettings":
        if abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError(f"fractions must sum to 1 (train, validation, test), got {list(self.fractions)}")
        if self.fractions[0] == 0:
            raise ValueError(f"fractions must leave something to train on, got {list(self.fractions)}")
        if self.folds == 1 or (self.folds and self.fold >= self.folds):
            raise ValueError(
                f"folds must be 0 (none) or at least 2, and fold below it, got folds {self.folds}, fold {self.fold}"
            )
        if self.folds and self.split != "holdout":
            raise ValueError(f"folds are drawn by data.split=holdout, got {self.split}")
        if self.split == "manifest" and self.kind != "manifest":
            raise ValueError("split manifest needs data.kind manifest")
        return self


class AugmentationStep(Strict):
    """One step of the albumentations pipeline; `p` is the probability that it happens to a sample."""

    name: Literal[
        "flip_horizontal", "flip_vertical", "affine", "intensity", "gamma", "noise", "blur", "elastic", "coarse_dropout"
    ]
    p: Fraction = 0.5
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    shear_deg: Annotated[float, Field(ge=0, le=45)] = 0.0
    zoom: tuple[Positive, Positive] = (1.0, 1.0)
    shift: Fraction = 0.0
    brightness: Fraction = 0.2
    contrast: Fraction = 0.2
    gamma: tuple[Positive, Positive] = (0.8, 1.25)
    noise_std: tuple[Fraction, Fraction] = (0.0, 0.03)
    alpha: Positive = 30.0
    sigma: Positive = 6.0
    holes: tuple[PositiveInt, PositiveInt] = (1, 4)
    hole_size: tuple[Fraction, Fraction] = (0.05, 0.15)

    @model_validator(mode="after")
    def _ordered(self) -> "AugmentationStep":
        for name in ("zoom", "gamma", "noise_std", "holes", "hole_size"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be [low, high], got [{low}, {high}]")
        return self


class ModelSettings(Strict):
    """The network: which backbone, from which weights, and the head on it.

    `pretrained` is `ssld` (downloaded once), `none`, or the path of a .pdparams or .safetensors file, or of an archive (.zip, .tar,
    .tar.gz, …) that holds one; `pretrained_sha256` is the hash that this file, or archive, must have.
    """

    backbone: str = "ResNet50_vd"
    pretrained: HomePath = "ssld"
    pretrained_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.4
    pooling: Literal["avg", "avg_max"] = "avg"
    gray_input: Literal["sum", "repeat"] = "sum"


class OptimizerSettings(Strict):
    """`weight_decay` is coupled L2 (paddle.regularizer.L2Decay) for adam and momentum, decoupled for adamw; never on norms and biases."""

    name: Literal["adam", "adamw", "momentum"] = "adamw"
    learning_rate: Positive = 3e-4
    weight_decay: NotNegative = 0.02
    momentum: Fraction = 0.9
    clip_norm: NotNegative = 0.0


class ScheduleSettings(Strict):
    """The learning rate over time, per step: linear warm-up, then cosine, steps or plateau."""

    name: Literal["constant", "cosine", "step", "plateau"] = "cosine"
    warmup_epochs: NotNegative = 1.0
    final_factor: Fraction = 0.01
    step_epochs: tuple[PositiveInt, ...] = (20, 40)
    factor: Fraction = 0.1
    patience: PositiveInt = 3


class LossSettings(Strict):
    """Cross-entropy or focal loss on two classes."""

    name: Literal["cross_entropy", "focal"] = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    focal_gamma: NotNegative = 2.0
    class_weights: Literal["none", "balanced"] | tuple[Positive, Positive] = "none"


class FreezeSettings(Strict):
    """Staged unfreezing: `until_epoch[i]` is the epoch (from 0) at which stage i, stem first, starts to move; none: at once.

    `batch_norm` keeps all batch-norm statistics, and their scale and shift, as the weights brought them. While stages
    stand still, what they make of a case is kept (up to 2 GiB of it) if the case looks the same again: without augmentation, or with
    `looks` above 0, the number of augmented looks that each case then has, instead of another in every epoch; never with mixup.
    """

    until_epoch: tuple[Annotated[int, Field(ge=0)], ...] = ()
    batch_norm: bool = False
    looks: Annotated[int, Field(ge=0)] = 0


class SmallerSettings(Strict):
    """Before `until_epoch` (from 0) training images have `factor` times the height and width of `data.image_size`."""

    factor: Annotated[float, Field(ge=0.25, lt=1)]
    until_epoch: PositiveInt


# What each part is measured by at an epoch's end, over the whole part, at the threshold 0.5.
EPOCH_METRICS = tuple(metric.key for metric in shown_in("epoch"))


class EarlyStoppingSettings(Strict):
    """Stop when `monitor` (`part/metric`, such as validation/auc) has not improved for `patience` epochs."""

    monitor: str = "validation/auc"
    mode: Literal["max", "min"] = "max"
    patience: PositiveInt = 8
    min_delta: NotNegative = 0.0

    @model_validator(mode="after")
    def _known_and_in_its_direction(self) -> "EarlyStoppingSettings":
        part, _, metric = self.monitor.partition("/")
        if part not in ("train", "validation") or metric not in EPOCH_METRICS:
            raise ValueError(
                f"monitor must be train/… or validation/… of {', '.join(EPOCH_METRICS)}, got {self.monitor!r}"
            )
        if (metric == "loss") != (self.mode == "min"):
            better = "min" if metric == "loss" else "max"
            raise ValueError(f"mode {self.mode} would choose the worst epoch by {self.monitor}; use mode {better}")
        return self


class CheckpointSettings(Strict):
    """When `checkpoints/last` is saved within an epoch: every so many steps, and when so many minutes have passed; 0 is never.

    It is saved after each epoch in any case. Neither changes what is learnt.
    """

    every_steps: Annotated[int, Field(ge=0)] = 0
    every_minutes: NotNegative = 10.0


class TrainingSettings(Strict):
    """The training loop. `smaller` lets first epochs learn from smaller images; what is scored has the full size always."""

    epochs: PositiveInt = 30
    batch_size: PositiveInt = 16
    accumulate: PositiveInt = 1
    workers: Annotated[int, Field(ge=0)] = 0
    sampler: Literal["shuffle", "class_balanced", "patient_balanced"] = "shuffle"
    mixup_alpha: NotNegative = 0.0
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    loss: LossSettings = LossSettings()
    freeze: FreezeSettings = FreezeSettings()
    smaller: tuple[SmallerSettings, ...] = ()
    stage_lr_factors: tuple[NotNegative, ...] = ()
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    amp: Literal["off", "bf16", "fp16"] = "off"
    early_stopping: EarlyStoppingSettings = EarlyStoppingSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    score_train_patients: Annotated[int, Field(ge=0)] = 150
    log_histograms: bool = False

    @model_validator(mode="after")
    def _grows(self) -> "TrainingSettings":
        until = [step.until_epoch for step in self.smaller]
        if until != sorted(set(until)):
            raise ValueError(f"smaller: until_epoch must rise from step to step, got {until}")
        return self


class TestTimeSettings(Strict):
    """Test-time augmentation: a case's logit is the mean over its flips, and over windows moved by `shift_px` to each side."""

    __test__ = False  # pytest takes classes of this name for its own

    flips: Literal["none", "horizontal", "both"] = "none"
    shift_px: Annotated[int, Field(ge=0, le=64)] = 0


class EvaluationSettings(Strict):
    """The judgement. A rule is `recall>=R`, `specificity>=S`, `youden` or a fixed threshold in 0-1.

    Results are quoted at `operating_point`, and `also_report` beside it; all are chosen on validation, as `calibration` is.
    `prevalence` is that of a screened population, for what 1,000 people would see.
    """

    operating_point: Rule = "recall>=0.90"
    also_report: tuple[Rule, ...] = ("recall>=0.95", "specificity>=0.90", "youden")
    calibration: CalibrationMethod = "temperature"
    batch_size: PositiveInt = 32
    level_score: LevelScore = "max"
    test_time: TestTimeSettings = TestTimeSettings()
    resamples: Annotated[int, Field(ge=100)] = 2000
    resamples_seed: Annotated[int, Field(ge=0)] = 0
    prevalence: Annotated[float, Field(gt=0, lt=1)] = 0.006


class Settings(Strict):
    """Everything that a run depends on."""

    output: FilePath = Path("output")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: Literal["auto", "cpu", "gpu"] = "auto"
    data: DataSettings = DataSettings()
    augmentation: tuple[AugmentationStep, ...] = ()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _shift_fits(self) -> "Settings":
        shift, shorter = self.evaluation.test_time.shift_px, min(self.data.image_size)
        if 2 * shift > shorter:
            raise ValueError(
                f"evaluation.test_time.shift_px must be at most half of data.image_size's shorter side, {shorter} px, got {shift}"
            )
        return self

    @property
    def store_folder(self) -> Path:
        """Where prepared images lie: `data.store`, or `store` below the output folder."""
        return self.data.store or self.output / "store"
