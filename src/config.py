"""The configuration's shape: every key, its type, its range and what it means.

YAML under `configs/` holds the values, these dataclasses hold the shape, and `src/validation.py` is the one door
between them. Sections are cut by what a change must re-run (see `dvc.yaml`): a change in `run` re-runs nothing.
"""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from src.config_compare import CompareConfig
from src.config_data import DataConfig
from src.config_predict import PredictConfig
from src.config_serve import MonitorConfig, ServeConfig
from src.config_training import AugmentConfig, LossConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from src.schema import Count, Section


@dataclass(frozen=True, kw_only=True)
class EmbeddingsConfig(Section):
    """The frozen network whose features are stored beside the pixels; without pretrained weights none are."""

    name: Annotated[str, Field(description="any model of timm")]
    pretrained: Annotated[bool, Field(description="the weights that timm names, fetched from the hub")]
    pretrained_path: Annotated[str | None, Field(description="a local .safetensors or .pth file instead")]
    img_size: Annotated[int | None, Field(ge=4, description="side of the input in px; null: the network's own")]
    mean: Annotated[
        list[float] | None, Field(min_length=3, max_length=3, description="of each channel; null: the network's own")
    ]
    std: Annotated[
        list[float] | None, Field(min_length=3, max_length=3, description="like `mean`, the standard deviation")
    ]
    batch_size: Annotated[Count, Field(description="images per forward pass")]
    precision: Annotated[
        Literal["fp32", "bf16"], Field(description="bf16: half the time on processors that have it, three digits")
    ]
    options: Annotated[dict[str, Any], Field(description="arguments of the builder")]


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig(Section):
    """How pixels are packed (build_features)."""

    size: Annotated[int | None, Field(ge=4, description="side of the packed square in px; null: from the images")]
    max_size: Annotated[Count, Field(description="largest side chosen when `size` is null, in px")]
    resize: Annotated[
        Literal["crop", "squash", "pad"],
        Field(description="crop: short side to `size`, centre cut; squash: both sides; pad: long side, black border"),
    ]
    interpolation: Annotated[Literal["bilinear", "bicubic", "lanczos"], Field(description="filter of the resize")]
    embeddings: Annotated[EmbeddingsConfig, Field(description="features of a frozen network")]


