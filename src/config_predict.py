"""The section of the configuration that says how splits and new images are scored (predict_model)."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from src.schema import Count, Section, Share


@dataclass(frozen=True, kw_only=True)
class BootstrapConfig(Section):
    """Intervals of figures, by drawing images again."""

    resamples: Annotated[int, Field(ge=0, description="of the images of a split; 0: no intervals")]
    rank_resamples: Annotated[Count, Field(description="the same for areas under curves, which take longer")]
    most_ranked: Annotated[
        Count, Field(description="no intervals of areas where images x classes x `rank_resamples` is more")
    ]
    level: Annotated[float, Field(gt=0, lt=1, description="share of the resamples that lies inside an interval")]
    seed: Annotated[int, Field(ge=0, description="seed of the resamples")]


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(Section):
    """What is kept beside predictions to make them plain."""

    neighbours: Annotated[int, Field(ge=0, description="nearest training images of each image, by features; 0: none")]
    map: Annotated[Literal["pca", "tsne", "none"], Field(description="how features are laid on a plane")]
    max_points: Annotated[Count, Field(description="images on the map, drawn at random where there are more")]
    max_images: Annotated[Count, Field(description="features of larger splits are not kept")]
    saliency: Annotated[int, Field(ge=0, description="most confident mistakes that Grad-CAM is shown of; 0: none")]
    seed: Annotated[int, Field(ge=0, description="seed of the images drawn, and of the map")]


@dataclass(frozen=True, kw_only=True)
class CorruptionConfig(Section):
    """Damaged images of test, scored beside the whole ones."""

    names: Annotated[
        list[Literal["noise", "blur", "jpeg", "brightness", "contrast", "fog"]],
        Field(description="kinds of damage, each at three strengths; an empty list: none"),
    ]
    max_images: Annotated[Count, Field(description="images that are damaged, drawn at random where there are more")]
    seed: Annotated[int, Field(ge=0, description="seed of the images drawn and of the damage")]


@dataclass(frozen=True, kw_only=True)
class PredictConfig(Section):
    """Scoring a split or new images (predict_model)."""

    images: Annotated[str | None, Field(description="image, folder or archive to predict; null: the packed splits")]
    output: Annotated[str | None, Field(description="file for predictions of new images; null: inside the run folder")]
    checkpoint: Annotated[Literal["best", "last"], Field(description="which checkpoint of the run")]
    batch_size: Annotated[Count, Field(description="images per forward pass")]
    score_train: Annotated[bool, Field(description="score train too, for the gap between it and the others")]
    target_risk: Annotated[
        Share,
        Field(description="share of wrong answers that is borne; where val has more, the unsure are not answered"),
    ]
    bootstrap: Annotated[BootstrapConfig, Field(description="intervals")]
    explain: Annotated[ExplainConfig, Field(description="near images, a map, where the network looked")]
    corruptions: Annotated[CorruptionConfig, Field(description="damaged images")]
    tta: Annotated[
        Literal["none", "flip", "shift"],
        Field(description="test-time augmentation: mean over the mirror image too, or over four shifts, told beside"),
    ]
    slices: Annotated[
        list[str],
        Field(
            description="groups scored apart: `brightness`, `size`, `aspect`, a column of the manifest or files.parquet"
        ),
    ]
