"""Every YAML under `configs/` composes to a valid configuration, and each value stands where it belongs."""

import pytest
import yaml

from src.compose import compose
from src.selection import CONFIG_DIR, Selection, groups
from tests.project import ROOT

PRESETS = [(group, preset) for group, presets in groups().items() for preset in presets]

# a preset that is of no use without a value that only its user knows
WEIGHTS = {"features.embeddings.pretrained_path": "weights.safetensors"}
NEEDS = {
    ("data", "folder"): {"data.path": "images.zip"},
    ("model", "timm"): {"model.name": "resnet18"},
    ("model", "linear_probe"): WEIGHTS,
    ("features", "embeddings"): WEIGHTS,
    ("train", "distillation"): {"train.distillation.teacher": "models/runs/teacher"},
} | {
    ("experiment", path.stem): {"data.path": "images.zip"}
    for path in (CONFIG_DIR / "experiment").glob("*.yaml")
    if "override /data: folder" in path.read_text(encoding="utf-8")
}
NEEDS["experiment", "scenes_probe"] |= WEIGHTS


@pytest.mark.parametrize(("group", "preset"), PRESETS)
def test_a_preset_composes_and_is_valid(group: str, preset: str) -> None:
    compose(Selection({group: preset}, NEEDS.get((group, preset), {})))


@pytest.mark.parametrize(("group", "preset"), list(NEEDS))
def test_a_preset_that_needs_a_value_says_so(group: str, preset: str) -> None:
    for key in NEEDS[group, preset]:
        others = {name: value for name, value in NEEDS[group, preset].items() if name != key}
        with pytest.raises(ValueError, match=key):
            compose(Selection({group: preset}, others))


def test_every_yaml_is_a_preset_or_a_base() -> None:
    found = {path.relative_to(CONFIG_DIR).as_posix() for path in CONFIG_DIR.rglob("*.yaml")}
    known = {f"{group}/{preset}.yaml" for group, preset in PRESETS} | {"config.yaml"}
    assert {name for name in found - known if not name.startswith(("local/", "sweep/"))} <= {
        f"{group}/base.yaml" for group in groups()
    }


def test_every_preset_begins_with_a_word_on_what_it_is_or_is_the_default() -> None:
    for group, preset in PRESETS:
        text = (CONFIG_DIR / group / f"{preset}.yaml").read_text(encoding="utf-8")
        assert text.startswith("# ") or preset in ("default",), f"configs/{group}/{preset}.yaml"


def test_own_values_come_first_in_the_defaults_list() -> None:
    defaults = yaml.safe_load((CONFIG_DIR / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    assert defaults[0] == "_self_"


def test_params_file_has_every_group_once_and_selects_nothing() -> None:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert set(tree) == {*groups(), "set"} - {"sweep"}
    assert tree.pop("set") == {}
    assert set(tree.values()) == {None}