LINEAR_PROBE = "linear_probe"
"""The `model.name` that asks for a head on the features of `features.embeddings`."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Section):
    """The network (train_model)."""

    name: Annotated[str, Field(description="`baseline_cnn`, `residual_cnn`, `linear_probe` or any model name of timm")]
    pretrained: Annotated[bool, Field(description="start from the weights that timm names, fetched from the hub")]
    pretrained_path: Annotated[str | None, Field(description="start from a local .safetensors or .pth file instead")]
    img_size: Annotated[
        int | None,
        Field(
            ge=4, description="side of the input in px; null: the backbone's own when pretrained, else the packed size"
        ),
    ]
    mean: Annotated[
        list[float] | None,
        Field(
            min_length=3,
            max_length=3,
            description="of each channel in 0..1; null: the backbone's own when pretrained, else that of train",
        ),
    ]
    std: Annotated[
        list[float] | None,
        Field(min_length=3, max_length=3, description="like `mean`, the standard deviation"),
    ]
    stem: Annotated[
        Literal["auto", "plain", "small"],
        Field(description="small: no early downsampling; auto: small up to 64 px unless pretrained"),
    ]
    options: Annotated[
        dict[str, Any], Field(description="arguments of the builder, such as `drop_path_rate`, or of the probe")
    ]


@dataclass(frozen=True, kw_only=True)
class SoupConfig(Section):
    """One network from the weights of several runs (soup_models)."""

    runs: Annotated[list[str], Field(description="run folders of one network on one data set; their best checkpoints")]
    method: Annotated[
        Literal["greedy", "uniform"],
        Field(description="greedy: only what does not lower val, the best run first; uniform: the mean of all"),
    ]
    batches: Annotated[Count, Field(description="batches of train that batch norm's statistics are estimated on")]


@dataclass(frozen=True, kw_only=True)
class LabelsConfig(Section):
    """The search for wrong labels (predict_folds, label_issues)."""

    features: Annotated[
        Literal["auto", "pixels", "embeddings"],
        Field(description="what labels are predicted from; auto: embeddings where there are any, else pixels"),
    ]
    folds: Annotated[int, Field(ge=2, description="each image is predicted by a model that saw none of its fold")]
    regularization: Annotated[float, Field(gt=0, description="C of the logistic regression; smaller is smoother")]
    method: Annotated[
        Literal["confident_learning", "cleanlab"],
        Field(description="how suspects are ranked; cleanlab is an extra: make requirements"),
    ]
    max_suspects: Annotated[Count, Field(description="most suspects shown on the page")]
    seed: Annotated[int, Field(ge=0, description="seed of the folds")]


@dataclass(frozen=True, kw_only=True)
class SweepConfig(Section):
    """Many runs under one name (`python -m src.models.sweep`)."""

    name: Annotated[str, Field(description="entry of `src/models/sweep.py`")]
    options: Annotated[dict[str, Any], Field(description="arguments of the sweep")]


@dataclass(frozen=True, kw_only=True)
class ReportConfig(Section):
    """Figures and pages (visualize)."""

    samples_per_class: Annotated[Count, Field(description="images per class in the sample grid")]
    num_mistakes: Annotated[Count, Field(description="most confident mistakes shown")]
    num_hits: Annotated[int, Field(ge=0, description="least confident right answers shown")]
    dpi: Annotated[int, Field(ge=50, le=600, description="resolution of the PNG files")]


@dataclass(frozen=True, kw_only=True)
class WandbConfig(Section):
    """Weights & Biases."""

    mode: Annotated[
        Literal["auto", "online", "offline", "disabled"],
        Field(description="auto: online where a key is found, else offline; never prompts"),
    ]
    project: Annotated[str, Field(description="project name")]
    entity: Annotated[str | None, Field(description="team or user; null: the key's own")]
    group: Annotated[str | None, Field(description="runs shown together")]
    name: Annotated[str | None, Field(description="shown name; null: the run folder's")]
    job_type: Annotated[str | None, Field(description="kind of work, such as `train`, to filter runs by")]
    tags: Annotated[list[str], Field(description="labels to filter runs by")]
    artifacts: Annotated[bool, Field(description="upload the best checkpoint at the end of a run")]


@dataclass(frozen=True, kw_only=True)
class MlflowConfig(Section):
    """MLflow."""

    store: Annotated[str, Field(description="SQLite file that holds all runs, or the address of a server")]
    experiment: Annotated[str, Field(description="runs shown together")]


@dataclass(frozen=True, kw_only=True)
class DownloadConfig(Section):
    """Patience with a server."""

    retries: Annotated[int, Field(ge=0, description="further attempts after a busy server or a broken connection")]
    wait_s: Annotated[float, Field(ge=0, description="wait before the second attempt, doubled each time, in s")]
    stall_s: Annotated[float, Field(gt=0, description="give up when nothing arrives for so long, in s")]


@dataclass(frozen=True, kw_only=True)
class SlurmConfig(Section):
    """A job of Slurm in place of a run here (train_model)."""

    partition: Annotated[str | None, Field(description="null: the cluster's default")]
    nodes: Annotated[Count, Field(description="machines")]
    processes: Annotated[Count, Field(description="of each machine, a GPU each unless `run.device` is cpu")]
    cpus: Annotated[Count, Field(description="cores of each process")]
    memory: Annotated[str | None, Field(description="of each machine, such as 64G; null: the cluster's default")]
    time: Annotated[str | None, Field(description="limit, such as 24:00:00; null: the cluster's default")]
    signal_s: Annotated[Count, Field(description="the run saves and stops so long before its limit, in s")]
    requeue: Annotated[bool, Field(description="queue it again to go on after that, a pre-emption or a lost machine")]
    restarts: Annotated[int, Field(ge=0, description="starts within the job after a process was killed")]
    extra: Annotated[
        dict[str, str | int | None],
        Field(description="further options of sbatch, such as `{qos: low, exclusive: null}`"),
    ]


@dataclass(frozen=True, kw_only=True)
class RunConfig(Section):
    """Where and how to run; a change here re-runs no stage."""

    download: Annotated[DownloadConfig, Field(description="downloads of sources")]
    device: Annotated[str, Field(description="auto, cpu, cuda, cuda:N or mps; auto: the fastest there is")]
    devices: Annotated[
        int | None,
        Field(ge=1, description="processes that train together, a GPU each or all on the CPU; null: as it is started"),
    ]
    sharding: Annotated[
        Literal["none", "fsdp"],
        Field(description="fsdp: each process keeps a slice of the weights, where one device cannot hold them"),
    ]
    slurm: Annotated[
        SlurmConfig | None,
        Field(description="submit the run to Slurm, as the preset run=slurm does; null: run it here"),
    ]
    workers: Annotated[int | None, Field(ge=1, description="threads that read and decode; null: one per core")]
    max_wait_share: Annotated[
        float,
        Field(ge=0, le=1, description="share of training time spent waiting for data above which advice is given"),
    ]
    plan_steps: Annotated[int, Field(ge=1, description="steps that `make plan` measures of each run")]
    trackers: Annotated[
        list[Literal["wandb", "tensorboard", "mlflow", "csv"]],
        Field(description="views of a run besides its `metrics.jsonl`, which is always written"),
    ]
    wandb: Annotated[WandbConfig, Field(description="Weights & Biases")]
    mlflow: Annotated[MlflowConfig, Field(description="MLflow")]


@dataclass(frozen=True, kw_only=True)
class Config(Section):
    """Everything a run depends on."""

    run_dir: Annotated[
        str | None,
        Field(description="run folder; null: train makes models/runs/<id>, the others take models/pipeline"),
    ]
    data: DataConfig
    features: FeaturesConfig
    model: ModelConfig
    augment: AugmentConfig
    loss: LossConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    train: TrainConfig
    predict: PredictConfig
    soup: SoupConfig
    labels: LabelsConfig
    report: ReportConfig
    compare: CompareConfig
    serve: ServeConfig
    monitor: MonitorConfig
    sweep: Annotated[SweepConfig | None, Field(description="a preset of `configs/sweep`; null: a single run")]
    run: RunConfig


def as_tree(cfg: Config) -> dict[str, Any]:
    """The configuration as plain nested dicts, the inverse of `validate`."""
    return asdict(cfg)
