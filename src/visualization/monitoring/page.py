"""The page of monitoring: one HTML file that needs nothing else."""

from datetime import datetime

from markupsafe import Markup

from src.visualization.monitoring.evidence import Watched
from src.visualization.monitoring.figures import MONITOR_FIGURES
from src.visualization.pages import render
from src.visualization.rendering import svg


def page(evidence: Watched, *, written: datetime) -> str:
    """The whole HTML page; every value in it is escaped."""
    drawn = MONITOR_FIGURES if len(evidence.came) else {}
    return render(
        "monitor.html.j2",
        evidence=evidence,
        facts=evidence.as_tree(),
        figures={
            name: Markup(svg(draw, evidence, name=name, label=(draw.__doc__ or "").partition("\n")[0]))
            for name, draw in drawn.items()
        },
        written=written.strftime("%Y-%m-%d %H:%M"),
    )
