import re
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from src.config_data import AboutConfig
from src.data.audit import CHECKS
from src.layout import DATASET_DIR, RAW_DIR
from src.visualization.auditing.evidence import gather
from src.visualization.auditing.galleries import MOST_GROUPS, MOST_MEMBERS, copies
from src.visualization.auditing.page import HEADINGS, NOT_SOUGHT, SECTION_NAMES, SECTIONS, page
from tests.data.audited import DrawnSet, drawn_set
from tests.data.drawn import encoded, folder_of, png
from tests.visualization.page_parser import PageParser

WRITTEN = datetime(2024, 5, 17, 9, 30)
PER_CLASS = 2
ATTACK = "<script>alert(1)</script>"

LEAK = ["train/cross/1.png", "test/cross/1.png"]
CONFLICT = ["train/circle/0.png", "train/square/2.png"]
NEAR = ["train/cross/4.png", "train/cross/7.png"]


def small_set(**changes) -> DrawnSet:
    return drawn_set({"train": 24, "val": 12, "test": 12}, **changes)


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Writes a data set into an empty project, draws its page, and returns it as text and as parsed elements."""
    monkeypatch.chdir(tmp_path)

    def draw(made: DrawnSet) -> tuple[str, PageParser]:
        made.write(DATASET_DIR, RAW_DIR / "images")
        html = page(gather(), samples_per_class=PER_CLASS, written=WRITTEN)
        return html, PageParser(html)

    return draw


def faulty() -> DrawnSet:
    made = small_set(
        bad={"train/cross/cut.png": "truncated: 4 bytes are missing"},
        groups=[("near", NEAR), ("exact", LEAK), ("near", CONFLICT)],
    )
    made.change(made.of([LEAK[0]]), status="duplicate").change(made.of(CONFLICT), status="conflict")
    return made.change(made.images.index[10:12], width=3000)


def alts(parsed: PageParser) -> list[str]:
    return [image["alt"] for image in parsed.found("img")]


def test_page_is_whole_and_needs_no_network(read):
    html, parsed = read(faulty())
    assert parsed.faults == []
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    outside = [value for _, found in parsed.elements for key, value in found.items() if key in ("src", "href")]
    assert all(value.startswith(("data:", "#")) for value in outside)
    assert {value[1:] for value in outside if value.startswith("#")} <= set(ids)
    assert not re.search(r"url\((?!#)|@import|https?:", html)
    assert "prefers-color-scheme: dark" in html
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in parsed.found("meta")


def test_every_finding_stands_on_the_page_with_what_was_done_and_what_to_do(read):
    made = faulty()
    _, parsed = read(made)
    found = made.audit()
    assert len(found.findings) >= 6
    for finding in found.findings:
        for sentence in (HEADINGS[finding.kind], finding.text, finding.done, finding.advice):
            assert " ".join(sentence.split()) in parsed.text
    assert len([one for one in parsed.found("article") if "finding" in one["class"]]) == len(found.findings)


def test_every_kind_of_finding_has_a_heading_and_leads_somewhere():
    assert set(HEADINGS) == set(CHECKS)
    assert set(SECTIONS) <= set(CHECKS)
    assert set(SECTIONS.values()) == set(SECTION_NAMES)
    assert set(NOT_SOUGHT) <= set(CHECKS)


def test_verdict_is_the_gravest_severity(read):
    assert "Verdict 4 warnings" in read(faulty())[1].text
    made = faulty()
    made.change(made.of(LEAK + CONFLICT), status="ok")
    assert "Verdict 2 errors 2 errors, 2 warnings" in read(made)[1].text
    assert "Verdict No fault" in read(drawn_set({"train": 400, "test": 300}))[1].text


def test_clean_data_say_what_was_looked_for(read):
    _, parsed = read(drawn_set({"train": 400, "test": 300}))
    assert "Looked for and not found: copies across splits, contradicting labels, missing classes" in parsed.text
    assert "Counts not as published" not in parsed.text.lower()
    assert parsed.faults == []


def test_copies_are_shown_side_by_side_the_contradicting_ones_first(read):
    html, parsed = read(faulty())
    groups = [found for tag, found in parsed.elements if tag == "div" and "card group" in found.get("class", "")]
    assert [found["class"].split()[-1] for found in groups] == ["conflict", "leak", "near"]
    shown = alts(parsed)
    assert sorted(shown[:2]) == ["circle, train", "square, train"]
    assert sorted(shown[2:4]) == ["cross, test", "cross, train"]
    assert "circle or square?" in parsed.text
    assert "left out (conflict)" in parsed.text
    for image_id in (*CONFLICT, *LEAK, *NEAR):
        assert f'title="{image_id}"' in html


def test_pictures_are_those_of_the_raw_files(read):
    made = faulty()
    first = read(made)[0]
    images = RAW_DIR / "images"
    (images / CONFLICT[0]).write_bytes(png(999))
    second = page(gather(), samples_per_class=PER_CLASS, written=WRITTEN)
    assert first != second
    assert len(re.findall("<img", first)) == len(re.findall("<img", second))


def test_outliers_are_shown_with_their_value(read):
    _, parsed = read(faulty())
    assert "size 173.2, the median is 10.95" in parsed.text
    assert "width by height 300, the median is 1.2" in parsed.text


def test_samples_of_each_class_are_shown_from_train(read):
    _, parsed = read(small_set())
    samples = [alt for alt in alts(parsed) if "example" in alt]
    assert samples == [f"{name}, example {n + 1}" for name in ("circle", "cross", "square") for n in range(PER_CLASS)]


def test_unusable_files_are_listed_with_their_reasons(read):
    _, parsed = read(faulty())
    assert "train/cross/cut.png truncated: 4 bytes are missing" in parsed.text
    assert "unusable files" not in parsed.text.split("Looked for and not found")[-1].split("Classes")[0]


def test_names_are_shown_as_text_and_never_run(read):
    names = [ATTACK.replace("/", "|"), "猫", 'quote" onload="x']
    made = small_set(class_names=names, bad={f"{ATTACK}.png": "<img src=x onerror=alert(2)>"})
    made.groups = [("near", made.ids("train")[:2])]
    html, parsed = read(made)
    assert parsed.faults == []
    assert "<script>alert" not in html
    assert f"{ATTACK}.png" in parsed.text
    assert "猫" in parsed.text
    assert len(parsed.found("script")) == 1
    assert not [found for _, found in parsed.elements if {"onload", "onerror"} & found.keys()]


def test_what_is_known_of_the_source_is_told(read):
    about = AboutConfig(
        classes=None, expected={"train": {"circle": 90}}, licence="CC0", home_page="https://example.org/<set>"
    )
    _, parsed = read(small_set().configured(about=about))
    assert "Licence CC0" in parsed.text
    assert {"href": "https://example.org/<set>"} in parsed.found("a")
    assert "Counts not as published" in parsed.text
    assert "Images as published" in parsed.text
    _, parsed = read(
        small_set().configured(about=AboutConfig(classes=None, expected={}, licence=None, home_page="javascript:x"))
    )
    assert "Licence not known" in parsed.text
    assert not any(link["href"].startswith("javascript") for link in parsed.found("a"))


def test_a_thousand_classes_and_many_groups_make_a_page_of_bounded_size(read):
    names = [f"class {number}" for number in range(1000)]
    made = drawn_set({"train": 3000, "test": 1000}, class_names=names)
    ids = made.ids("train")
    made.groups = [("near", ids[start : start + 30]) for start in range(0, 3000, 30)]
    made.groups += [("exact", [ids[0], made.ids("test")[0]])]
    html, parsed = read(made)
    assert parsed.faults == []
    assert "class 999" in parsed.text
    assert len(html) < 3e6
    assert len(alts(parsed)) < 200
    assert "classes, from the largest to the smallest" in html


def test_groups_are_capped_and_what_differs_in_a_group_is_shown_first():
    made = drawn_set({"train": 300})
    crosses, circles = made.ids("train", "cross"), made.ids("train", "circle")
    made.groups = [("near", [*crosses[:20], circles[0]])]
    made.groups += [("exact", crosses[number : number + 2]) for number in range(20, 60, 2)]
    shown = copies(made.duplicates)
    assert [group.why for group in shown] == ["conflict"] + ["exact"] * MOST_GROUPS
    assert len(shown[0].ids) == MOST_MEMBERS
    assert circles[0] in shown[0].ids
    assert (shown[0].size, shown[0].labels) == (21, ["circle", "cross"])


def test_only_the_pictures_that_are_shown_are_read(read):
    made = small_set(groups=[("near", NEAR)])
    read(made)
    images = RAW_DIR / "images"
    evidence = gather()
    shown = set(re.findall(r'title="([^"]+\.png)"', page(evidence, samples_per_class=0, written=WRITTEN)))
    for path in images.rglob("*.png"):
        if path.relative_to(images).as_posix() not in shown:
            path.unlink()
    assert shown == set(NEAR)
    assert PageParser(page(evidence, samples_per_class=0, written=WRITTEN)).found("img")


def test_an_image_that_has_gone_or_changed_is_named(read):
    read(faulty())
    path = Path(RAW_DIR / "images" / LEAK[1])
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"test/cross/1.png in .* has changed since it was checked .*make_dataset"):
        page(gather(), samples_per_class=PER_CLASS, written=WRITTEN)
    path.unlink()
    with pytest.raises(ValueError, match=r"test/cross/1.png.*run make_dataset again"):
        page(gather(), samples_per_class=PER_CLASS, written=WRITTEN)


def test_images_without_labels_and_further_splits_are_shown(read):
    made = drawn_set(
        {"train": 24, "interesting": 6, "predict": 12}, groups=[("near", ["train/cross/1.png", "predict/cross/1.png"])]
    )
    made.change(made.images["split"] == "predict", label="")
    _, parsed = read(made)
    assert parsed.faults == []
    assert "no label" in parsed.text
    assert "an unlabelled image, predict" in alts(parsed)
    assert "interesting" in parsed.text


def test_a_photograph_is_shown_upright_and_small(read):
    made = small_set(groups=[("near", NEAR)])
    read(made)
    exif = Image.Exif()
    exif[0x0112] = 6
    tall = encoded(Image.new("RGB", (800, 400), "red"), "JPEG", exif=exif)
    folder_of(RAW_DIR / "images", {NEAR[0]: tall})
    (uri,) = gather().pictures([NEAR[0]]).values()
    assert uri.startswith("data:image/jpeg;base64,")
    assert len(uri) < 5000
