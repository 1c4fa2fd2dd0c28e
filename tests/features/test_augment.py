from itertools import chain

import numpy as np
import pytest
import torch
import yaml

from src.compose import compose
from src.config_training import AugmentConfig
from src.features.augment import LIMITS, MIXES, TRANSFORMS, Augment, build_augment
from src.schema import Component
from src.selection import CONFIG_DIR, parse
from tests.features.augmenting.drawn import photographs

PRESETS = {
    path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted((CONFIG_DIR / "augment").glob("*.yaml"))
}
# the options of each entry are those of the first preset that has it
USED = [entry for preset in PRESETS.values() for entry in (*preset["transforms"], preset["mix"]) if entry]
OPTIONS = {entry["name"]: entry["options"] for entry in reversed(USED)}
COUNT, SIDE = 24, 32


def component(name: str, **changes) -> Component:
    return Component(name=name, options=OPTIONS[name] | changes)


def built(*transforms: Component, mix: Component | None = None, seed: int = 0) -> Augment:
    return build_augment(AugmentConfig(transforms=list(transforms), mix=mix), seed=seed, img_size=SIDE)


def of_entry(name: str, **settings) -> Augment:
    """The augmentation that consists of one entry of either table."""
    return built(component(name), **settings) if name in TRANSFORMS else built(mix=component(name), **settings)


def targets(count: int = COUNT) -> torch.Tensor:
    return torch.eye(count)


