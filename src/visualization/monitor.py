"""Whether what comes to the service differs from what its model was tested on: reports/monitor/index.html.

usage: python -m src.visualization.monitor [<run>] [section.key=value ...]
       make monitor ARGS="<run> monitor.last=5000"

A run is what compare takes; without one it is the champion, and where there is none the pipeline's run. Compared are
the answers in data/requests that its checkpoint gave: brightness, contrast, saturation and sharpness of the images, how
sure the model was, and the classes it named. reports/monitor/monitor.json has the verdict for programs: `alike`,
`drift`, `too few` images, `not a number`, or `other model`, where all answers are of another checkpoint. Settings are
the section `monitor`.
"""

import logging
from datetime import datetime

from src.arguments import run_on_runs
from src.config import Config
from src.files import write_atomically, write_json
from src.layout import MONITOR_DIR, REQUESTS_DIR
from src.runs import in_service

log = logging.getLogger(__name__)


def monitor(cfg: Config, words: list[str]) -> None:
    """Write the page and the verdict, and tell what differs.

    Raises:
        ValueError: several runs, one that was not scored, or no answers yet.
    """
    from src.visualization.monitoring.evidence import gather
    from src.visualization.monitoring.page import page

    evidence = gather(in_service(words), REQUESTS_DIR, cfg.monitor)
    write_json(MONITOR_DIR / "monitor.json", evidence.as_tree())
    index = MONITOR_DIR / "index.html"
    write_atomically(index, page(evidence, written=datetime.now()).encode("utf-8"))
    level = logging.INFO if evidence.status == "alike" else logging.WARNING
    log.log(level, "%s", evidence.sentence)
    for verdict in evidence.drifted:
        log.warning("%s: %.3f -> %.3f, distance %.2f", verdict.measure, verdict.before, verdict.now, verdict.distance)
    log.info("page: %s", index)


if __name__ == "__main__":
    run_on_runs(monitor, about=__doc__ or "")
