import torch
from torchvision.transforms.v2 import functional

from src.features.augmenting.erasing import cutout, erased, random_erasing
from tests.features.augmenting.drawn import draws, noise, per_image

SHAPES = {"scale": [0.1, 0.3], "ratio": [0.5, 2.0]}


def test_erased_images_equal_torchvision():
    batch, boxes = noise(3), torch.tensor([[0, 0, 16, 16], [3, 5, 4, 6], [15, 15, 1, 1]])
    cover = torch.zeros_like(batch)
    theirs = per_image(
        lambda image, box, own: functional.erase(image, *box.tolist(), own[:, :1, :1]), batch, boxes, cover
    )
    assert torch.equal(erased(batch, boxes, cover), theirs)


def test_random_erasing_hides_rectangles_of_the_asked_area_and_shape():
    after = random_erasing(torch.ones(200, 3, 40, 40), draws(200), p=1.0, cover=0.0, **SHAPES)
    hidden = after[:, 0] == 0
    heights = hidden.any(dim=2).sum(dim=1).float()
    widths = hidden.any(dim=1).sum(dim=1).float()
    assert torch.equal(heights * widths, hidden.sum(dim=(1, 2)).float())
    areas, slopes = heights * widths / 1600, heights / widths
    assert 0.08 < float(areas.min()) < 0.14 < 0.26 < float(areas.max()) < 0.32
    assert 0.4 < float(slopes.min()) < 0.65 < 1.6 < float(slopes.max()) < 2.4


def test_random_erasing_reaches_every_border():
    hidden = random_erasing(torch.ones(200, 3, 16, 16), draws(200), p=1.0, cover=0.0, **SHAPES)[:, 0] == 0
    assert hidden[:, 0].any()
    assert hidden[:, -1].any()
    assert hidden[:, :, 0].any()
    assert hidden[:, :, -1].any()


def test_random_erasing_leaves_those_drawn_above_p():
    batch, drawn = noise(40), draws(40)
    above = drawn(1)[:, 0] >= 0.5
    after = random_erasing(batch, drawn, p=0.5, cover="noise", **SHAPES)
    assert torch.equal(after[above], batch[above])
    assert (after[~above] != batch[~above]).any(dim=3).any(dim=2).any(dim=1).all()


def test_noise_is_uniform_and_differs_by_image_and_by_pixel():
    whole = {"scale": [1.0, 1.0], "ratio": [1.0, 1.0]}
    after = random_erasing(torch.zeros(4, 3, 64, 64), draws(4), p=1.0, cover="noise", **whole)
    values, _ = after.flatten().sort()
    assert float((values - torch.linspace(0, 1, len(values))).abs().max()) < 0.01
    rows = after.flatten(1)
    correlations = torch.corrcoef(torch.cat([rows, rows.roll(1, 1), rows.roll(64, 1)]))
    assert float((correlations - torch.eye(12)).abs().max()) < 0.04


def test_cutout_greys_a_square_of_the_drawn_place():
    after = cutout(torch.zeros(20, 3, 16, 16), draws(20), size=0.25, p=1.0)
    centres = (draws(20)(3)[:, 1:] * 16).tolist()
    for image, (row, column) in zip(after, centres, strict=True):
        rows, columns = torch.where(image[0] == 0.5)
        assert max(abs(float(rows.max()) - row), abs(float(columns.max()) - column)) <= 2
        assert len(set(rows.tolist())) * len(set(columns.tolist())) == len(rows)
        if 2 < row < 13 and 2 < column < 13:
            assert len(rows) in (16, 20, 25)
