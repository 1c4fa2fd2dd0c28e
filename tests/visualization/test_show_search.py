import logging
import re
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from src.files import write_json
from src.visualization.show_search import show_search
from tests.visualization.page_parser import PageParser

ATTACK = "<script>alert(1)</script>"
FOLDER = Path("models/sweeps/search-0123456789ab")
PAGE = Path("reports/search-0123456789ab/index.html")


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """The configuration for the page of a search, in a folder of its own."""
    from src.compose import compose
    from src.selection import parse

    monkeypatch.chdir(tmp_path)
    return lambda *overrides: compose(parse([*overrides, "report.dpi=60"]))


def write_search(*, states: list[str], shares: dict[str, float], folder: Path = FOLDER) -> pd.DataFrame:
    """A search as the sweep writes it, whose value rises with its trials."""
    rows = [row(number, state) for number, state in enumerate(states)]
    table = pd.DataFrame(rows)
    counts = {state: states.count(state) for state in ("finished", "pruned", "failed")}
    last = next((row for row in reversed(rows) if row["state"] == "finished"), None)
    best = last and {"trial": last["trial"], "value": last["val/acc"], "params": {"augment": last["augment"]}}
    told = {"direction": "maximize", "states": counts, "best": best, "importances": shares}
    write_json(folder / "summary.json", {"metric": "val/acc", "data_digest": "x"} | told)
    table.to_csv(folder / "results.csv", index=False)
    return table


def row(number: int, state: str) -> dict:
    head = {"trial": number, "state": state, "val/acc": None if state == "failed" else 0.5 + number / 100}
    point = {
        "optimizer.lr": 10.0**-number,
        "augment": ["none", "light"][number % 2],
        "train.patience": [None, 3][number % 2],
    }
    finished = {
        "best_epoch": 2,
        "epochs": 3,
        "seconds": 1.25,
        "images_per_s": 900,
        "num_params": 12345,
        "peak_mib": 800,
    }
    costs = finished if state == "finished" else dict.fromkeys(finished)
    return head | point | costs | {"reason": f"out of memory {ATTACK}" if state == "failed" else None}


STATES = ["finished", "failed", "finished", "pruned", "finished"]
SHARES = {"optimizer.lr": 0.7, "augment": 0.3, "train.patience": 0.0}


def test_the_page_is_whole_and_shows_trials_best_first_with_their_cost(configured, caplog):
    write_search(states=STATES, shares=SHARES)
    with caplog.at_level(logging.INFO, logger="src"):
        show_search(configured(f"run_dir={FOLDER.as_posix()}"))
    assert str(PAGE) in caplog.text
    html = PAGE.read_text("utf-8")
    parsed = PageParser(html)
    assert parsed.faults == []
    assert ATTACK not in html
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not re.search(r"url\((?!#)|@import|https?:", html)
    assert len(parsed.found("svg")) == 3
    first, second = "4 0.5400 0.0001 none null 3 1.2 s 900 12,345 800 MiB", "2 0.5200 0.01 none null"
    assert first in parsed.text or first.replace("0.5400", "0.54") in parsed.text
    assert parsed.text.index("12,345") < parsed.text.index(second.replace("0.5200", "0.52"))
    assert f"1 out of memory {ATTACK}" in parsed.text
    for fact in ("Best val/acc 0.5400", "Finished 3", "Pruned 1", "Failed 1", "70.0 %"):
        assert fact in parsed.text


def test_the_figures_are_written_at_the_resolution_asked_for(configured):
    write_search(states=STATES, shares=SHARES)
    show_search(configured(f"run_dir={FOLDER.as_posix()}"))
    drawn = sorted(Path("reports/figures/search-0123456789ab").iterdir())
    assert [path.name for path in drawn] == ["history.png", "importance.png", "parallel.png"]
    assert all(Image.open(path).info["dpi"][0] == pytest.approx(60, abs=1) for path in drawn)


@pytest.mark.parametrize("states", [["failed"], ["finished"], ["failed", "pruned"]])
def test_a_search_of_few_trials_is_drawn_too(configured, states):
    write_search(states=states, shares={})
    show_search(configured())
    parsed = PageParser(PAGE.read_text("utf-8"))
    assert parsed.faults == []
    assert "too few finished trials to tell" in parsed.text


def test_without_a_folder_the_newest_search_is_drawn(configured):
    with pytest.raises(ValueError, match=r'models/sweeps holds no search; run one: make sweep ARGS="sweep=search"'):
        show_search(configured())
    write_search(states=STATES, shares=SHARES)
    show_search(configured())
    assert PAGE.exists()


def test_what_is_no_search_is_refused(configured):
    with pytest.raises(ValueError, match=r"summary.json does not exist; run a search \(make sweep\) first"):
        show_search(configured("run_dir=models/sweeps/none"))
    write_json(Path("models/sweeps/cross_validation-1/summary.json"), {"folds": 5})
    with pytest.raises(ValueError, match=r"is not the folder of a search"):
        show_search(configured("run_dir=models/sweeps/cross_validation-1"))
