from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from src.compose import compose
from src.features.augment import Augment, build_augment
from src.features.augment_preview import GAP, LINE, MARGIN, SIDEBAR, TILE, preview
from src.features.loader import epoch_batches
from src.features.packed import PackedSplit
from src.selection import parse
from tests.features.conftest import pack


def augment(preset: str) -> Augment:
    return build_augment(compose(parse([f"augment={preset}"])).augment, seed=0, img_size=8)


def sheet(split: PackedSplit, preset: str) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(preview(split, augment(preset), seed=0))))


def tile(picture: np.ndarray, top: int, column: int) -> np.ndarray:
    """The pixels of a tile, one for each pixel of an image of 8 px."""
    left = MARGIN + SIDEBAR + column * (TILE + GAP)
    return picture[top : top + TILE, left : left + TILE][7::14, 7::14]


def test_the_first_row_shows_the_first_images_of_the_first_epoch_as_packed(packed_split):
    picture = sheet(packed_split, "light")
    first = epoch_batches(len(packed_split), batch_size=8, seed=0, epoch=0)[0]
    for column, pixels in enumerate(packed_split.gather(first)):
        assert np.array_equal(tile(picture, MARGIN, column), pixels)


def test_a_row_for_each_epoch_shows_them_as_they_are_trained_on(packed_split):
    picture = sheet(packed_split, "light")
    samples = epoch_batches(len(packed_split), batch_size=8, seed=0, epoch=0)[0]
    pixels = torch.from_numpy(packed_split.gather(samples)).permute(0, 3, 1, 2) / 255
    for epoch in range(3):
        changed, _ = augment("light")(pixels, torch.eye(8), samples=samples, epoch=epoch)
        top = MARGIN + TILE + LINE + GAP + epoch * (TILE + GAP)
        for column, image in enumerate((255 * changed).round().byte().permute(0, 2, 3, 1).numpy()):
            assert np.array_equal(tile(picture, top, column), image)


def test_mixed_images_have_two_more_lines_for_their_shares(packed_split):
    plain, mixed = sheet(packed_split, "medium"), sheet(packed_split, "cutmix")
    assert len(mixed) == len(plain) + 3 * 2 * LINE


def test_a_split_of_fewer_images_than_columns_is_shown_whole(tmp_path):
    few = pack(tmp_path / "few", np.zeros((3, 8, 8, 3), dtype=np.uint8), [0, 1, 2])
    assert sheet(few, "strong").shape[1] == 2 * MARGIN + SIDEBAR + 3 * (TILE + GAP) - GAP


def test_a_name_longer_than_its_tile_stays_within_it(tmp_path):
    split = pack(tmp_path / "long", np.zeros((3, 8, 8, 3), dtype=np.uint8), [0, 0, 0])
    split.class_names[0] = "a name that is much longer than any picture is wide " * 3
    assert (sheet(split, "none")[:, :MARGIN] == 255).all()
    assert (sheet(split, "none")[:, -MARGIN:] == 255).all()


@pytest.mark.parametrize("preset", ["strong", "rand_augment"])
def test_drawing_it_touches_no_generator(packed_split, preset):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    one, two = (preview(packed_split, augment(preset), seed=0) for _ in range(2))
    assert one == two
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
