import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from src.compose import compose
from src.models.sweeping.search_space import at, dimensions, kept_values, overrides
from src.selection import groups, parse
from tests.models.conftest import FAST


def searched(*given: str):
    """The dimensions of the preset, with overrides."""
    cfg = compose(parse(["sweep=search", *given]))
    assert cfg.sweep is not None
    return dimensions(cfg.sweep.options["space"], cfg)


def only(space: str, *given: str):
    return searched(f"sweep.options.space={space}", *given)


def test_intervals_and_choices_become_dimensions():
    found = only("{optimizer:{lr:{low:1e-4,high:1,log:true}},train:{epochs:{low:2,high:9},seed:{choices:[0,1]}}}")
    assert found == {
        "optimizer.lr": FloatDistribution(1e-4, 1.0, log=True),
        "train.epochs": IntDistribution(2, 9),
        "train.seed": CategoricalDistribution([0, 1]),
    }


def test_whole_ends_mean_whole_numbers_only_where_the_key_takes_no_others():
    assert only("{optimizer:{weight_decay:{low:0,high:1}}}") == {"optimizer.weight_decay": FloatDistribution(0.0, 1.0)}
    assert only("{train:{patience:{low:1,high:9}}}") == {"train.patience": IntDistribution(1, 9)}
    assert only("{model:{options:{width:{low:4,high:9}}}}") == {"model.options.width": IntDistribution(4, 9)}
    with pytest.raises(ValueError, match=r"train.epochs=1.5 should be a valid integer"):
        only("{train:{epochs:{low:1.5,high:4}}}")


def test_a_value_on_the_command_line_changes_or_drops_one_dimension():
    whole = searched()
    assert searched("sweep.options.space.optimizer.lr.high=0.5")["optimizer.lr"].high == 0.5
    assert set(searched("sweep.options.space.augment=null")) == set(whole) - {"augment"}
    added = searched("sweep.options.space.train.patience.choices=[null,3]")
    assert added["train.patience"].choices == (None, 3)


def test_keys_with_dots_in_their_names_are_read_too():
    cfg = compose(parse([]))
    assert list(dimensions({"optimizer.lr": {"low": 0.1, "high": 0.2}}, cfg)) == ["optimizer.lr"]
    with pytest.raises(ValueError, match=r"optimizer.lr stands twice"):
        dimensions({"optimizer.lr": {"choices": [1]}, "optimizer": {"lr": {"choices": [1]}}}, cfg)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("{optimizr:{lr:{low:1,high:2}}}", r"optimizr is not a key; did you mean optimizer\?"),
        ("{optimizer:{lrr:{low:1,high:2}}}", r"optimizer.lrr is not a key; did you mean lr\?"),
        ("{optimizer:{lr:{low:-1,high:2}}}", r"optimizer.lr=-1 should be greater than 0"),
        ("{optimizer:{lr:{low:3,high:2}}}", r"space.optimizer.lr: `low <= high` must hold"),
        ("{optimizer:{lr:{low:a,high:2}}}", r"space.optimizer.lr.low.*should be a valid"),
        ("{optimizer:{lr:{low:1}}}", r"space.optimizer.lr.high has no value"),
        ("{optimizer:{lr:{low:1,hihg:2}}}", r"space.optimizer.lr.hihg=2 should be \{low: .., high: ..\}"),
        ("{optimizer:{lr:0.1}}", r"space.optimizer.lr=0.1 should be \{low: .., high: ..\} or \{choices: \[..\]\}"),
        ("{train:{epochs:{choices:[3,many]}}}", r'train.epochs="many" should be a valid integer'),
        ("{train:{epochs:{choices:[]}}}", r"space.train.epochs: The `choices` must contain one or more"),
        ("{train:{epochs:{x:{choices:[1]}}}}", r"train.epochs.x is not a key: epochs is 12 and holds no x"),
        ("{augment:{choices:[lihgt]}}", r"lihgt is not a preset of configs/augment; did you mean light\?"),
        ("{augment:{low:1,high:2}}", r"space.augment takes presets: augment: \{choices: \[aug_mix, cifar, .*light, "),
        ("{data:{seed:{choices:[1,2]}}}", r"a search trains on the packed data as they are and varies model, augment"),
        ("{experiment:{choices:[scenes_scratch]}}", r"experiment is not a key; allowed: augment"),
        ("{}", r"sweep.options.space holds nothing to search"),
    ],
)
def test_a_wrong_space_is_refused(space, message):
    with pytest.raises(ValueError, match=message):
        only(space)


def test_presets_that_would_drop_a_value_of_the_configuration_are_refused():
    said = (
        r"would drop what the configuration sets \(model.pretrained=True\); sweep.options.space.model.keep=true lays it"
    )
    with pytest.raises(ValueError, match=said):
        only("{model:{choices:[resnet18,resnet50]}}", "model.pretrained=true")
    kept = "{model:{choices:[resnet18,resnet50],pretrained:{choices:[true]}}}"
    assert set(only(kept, "model.pretrained=true")) == {"model", "model.pretrained"}


def test_values_that_are_kept_stay_over_every_preset_but_for_the_name():
    base = ["model=timm", "model.name=resnet26", "model.stem=plain", "model.mean=[0.1,0.2,0.3]"]
    space = "sweep.options.space={model:{choices:[resnet18,resnet50],keep:true}}"
    cfg = compose(parse([*base, "sweep=backbones", space]))
    assert cfg.sweep is not None
    kept = kept_values(cfg.sweep.options["space"], cfg)
    assert kept == {"model.stem": "plain", "model.mean": [0.1, 0.2, 0.3]}
    found = at(cfg, {**kept, "model": "resnet50"}).model
    assert (found.name, found.stem, found.mean) == ("resnet50", "plain", [0.1, 0.2, 0.3])
    assert at(cfg, {"model": "resnet50"}).model.mean is None
    assert set(dimensions(cfg.sweep.options["space"], cfg)) == {"model"}


def test_a_point_is_what_its_overrides_compose():
    base = ["model=resnet18", "train.epochs=3"]
    point = {"optimizer.lr": 0.3, "augment": "light", "train.patience": None, "model": "resnet50", "optimizer": "sgd"}
    assert at(compose(parse(base)), point) == compose(parse([*base, *overrides(point).split()]))


def test_values_that_cannot_hold_together_are_refused_at_their_point():
    cfg = compose(parse(FAST))
    with pytest.raises(ValueError, match=r"schedule.warmup_epochs=5.0 is not shorter than train.epochs=2"):
        at(cfg, {"schedule.warmup_epochs": 5})


def test_the_space_of_every_preset_fits_the_schema():
    sweeps = [compose(parse([f"sweep={preset}"])) for preset in groups()["sweep"]]
    searches = [cfg for cfg in sweeps if cfg.sweep is not None and cfg.sweep.name == "search"]
    assert len(searches) >= 4
    assert all(dimensions(cfg.sweep.options["space"], cfg) for cfg in searches)
