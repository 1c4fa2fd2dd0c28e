"""The sections of the configuration that say how a network is trained (train_model)."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from src.schema import Component, Count, Section


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Section):
    """Random changes of training batches, applied on the training device (train_model)."""

    transforms: Annotated[list[Component], Field(description="entries of `src/features/augment.py`, applied in order")]
    mix: Annotated[Component | None, Field(description="`mixup` or `cutmix`, or null for neither")]


@dataclass(frozen=True, kw_only=True)
class LossConfig(Section):
    """The training loss (train_model)."""

    name: Annotated[str, Field(description="entry of `src/models/recipes/losses.py`")]
    options: Annotated[dict[str, Any], Field(description="arguments of the loss")]


@dataclass(frozen=True, kw_only=True)
class LookaheadConfig(Section):
    """Slow weights behind any optimiser."""

    alpha: Annotated[float, Field(gt=0, le=1, description="share of the way that is kept")]
    every: Annotated[Count, Field(description="steps between two returns")]


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Section):
    """The optimiser (train_model)."""

    name: Annotated[str, Field(description="an optimiser of timm, such as `adamw`, `sgd`, `lamb`, `lion`")]
    lr: Annotated[float, Field(gt=0, description="peak learning rate")]
    weight_decay: Annotated[float, Field(ge=0, description="pull of the weights towards zero")]
    decay_norms: Annotated[bool, Field(description="apply it to biases and norms too, which suits few networks")]
    head_scale: Annotated[float, Field(gt=0, description="rate of the classifier's head, as a multiple of `lr`")]
    layer_decay: Annotated[
        float | None,
        Field(gt=0, le=1, description="rate of each layer as a multiple of the next one's; null: all alike"),
    ]
    lookahead: Annotated[
        LookaheadConfig | None,
        Field(description="`{alpha: 0.5, every: 6}`: go back half the way every 6 steps (Zhang et al., 2019)"),
    ]
    options: Annotated[
        dict[str, Any], Field(description="further arguments of that optimiser, refused if it has none such")
    ]


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(Section):
    """The learning rate as a function of the step (train_model)."""

    name: Annotated[str, Field(description="entry of `src/models/recipes/schedules.py`")]
    warmup_epochs: Annotated[float, Field(ge=0, description="linear rise from zero, in epochs")]
    cooldown_epochs: Annotated[float, Field(ge=0, description="linear fall at the end, after the schedule, in epochs")]
    cooldown_final: Annotated[float, Field(ge=0, le=1, description="where that fall ends, as a share of `lr`")]
    options: Annotated[dict[str, Any], Field(description="arguments of the schedule")]


@dataclass(frozen=True, kw_only=True)
class FreezeConfig(Section):
    """Weights that are not trained, for some epochs or for all."""

    layers: Annotated[
        list[str], Field(min_length=1, description="names of modules, such as `stem`, or `backbone`: all but the head")
    ]
    until_epoch: Annotated[int | None, Field(ge=1, description="trained after so many epochs; null: never")]


@dataclass(frozen=True, kw_only=True)
class BalanceConfig(Section):
    """Numbers of the ways that `train.imbalance` chooses from."""

    auto_ratio: Annotated[
        float, Field(ge=1, description="auto acts from this ratio of the largest class to the smallest on")
    ]
    beta: Annotated[
        float,
        Field(ge=0, le=1, description="class_weights by effective number; 0: all alike, 1: by inverse frequency"),
    ]
    gamma: Annotated[float, Field(ge=0, description="focal: how much less an image counts that is nearly right")]
    tau: Annotated[float, Field(ge=0, description="logit_adjustment: share of the log frequencies that is added")]


@dataclass(frozen=True, kw_only=True)
class RollbackConfig(Section):
    """The way back from numbers that are not finite."""

    times: Annotated[int, Field(ge=0, description="most returns to the end of the last good epoch; 0: none")]
    factor: Annotated[float, Field(gt=0, lt=1, description="what the learning rate is multiplied by at each")]


@dataclass(frozen=True, kw_only=True)
class ResizingConfig(Section):
    """Another side of training images in the first epochs."""

    until_epoch: Annotated[Count, Field(description="epochs that are done when the next side begins")]
    img_size: Annotated[int, Field(ge=4, description="side until then, in px")]


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(Section):
    """A trained network whose probabilities are learnt beside the labels (Hinton et al., 2015)."""

    teacher: Annotated[str, Field(description="run folder whose best checkpoint teaches")]
    weight: Annotated[float, Field(gt=0, le=1, description="share of the teacher in the loss; the rest is the labels'")]
    temperature: Annotated[float, Field(gt=0, description="what logits of both are divided by; more shows more")]


@dataclass(frozen=True, kw_only=True)
class BreakEvenConfig(Section):
    """What compiling is taken to cost and to save before it is tried, for `compile=auto`."""

    usual_s: Annotated[float, Field(ge=0, description="seconds that it takes")]
    usual_gain: Annotated[float, Field(gt=0, lt=1, description="share of a step that it saves")]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Section):
    """The training loop (train_model)."""

    epochs: Annotated[Count, Field(description="passes over the training split")]
    batch_size: Annotated[Count, Field(description="images per optimiser step, all devices together")]
    micro_batch_size: Annotated[
        int | None,
        Field(ge=1, description="images per forward pass of a device, several make a step; null: all of its images"),
    ]
    gradient_checkpointing: Annotated[
        bool, Field(description="activations are computed again rather than kept: less memory, more time")
    ]
    compile: Annotated[
        bool | Literal["auto"],
        Field(description="torch.compile of training passes; auto: where the run is long enough for it to pay"),
    ]
    break_even: Annotated[BreakEvenConfig, Field(description="for `compile=auto`")]
    sync_bn: Annotated[
        bool, Field(description="batch norm over the images of all GPUs rather than of each; CPUs cannot")
    ]
    eval_batch_size: Annotated[Count, Field(description="images per forward pass of an evaluation, on each device")]
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        Field(description="autocast type; auto: bf16 on a GPU that has it, else fp16 there; on CPU fp32"),
    ]
    seed: Annotated[int, Field(ge=0, description="seed of weights, order and augmentation")]
    share: Annotated[
        float,
        Field(gt=0, le=1, description="share of the training images in use, of each class alike, drawn by `seed`"),
    ]
    max_skipped: Annotated[Count, Field(description="steps in a row without a finite gradient that are let pass")]
    rollback: Annotated[RollbackConfig, Field(description="what is done about more, before the run is given up")]
    clip: Annotated[
        Component | None,
        Field(description="bound on gradients, an entry of `src/models/recipes/clipping.py`; null: none"),
    ]
    average: Annotated[
        Component,
        Field(description="weights that are evaluated and saved, an entry of `src/models/recipes/averages.py`"),
    ]
    imbalance: Annotated[
        Literal["none", "class_weights", "balanced_sampler", "focal", "logit_adjustment", "auto"],
        Field(description="what is done for rare classes; auto: by the class counts of train, told in the log"),
    ]
    balance: Annotated[BalanceConfig, Field(description="numbers for `imbalance`")]
    patience: Annotated[
        int | None, Field(ge=1, description="epochs without a better val/acc before stopping; null: never")
    ]
    channels_last: Annotated[bool, Field(description="memory layout of images and weights")]
    save_every_s: Annotated[
        float, Field(ge=0, description="the state to go on from after a kill is saved so often, in s; 0: each step")
    ]
    resizing: Annotated[
        list[ResizingConfig],
        Field(description="sides of training images in the first epochs, in order; then that of the input"),
    ]
    freeze: Annotated[
        list[FreezeConfig], Field(description="weights that are not trained, or not from the start (staged unfreezing)")
    ]
    keep_statistics: Annotated[
        bool, Field(description="batch norms keep the statistics they start with, as weights trained elsewhere want")
    ]
    distillation: Annotated[
        DistillationConfig | None, Field(description="learn from a trained network; null: from labels")
    ]
    init_from: Annotated[str | None, Field(description="run or checkpoint folder whose weights a new run starts from")]
    resume: Annotated[str | None, Field(description="run folder of an unfinished run to go on with")]
