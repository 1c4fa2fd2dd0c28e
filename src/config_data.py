"""The data section of the configuration: what makes a data set (make_dataset)."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from src.schema import Count, Section, Share


@dataclass(frozen=True, kw_only=True)
class AboutConfig(Section):
    """What is known of a published source before it is read."""

    classes: Annotated[list[str] | None, Field(description="class names it should have; null: not known")]
    expected: Annotated[
        dict[str, dict[str, int]],
        Field(description="images by split and class as published; what differs is reported class by class"),
    ]
    licence: Annotated[str | None, Field(description="licence of the images as the publisher states it")]
    home_page: Annotated[str | None, Field(description="page of the source")]


@dataclass(frozen=True, kw_only=True)
class DuplicatesConfig(Section):
    """Which images count as the same, and what becomes of them."""

    policy: Annotated[
        Literal["keep", "drop", "group"],
        Field(
            description="group: copies stay in one split; drop: one of them is used; keep: as they are, only reported"
        ),
    ]
    near_distance: Annotated[
        int | None,
        Field(
            ge=0,
            le=16,
            description="bits of 64 in which the perceptual hashes of near duplicates may differ; "
            "null: byte-identical files only",
        ),
    ]
    near_difference: Annotated[
        float, Field(ge=0, le=1, description="largest mean difference of their 8 x 8 px grey thumbnails, of 1")
    ]


@dataclass(frozen=True, kw_only=True)
class AuditConfig(Section):
    """From when on the audit warns."""

    outlier_deviations: Annotated[
        float, Field(gt=0, description="robust deviations from the median of brightness, contrast, size or aspect")
    ]
    split_difference: Annotated[
        float, Field(gt=0, le=1, description="largest distance between a split's distribution and train's, of 1")
    ]
    min_side: Annotated[
        Count, Field(description="an image with a shorter side is quarantined as absurdly small, in px")
    ]
    max_imbalance: Annotated[float, Field(ge=1, description="images of the largest class per image of the smallest")]


@dataclass(frozen=True, kw_only=True)
class DataConfig(Section):
    """Where images come from, how they are labelled and how they are split (make_dataset)."""

    name: Annotated[str, Field(description="source: an entry of the table in `src/data/sources.py`")]
    about: Annotated[AboutConfig, Field(description="what is known of the source")]
    path: Annotated[
        str | None, Field(description="folder, archive, or CSV or Parquet list of images (source `folder`)")
    ]
    archive: Annotated[str | None, Field(description="archive you downloaded yourself, in place of a download")]
    subset: Annotated[
        Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] | None,
        Field(description="images of each class in each split (a whole number), or share of them; null: all"),
    ]
    overrides: Annotated[
        str | None, Field(description="CSV file of corrected labels; where there is no such file nothing is corrected")
    ]
    duplicates: Annotated[DuplicatesConfig, Field(description="the same image twice")]
    audit: Annotated[AuditConfig, Field(description="warnings")]
    folds: Annotated[int | None, Field(ge=2, description="cut train and val into so many folds; null: by `val_share`")]
    fold: Annotated[int | None, Field(ge=0, description="which fold is val, from 0")]
    label_pattern: Annotated[
        str | None,
        Field(
            description="regular expression on the file name whose first group is the label; null: the parent folder"
        ),
    ]
    split_patterns: Annotated[
        dict[str, str],
        Field(description="split name to a regular expression that a folder of the path must match whole"),
    ]
    val_share: Annotated[Share, Field(description="share held out of train for validation where the source has none")]
    test_share: Annotated[Share, Field(description="share held out for the test split where the source has none")]
    seed: Annotated[int, Field(ge=0, description="seed of the split")]
    max_bad_share: Annotated[Share, Field(description="stop when more than this share of the files is unreadable")]
    max_pixels: Annotated[Count, Field(description="an image of more pixels is quarantined as a decompression bomb")]
