import numpy as np
import pytest
import torch

from src.features.draws import AGAIN, balanced, uniform
from src.features.loader import all_batches, epoch_batches, load, load_parts, steps_per_epoch

CPU = torch.device("cpu")


def test_an_epoch_holds_no_image_twice_and_drops_less_than_a_batch():
    plan = epoch_batches(103, batch_size=10, seed=0, epoch=0)
    seen = np.concatenate(plan)
    assert len(plan) == steps_per_epoch(103, 10) == 10
    assert len(np.unique(seen)) == len(seen) == 100


def test_images_left_out_of_one_epoch_come_in_another():
    seen = {
        int(i) for epoch in range(8) for batch in epoch_batches(103, batch_size=10, seed=0, epoch=epoch) for i in batch
    }
    assert seen == set(range(103))


def test_a_split_smaller_than_a_batch_is_one_step_of_all_its_images():
    (batch,) = epoch_batches(5, batch_size=64, seed=0, epoch=0)
    assert sorted(batch) == [0, 1, 2, 3, 4]


def test_evaluation_takes_every_image_once_in_order():
    assert np.array_equal(np.concatenate(all_batches(23, batch_size=7)), np.arange(23))


def test_batches_carry_the_pixels_and_labels_of_their_samples(packed_split):
    plan = epoch_batches(len(packed_split), batch_size=8, seed=3, epoch=1)
    batches = list(load(packed_split, plan, CPU))
    assert [list(batch.samples) for batch in batches] == [list(samples) for samples in plan]
    for batch in batches:
        assert torch.equal(batch.images, torch.from_numpy(packed_split.gather(batch.samples)))
        assert batch.labels.tolist() == [int(index) % 3 for index in batch.samples]


def test_an_error_while_reading_reaches_the_caller(packed_split):
    with pytest.raises(IndexError):
        list(load(packed_split, [np.array([0]), np.array([999])], CPU))


@pytest.mark.parametrize("world", [2, 3, 5])
def test_the_parts_of_processes_are_the_batch_and_each_stands_behind_its_first_and_its_neighbour(packed_split, world):
    plan = epoch_batches(len(packed_split), batch_size=7, seed=3, epoch=1)
    parts = [list(load_parts(packed_split, plan, CPU, rank=rank, world=world)) for rank in range(world)]
    for samples, *batches in zip(plan, *parts, strict=True):
        own = [batch.samples[batch.lead :] for batch in batches]
        assert np.concatenate(own).tolist() == samples.tolist()
        assert max(map(len, own)) - min(map(len, own)) <= 1
        for batch, part in zip(batches, own, strict=True):
            place = samples.tolist().index(part[0])
            assert batch.samples[: batch.lead].tolist() == [samples[0], samples[place - 1]]
            assert batch.num_global == len(samples) == len(np.concatenate(own))


def test_the_part_of_a_lone_process_is_the_batch_itself(packed_split):
    plan = epoch_batches(len(packed_split), batch_size=7, seed=3, epoch=1)
    for samples, batch in zip(plan, load_parts(packed_split, plan, CPU, rank=0, world=1), strict=True):
        assert batch.lead == 0
        assert batch.samples.tolist() == samples.tolist()


def test_a_balanced_epoch_draws_every_class_equally_often_and_is_as_long_as_any(packed_split):
    labels = np.array([0] * 90 + [1] * 10 + [4] * 3)
    plan = epoch_batches(103, batch_size=10, seed=0, epoch=0, labels=labels)
    assert [len(batch) for batch in plan] == [10] * 10
    drawn = balanced(labels, seed=0, epoch=0)
    assert len(drawn) == 103
    assert sorted(np.bincount(labels[drawn % AGAIN])[[0, 1, 4]]) == [34, 34, 35]


def test_a_balanced_epoch_repeats_no_image_before_all_of_its_class_have_come():
    labels = np.array([0] * 90 + [1] * 10)
    drawn = balanced(labels, seed=0, epoch=0)
    positions, rounds = drawn % AGAIN, drawn // AGAIN
    assert len(np.unique(positions[labels[positions] == 0])) == 50
    assert np.bincount(rounds[labels[positions] == 1]).tolist() == [10, 10, 10, 10, 10]
    assert len(np.unique(drawn)) == len(drawn)


def test_a_balanced_epoch_depends_on_seed_and_epoch_only():
    labels = np.arange(100) % 3
    order = balanced(labels, seed=1, epoch=2)
    assert np.array_equal(order, balanced(labels, seed=1, epoch=2))
    assert not np.array_equal(order, balanced(labels, seed=1, epoch=3))
    assert not np.array_equal(order, balanced(labels, seed=2, epoch=2))


def test_all_images_of_a_large_class_come_in_some_balanced_epoch():
    labels = np.array([0] * 90 + [1] * 10)
    seen = {int(draw) for epoch in range(12) for draw in balanced(labels, seed=0, epoch=epoch) % AGAIN}
    assert seen == set(range(100))


def test_an_image_that_comes_again_keeps_its_place_and_has_draws_of_its_own(packed_split):
    (batch,) = load(packed_split, [np.array([2, 2 + AGAIN, 2 + 2 * AGAIN])], CPU)
    assert batch.samples.tolist() == [2, 2, 2]
    assert torch.equal(batch.images[0], batch.images[2])
    draws = uniform(batch.draws, seed=0, epoch=0, stream=0, count=1)
    assert len(np.unique(draws)) == 3
