import numpy as np
import pandas as pd
import pytest

from src.features.packed import PackedSplit
from src.layout import PACKED_DIR, PIPELINE_RUN, RunFolder
from src.visualization.reporting.cases import cases, embedding_map, overlaid
from src.visualization.reporting.evidence import gather, mistakes_of
from src.visualization.reporting.extras import read_extras
from src.visualization.reporting.page import page
from src.visualization.theme import PRINT
from tests.visualization.page_parser import PageParser
from tests.visualization.test_report import WRITTEN

RUN = RunFolder(PIPELINE_RUN)


def write_extras() -> None:
    """Two near images and a map of attention for each test image, and places of all."""
    train, test = (PackedSplit.load(PACKED_DIR / name) for name in ("train", "test"))
    rows = [
        {"id": i, "rank": rank, "neighbour": train.ids[rank], "similarity": 0.5} for i in test.ids for rank in (2, 1)
    ]
    pd.DataFrame(rows).to_csv(RUN.predictions / "neighbours.csv", index=False)
    places = pd.DataFrame({"id": test.ids, "split": "test", "x": range(len(test.ids)), "y": 0.0})
    places.to_csv(RUN.predictions / "map.csv", index=False)
    maps = np.full((len(test.ids), 8, 8), 128, dtype=np.uint8)
    np.savez_compressed(RUN.predictions / "saliency.npz", ids=np.array(test.ids), maps=maps)


def test_a_case_has_its_picture_where_it_was_looked_and_near_images_nearest_first(drawn_run, cfg):
    drawn_run()
    write_extras()
    evidence = gather(RUN, cfg.report)
    found = cases(evidence, 2)
    assert [case.answer for case in found] == mistakes_of(evidence.scored)[:2]
    assert found[0].looked not in (None, found[0].picture)
    train = evidence.packed["train"]
    assert [label for label, _ in found[0].near] == [train.class_names[train.labels[rank]] for rank in (1, 2)]


def test_the_page_shows_cases_and_map_only_where_there_are_any(drawn_run, cfg):
    drawn_run()
    without = PageParser(page(gather(RUN, cfg.report), written=WRITTEN))
    write_extras()
    with_them = PageParser(page(gather(RUN, cfg.report), written=WRITTEN))
    assert "Why?" not in without.text
    assert with_them.faults == []
    assert "15 images of test by the network's features" in with_them.text
    assert len(with_them.found("img")) == len(without.found("img")) + 4 * 4


def test_pictures_of_other_data_are_not_shown_as_cases(drawn_run, cfg):
    from tests.visualization.test_report import change_record

    drawn_run()
    write_extras()
    change_record(data_digest="0ther")
    assert cases(gather(RUN, cfg.report), 5) == []


def test_the_map_marks_wrong_answers_and_names_each_class(drawn_run, cfg):
    drawn_run()
    write_extras()
    evidence = gather(RUN, cfg.report)
    axes = embedding_map(evidence, PRINT).axes[0]
    right, wrong = (len(each.get_offsets()) for each in axes.collections)
    assert (right + wrong, wrong) == (15, len(mistakes_of(evidence.scored)))
    assert [text.get_text() for text in axes.texts] == ["circle", "cross", "square"]


def test_an_overlay_is_grey_where_nothing_was_looked_at_and_coloured_where_it_was():
    image = np.full((2, 1, 3), (200, 100, 0), dtype=np.uint8)
    mixed = overlaid(image, np.array([[0], [255]], dtype=np.uint8))
    assert mixed[0, 0].tolist() == [100, 100, 100]
    assert mixed[1, 0, 0] > mixed[1, 0, 2]


@pytest.mark.parametrize("name", ["map.csv", "saliency.npz"])
def test_a_damaged_extra_is_named_with_what_to_run(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=rf"{name} is damaged .*; run predict_model again"):
        read_extras(tmp_path)