def augmented(
    augment: Augment, *, epoch: int = 0, samples: np.ndarray | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    samples = np.arange(COUNT) if samples is None else samples
    return augment(photographs(COUNT, SIDE), targets(), samples=samples, epoch=epoch)


def test_every_entry_of_the_tables_is_in_a_preset():
    assert set(OPTIONS) == {*TRANSFORMS, *MIXES}


@pytest.mark.parametrize("name", [*TRANSFORMS, *MIXES])
class TestEveryEntry:
    def test_gives_finite_unit_images_of_the_same_shape_type_and_layout(self, name):
        before = photographs(COUNT, SIDE)
        after, _ = augmented(of_entry(name))
        assert (after.shape, after.dtype, after.device) == (before.shape, before.dtype, before.device)
        assert after.is_contiguous(memory_format=torch.channels_last)
        assert torch.isfinite(after).all()
        assert after.min() >= -1e-6
        assert after.max() <= 1 + 1e-6

    def test_leaves_the_images_it_was_given_as_they_were(self, name):
        given = photographs(COUNT, SIDE)
        of_entry(name)(given, targets(), samples=np.arange(COUNT), epoch=0)
        assert torch.equal(given, photographs(COUNT, SIDE))

    def test_gives_the_same_for_the_same_seed_epoch_and_sample_and_touches_no_generator(self, name):
        state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
        one, two = (augmented(of_entry(name), epoch=3) for _ in range(2))
        assert all(torch.equal(first, second) for first, second in zip(one, two, strict=True))
        assert torch.equal(torch.random.get_rng_state(), state[0])
        assert (np.random.get_state()[1] == state[1]).all()

    @pytest.mark.parametrize("other", [{"epoch": 1}, {"seed": 1}, {"first": 100}])
    def test_changes_with_the_epoch_the_seed_and_the_sample(self, name, other):
        first, _ = augmented(of_entry(name))
        settings = {"seed": 0, "epoch": 0, "first": 0} | other
        samples = np.arange(settings["first"], settings["first"] + COUNT)
        second, _ = augmented(of_entry(name, seed=settings["seed"]), epoch=settings["epoch"], samples=samples)
        assert not torch.equal(first, second)

    def test_treats_equal_images_differently(self, name):
        batch = photographs(2, SIDE)[[0, 1] * (COUNT // 2)]
        after, _ = of_entry(name)(batch, targets(), samples=np.arange(COUNT), epoch=0)
        assert len({tuple(image.flatten().tolist()) for image in after}) > 2

    def test_refuses_an_option_it_does_not_take(self, name):
        key, odd = r"transforms\[0\]" if name in TRANSFORMS else "mix", component(name, odd=1)
        with pytest.raises(ValueError, match=rf"augment.{key}.options.odd: {name} takes no odd"):
            built(odd) if name in TRANSFORMS else built(mix=odd)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_gives_a_sample_the_same_change_in_any_batch_and_at_any_place(name):
    augment, batch, samples = of_entry(name), photographs(COUNT, SIDE), np.arange(50, 50 + COUNT)
    whole = augment.transformed(batch, samples=samples, epoch=4)
    order = np.array([17, 4, 23, 0, 9])
    part = augment.transformed(batch[order], samples=samples[order], epoch=4)
    assert torch.allclose(part, whole[order], atol=1e-6)


@pytest.mark.parametrize("name", MIXES)
def test_a_mix_of_a_part_of_the_batch_with_its_partners_is_that_of_the_whole(name):
    augment, batch, samples = of_entry(name), photographs(COUNT, SIDE), np.arange(COUNT)
    whole = augment(batch, targets(), samples=samples, epoch=2)
    part, partners = slice(8, 16), slice(7, 15)
    mine = augment.mixed(
        (batch[part], batch[partners]), (targets()[part], targets()[partners]), samples=samples[part], epoch=2
    )
    assert all(torch.equal(found, expected[part]) for found, expected in zip(mine, whole, strict=True))


@pytest.mark.parametrize("name", MIXES)
def test_mixes_give_each_image_a_share_of_its_own_and_keep_targets_a_distribution(name):
    _, mixed = augmented(of_entry(name))
    assert torch.allclose(mixed.sum(dim=1), torch.ones(COUNT))
    shares = mixed.diagonal()
    assert float(shares.min()) >= 0
    assert len(shares.unique()) > COUNT // 2
    # the rest belongs to the image before it
    assert torch.allclose(mixed.diagonal(-1), 1 - shares[1:], atol=1e-6)


def test_without_a_mix_the_targets_are_those_given():
    _, after = augmented(built(component("flip")))
    assert torch.equal(after, targets())


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_builds_and_keeps_images_in_range(preset):
    cfg = compose(parse([f"augment={preset}"])).augment
    after, _ = augmented(build_augment(cfg, seed=0, img_size=SIDE))
    assert after.shape == (COUNT, 3, SIDE, SIDE)
    assert after.min() >= -1e-6
    assert after.max() <= 1 + 1e-6


def test_no_draw_lies_past_the_last_window_of_a_crop(monkeypatch):
    # a number that float32 would round to one
    last = np.full((COUNT, 4), 1 - 2.0**-40)
    monkeypatch.setattr("src.features.augmenting.sampling.uniform", lambda *_, **__: last)
    after, _ = augmented(built(component("pad_crop"), component("random_resized_crop")))
    assert torch.isfinite(after).all()


def test_unknown_transform_is_answered_with_the_near_one():
    cfg = AugmentConfig(transforms=[Component(name="flop", options={})], mix=None)
    with pytest.raises(ValueError, match=r"augment.transforms\[0\].name=flop is unknown; did you mean flip"):
        build_augment(cfg, seed=0, img_size=8)


def test_missing_option_is_named():
    cfg = AugmentConfig(transforms=[Component(name="cutout", options={"size": 0.1})], mix=None)
    with pytest.raises(ValueError, match="cutout needs p"):
        build_augment(cfg, seed=0, img_size=8)


@pytest.mark.parametrize(
    ("name", "option", "value", "message"),
    [
        ("flip", "p", 1.5, r"augment.transforms\[0\].options.p=1.5 is out of range; allowed: 0 to 1"),
        ("flip", "p", "half", r"options.p=half is out of range; allowed: 0 to 1"),
        ("flip", "p", None, r"options.p=None is out of range; allowed: 0 to 1"),
        (
            "random_resized_crop",
            "scale",
            [0.0, 1.0],
            r"options.scale=\[0.0, 1.0\] is out of range; allowed: 0.001 to 1",
        ),
        ("random_erasing", "cover", "nose", r"options.cover=nose is out of range; allowed: noise or 0 to 1"),
        ("mixup", "alpha", -1.0, r"augment.mix.options.alpha=-1.0 is out of range; allowed: 0.01 to 100"),
    ],
)
def test_an_option_out_of_range_is_refused_before_any_image(name, option, value, message):
    wrong = component(name, **{option: value})
    with pytest.raises(ValueError, match=message):
        built(wrong) if name in TRANSFORMS else built(mix=wrong)


def test_every_limit_is_of_an_option_in_use():
    assert set(LIMITS) <= set(chain.from_iterable(OPTIONS.values()))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", [*TRANSFORMS, *MIXES])
def test_on_a_gpu_images_are_those_of_the_cpu_and_nothing_waits_for_it(name):
    batch, labels = photographs(COUNT, SIDE).cuda(), targets().cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        after, _ = of_entry(name)(batch, labels, samples=np.arange(COUNT), epoch=0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.allclose(after.cpu(), augmented(of_entry(name))[0], atol=1e-3)
