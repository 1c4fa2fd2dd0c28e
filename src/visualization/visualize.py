"""Draw the figures of a run and write its page: artifacts -> reports/figures/<run>/*.png and reports/<run>/index.html.

Beside them `<run folder>/MODEL_CARD.md`, in which what people wrote is kept.

The run is models/pipeline, or the folder in run_dir=<folder>; it needs the data it was trained on, its training record
and its predictions (make_dataset, build_features, train_model, predict_model).
"""

import logging
from datetime import datetime

from src.champion import run_folder
from src.cli import run_verb
from src.config import Config
from src.files import replace_files, write_atomically

log = logging.getLogger(__name__)


def visualize(cfg: Config) -> None:
    """Write figures, page and model card of one run; the old ones stay whole until all the new ones are drawn.

    The views that `run.trackers` names get figures, tables and final metrics too.
    """
    from src.visualization.rendering import png
    from src.visualization.reporting.evidence import gather
    from src.visualization.reporting.figures import FIGURES
    from src.visualization.reporting.model_card import model_card, notes_of
    from src.visualization.reporting.page import page
    from src.visualization.reporting.publishing import publish

    run = run_folder(cfg.run_dir)
    evidence = gather(run, cfg.report)
    html = page(evidence, written=datetime.now())
    card = model_card(evidence, kept=notes_of(run.card))
    figures = {f"{name}.png": png(draw, evidence) for name, draw in FIGURES.items()}
    replace_files(run.figures, figures)
    index = run.report / "index.html"
    write_atomically(index, html.encode("utf-8"))
    write_atomically(run.card, card.encode("utf-8"))
    log.info("%d figures in %s, page: %s, model card: %s", len(figures), run.figures, index, run.card)
    publish(cfg.run, run, evidence, figures)


if __name__ == "__main__":
    run_verb(visualize, about=__doc__)
