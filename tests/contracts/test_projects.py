"""The five projects: each preset composes, each of its variants is valid, and each has a head and a page."""

import re

import pytest

from src.compose import compose
from src.config import Config
from src.features.backbones import check_name
from src.models.recipes.optimizers import check_optimizer
from src.models.sweeping.variant_options import OPTIONS, Options
from src.models.sweeping.variants import variant_config
from src.pipeline import split_args
from src.selection import CONFIG_DIR, parse
from src.validation import typed
from tests.project import ROOT

PROJECTS = {
    "landscape_resnets": [
        "landscape_resnets",
        "landscape_tricks",
        "landscape_exotic",
        "landscape_augmentations",
        "landscape_optimizers",
    ],
    "cifar10_subset": ["cifar10_subset"],
    "animals_convnextv2": ["animals_convnextv2"],
    "intel_scenes": ["intel_scenes"],
    "cats_dogs_compare": ["cats_dogs_compare"],
}
SWEEPS = [(experiment, sweep) for experiment, sweeps in PROJECTS.items() for sweep in sweeps]


def cfgs_of(experiment: str, sweep: str) -> dict[str, Config]:
    """The configuration of each variant."""
    cfg = compose(parse([f"experiment={experiment}", f"sweep={sweep}"]))
    assert cfg.sweep is not None
    options: Options = typed(Options, cfg.sweep.options, at=OPTIONS)
    assert options.name == sweep
    return {name: variant_config(cfg, own, name=name) for name, own in options.selections().items()}


@pytest.mark.parametrize(("experiment", "sweep"), SWEEPS)
def test_every_variant_of_a_project_is_valid_and_names_a_network_and_an_optimiser_there_are(experiment, sweep) -> None:
    cfgs = cfgs_of(experiment, sweep)
    assert len(cfgs) > 1
    for cfg in cfgs.values():
        check_name(cfg.model)
        check_optimizer(cfg.optimizer)


def test_every_comparison_of_variants_belongs_to_a_project() -> None:
    found = {path.stem for path in (CONFIG_DIR / "sweep").glob("*.yaml") if "name: variants" in path.read_text("utf-8")}
    assert found == {sweep for _, sweep in SWEEPS}


@pytest.mark.parametrize("path", [f"experiment/{name}" for name in PROJECTS] + [f"sweep/{name}" for _, name in SWEEPS])
def test_the_head_of_a_preset_states_source_command_and_what_was_measured(path: str) -> None:
    lines = (CONFIG_DIR / f"{path}.yaml").read_text(encoding="utf-8").splitlines()
    head = lines[: next(n for n, line in enumerate(lines) if not line.startswith("#"))]
    for word in ("source", "command", "measured"):
        assert any(line.startswith(f"# {word}: ") for line in head), f"configs/{path}.yaml: no {word}"
    told = "".join(head).partition("# measured: ")[2]
    assert re.search(r"0\.\d{4}", told), f"configs/{path}.yaml: no figure"
    assert re.search(r"n=\d", told), f"configs/{path}.yaml: not of how many runs"


@pytest.mark.parametrize("name", PROJECTS)
def test_each_project_has_a_page_whose_commands_are_valid_and_a_row_in_the_readme(name: str) -> None:
    text = (ROOT / f"docs/projects/{name}.md").read_text(encoding="utf-8")
    lines = re.findall(r'^make [\w-]+ ARGS="(experiment=.+)"$', text, re.MULTILINE)
    given = [split_args(re.sub("<(.+?)>", r"\1", line)) for line in lines]
    assert given
    for overrides in given:
        assert overrides[0] == f"experiment={name}"
        compose(parse(overrides))
    assert f"(docs/projects/{name}.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
