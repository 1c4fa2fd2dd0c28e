"""Where each image goes: its split, the group it must stay with, and whether it is used at all."""

import logging

import numpy as np
import pandas as pd

from src.artifacts import STATUS_DROPPED, STATUS_OK, STATUS_SUBSET
from src.config_data import DataConfig
from src.data.duplicates import resolve_duplicates
from src.data.grouping import check_groups, merged_groups
from src.data.splits import cut_from_train, fold_from_train, given_splits, subset_of
from src.tables import rows_where

log = logging.getLogger(__name__)


def placed(images: pd.DataFrame, cfg: DataConfig) -> pd.DataFrame:
    """The images with the columns `split`, `group` (what must stay in one split) and `status`.

    Args:
        images: columns id, sha256, name, dropped, official, user_group and copies, as `described` makes them.
        cfg: what is to be cut from train, and what becomes of copies.

    Raises:
        ValueError: a group of the user stands in two splits, or a class has too few images to split.
    """
    _warn_of_strays(images)
    splits = given_splits(images["official"].tolist(), images["name"].tolist(), pooled=cfg.folds is not None)
    images = images.assign(
        split=pd.Series(splits, index=images.index, dtype=object),
        status=np.where(images["dropped"], STATUS_DROPPED, STATUS_OK).astype(object),
    )
    kept = rows_where(images[["id", "sha256", "copies", "split", "name"]], ~images["dropped"])
    statuses = resolve_duplicates(kept.rename(columns={"copies": "group"}), cfg.duplicates.policy)
    images.loc[kept.index, "status"] = statuses
    used = (images["status"] == STATUS_OK).to_numpy()
    images["group"] = _groups(images, used, cfg)
    images.loc[used, "split"] = _completed(images.loc[used, ["split", "name", "group"]], cfg)
    if cfg.subset is not None:
        images.loc[_outside_subset(images.loc[used, ["id", "name", "split"]], cfg), "status"] = STATUS_SUBSET
    return images


def _groups(images: pd.DataFrame, used: np.ndarray, cfg: DataConfig) -> pd.Series:
    """The group of each image: copies, where they may not be divided, joined with the groups of the user."""
    groups = images["id" if cfg.duplicates.policy == "keep" else "copies"]
    # nothing is measured on an image to predict, so that it belongs to no group of the user
    of_user = images["user_group"].where(images["split"] != "predict", None)[used]
    if of_user.isna().all():
        return groups
    check_groups(of_user, images["split"][used])
    groups = groups.copy()
    groups[used] = merged_groups(groups[used].tolist(), of_user.tolist())
    return groups


def _completed(used: pd.DataFrame, cfg: DataConfig) -> list[str]:
    """The split of each row in use, after what the source lacks was cut from train."""
    splits, names, groups = used["split"].tolist(), used["name"].tolist(), used["group"].array
    shares = {"test": cfg.test_share, "val": cfg.val_share}
    if cfg.folds is None or cfg.fold is None:
        return cut_from_train(splits, names, groups, shares=shares, seed=cfg.seed)
    splits = cut_from_train(splits, names, groups, shares={"test": cfg.test_share}, seed=cfg.seed)
    return fold_from_train(splits, names, groups, folds=cfg.folds, fold=cfg.fold, seed=cfg.seed)


def _outside_subset(used: pd.DataFrame, cfg: DataConfig) -> pd.Index:
    """Rows that `data.subset` leaves out."""
    assert cfg.subset is not None
    columns = (used[column].tolist() for column in ("id", "name", "split"))
    left_out = used.index[~subset_of(*columns, subset=cfg.subset, seed=cfg.seed)]
    log.info("data.subset=%s: %d of %d images are used", cfg.subset, len(used) - len(left_out), len(used))
    return left_out


def _warn_of_strays(images: pd.DataFrame) -> None:
    """Tell of labelled images of no split, which count as train where others have one."""
    official = images["official"][images["name"].notna().to_numpy()]
    strays = int(official.isna().sum())
    if strays and (official.dropna() != "predict").any():
        log.warning("%d labelled images are in no split of their own; they count as train", strays)
