"""What to run: a preset for some groups and single values, as typed on a command line or kept in `params.yaml`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from src.choices import suggestion
from src.trees import flat

PROJECT_ROOT = Path(__file__).resolve().parents[1]
CONFIG_DIR = PROJECT_ROOT / "configs"
PARAMS_FILE = "params.yaml"


@dataclass(frozen=True)
class Selection:
    """Presets by group (None: the default) and values by dotted key, in the order given."""

    presets: dict[str, str | None] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def updated(self, other: "Selection") -> "Selection":
        """This selection with `other` laid over it.

        A newly chosen preset forgets the single values set in its section before.
        """
        kept = {key: value for key, value in self.values.items() if key.split(".")[0] not in other.presets}
        return Selection(self.presets | other.presets, kept | other.values)

    def described(self) -> str:
        """The selection as it would be typed on a command line."""
        parts = [f"{group}={preset}" for group, preset in self.presets.items() if preset is not None]
        parts += [f"{key}={_typed(value)}" for key, value in self.values.items()]
        return " ".join(parts) or "the defaults"


def groups(config_dir: Path = CONFIG_DIR) -> dict[str, list[str]]:
    """Config groups, as the defaults list of `config.yaml` names them, and the presets in the folder of each.

    Raises:
        ValueError: there is no such list.
    """
    import yaml

    path = config_dir / "config.yaml"
    try:
        defaults = yaml.safe_load(path.read_text(encoding="utf-8"))["defaults"]
        names = sorted(name for entry in defaults if isinstance(entry, dict) for name in entry)
    except (yaml.YAMLError, FileNotFoundError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} has no list of defaults ({' '.join(str(error).split())}); restore it from git"
        ) from None
    folders = {name: config_dir / name for name in names if " " not in name}
    return {name: sorted(p.stem for p in folder.glob("*.yaml") if p.stem != "base") for name, folder in folders.items()}


def parse(overrides: Sequence[str], config_dir: Path = CONFIG_DIR) -> Selection:
    """The selection that Hydra-style overrides stand for.

    Raises:
        ValueError: an override that cannot be read, or a preset that does not exist.
    """
    selections = parse_multirun(overrides, config_dir)
    if len(selections) > 1:
        raise ValueError(f"{' '.join(overrides)} asks for {len(selections)} runs; add -m to run them all")
    return selections[0]


def parse_multirun(overrides: Sequence[str], config_dir: Path = CONFIG_DIR) -> list[Selection]:
    """One selection for each combination of the comma-separated values, ranges and choices in the overrides."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    known = groups(config_dir)
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise ValueError(
            f"cannot read the override {error.override!r}: write key=value, odd values in quotes"
        ) from None
    axes = []
    for override in parsed:
        if override.is_delete():
            raise ValueError(
                f"{override.input_line} would remove a key, which the schema needs; give it a value instead"
            )
        key = override.key_or_group
        values = list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]
        axes.append([(key, _checked(key, _plain(value), known)) for value in values])
    return [_selection(choice, known) for choice in product(*axes)]


def load(path: Path, config_dir: Path = CONFIG_DIR) -> Selection:
    """The selection kept in a `params.yaml`.

    Raises:
        ValueError: a file that is no YAML, or names an unknown group or preset.
    """
    from omegaconf import OmegaConf
    from yaml import YAMLError

    if not path.exists():
        return Selection()
    try:
        tree = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ValueError(f"{path} should hold keys and values, such as 'model: resnet18'")
    known = groups(config_dir)
    presets = {str(key): value for key, value in tree.items() if key != "set"}
    for group, preset in presets.items():
        if group not in known:
            raise ValueError(f"{path}: {group} is not a config group; {suggestion(group, [*known, 'set'])}")
        if preset is not None:
            _checked(group, preset, known)
    values = tree.get("set") or {}
    if not isinstance(values, dict):
        raise ValueError(f"{path}: set should hold keys and values, such as  set: {{optimizer: {{lr: 0.1}}}}")
    return Selection(presets, flat(values))


def save(selection: Selection, path: Path) -> None:
    """Write the selection into `params.yaml`, keeping the file's comments."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

    yaml = YAML()
    tree = yaml.load(path.read_text(encoding="utf-8")) if path.exists() else CommentedMap()
    for group, preset in selection.presets.items():
        tree[group] = preset
    nested = CommentedMap()
    nested.fa.set_block_style()
    for key, value in selection.values.items():
        at = nested
        *parents, last = key.split(".")
        for parent in parents:
            at = at.setdefault(parent, CommentedMap())
        at[last] = value
    tree["set"] = nested
    yaml.representer.add_representer(
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(tree, file)


def _selection(choice: Sequence[tuple[str, Any]], known: Mapping[str, list[str]]) -> Selection:
    presets = {key: value for key, value in choice if key in known}
    return Selection(presets, {key: value for key, value in choice if key not in known})


def _checked(key: str, value: Any, known: Mapping[str, list[str]]) -> Any:
    """`value`, once it is sure that a preset called so exists where `key` is a group."""
    if key not in known or value is None:
        return value
    if not isinstance(value, str) or value not in known[key]:
        hint = f"; any other timm model: model=timm model.name={value}" if key == "model" else ""
        raise ValueError(f"{key}={value} is not a preset of configs/{key}; {suggestion(str(value), known[key])}{hint}")
    return value


def _plain(value: Any) -> Any:
    """A value of Hydra's override grammar as plain Python."""
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value.text if hasattr(value, "text") else value


def _typed(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(_typed(entry) for entry in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_typed(entry)}" for key, entry in value.items()) + "}"
    return str(value)
