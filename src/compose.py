"""From a selection to the whole configuration, validated; run as a module it is the first stage of `dvc.yaml`.

Hydra composes the presets; single values are laid over the result with their types kept, and the schema
(`src/config.py`) then judges the whole, so that a wrong key reads the same from YAML and from the command line.
"""

import sys
from pathlib import Path
from typing import Any

from src.config import Config, as_tree
from src.guard import run_guarded
from src.layout import PIPELINE_RUN
from src.selection import CONFIG_DIR, PARAMS_FILE, Selection, load
from src.validation import validate

COMPOSED_FILE = "composed.yaml"


def compose(selection: Selection, config_dir: Path = CONFIG_DIR) -> Config:
    """The validated configuration that a selection stands for.

    Raises:
        ValueError: everything that is wrong with it, a line each.
    """
    return validate(composed_tree(selection, config_dir))


def compose_pipeline(selection: Selection) -> Config:
    """The validated configuration of the pipeline's own run.

    Raises:
        ValueError: everything that is wrong with it, a line each.
    """
    cfg = compose(Selection(selection.presets, selection.values | {"run_dir": PIPELINE_RUN.as_posix()}))
    start = cfg.train.init_from
    if start is not None and Path(start).resolve().is_relative_to(PIPELINE_RUN.resolve()):
        raise ValueError(
            f"train.init_from={start} is what the pipeline writes anew, and DVC removes it first; copy that folder, "
            "or train by hand: python -m src.models.train_model ..."
        )
    return cfg


def composed_tree(selection: Selection, config_dir: Path = CONFIG_DIR) -> dict[str, Any]:
    """The composed configuration as plain nested dicts, not yet validated."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    presets = [f"{group}={preset}" for group, preset in selection.presets.items() if preset is not None]
    try:
        with initialize_config_dir(str(config_dir), version_base="1.3"):
            cfg = hydra_compose("config", overrides=presets)
        OmegaConf.set_struct(cfg, False)
        for key, value in selection.values.items():
            OmegaConf.update(cfg, key, value, merge=False, force_add=True)
        missing = sorted(OmegaConf.missing_keys(cfg))
        if missing:
            raise ValueError("; ".join(f"{key} has no value: give {key}=<value>" for key in missing))
        tree = OmegaConf.to_container(cfg, resolve=True)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise ValueError(f"the configuration cannot be composed: {' '.join(str(error).split())}") from None
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


def load_composed(path: Path) -> Config:
    """The configuration that the pipeline's first stage wrote.

    Raises:
        ValueError: the file is absent or not whole.
    """
    import yaml

    if not path.exists():
        raise ValueError(f"{path} does not exist; run: dvc repro compose")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        tree = None
    if not isinstance(tree, dict):
        raise ValueError(f"{path} holds no configuration; write it anew: dvc repro --force compose")
    return validate(tree)


def main(arguments: list[str]) -> None:
    """Compose what `params.yaml` selects into `composed.yaml`."""
    import yaml

    def stage() -> None:
        cfg = compose_pipeline(load(Path(PARAMS_FILE)))
        Path(COMPOSED_FILE).write_text(yaml.safe_dump(as_tree(cfg), sort_keys=False), encoding="utf-8")

    if arguments:
        raise SystemExit("src.compose takes no arguments; it reads params.yaml")
    run_guarded(stage)


if __name__ == "__main__":
    main(sys.argv[1:])
