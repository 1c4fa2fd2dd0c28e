"""Figures as bytes: PNG for files, SVG that follows the page's light and dark mode."""

import io
import re
from collections.abc import Callable
from html import escape
from typing import Protocol, TypeVar

from matplotlib.figure import Figure

from src.config import ReportConfig
from src.visualization.theme import PAGE, PRINT, Theme, css_variables, drawn_in


class Printable(Protocol):
    """What a figure is drawn from that is to be written as a file."""

    @property
    def settings(self) -> ReportConfig:
        """The report's settings."""


Shown = TypeVar("Shown")
Printed = TypeVar("Printed", bound=Printable)


RASTER_DPI = 200


def png(drawing: Callable[[Printed, Theme], Figure], evidence: Printed) -> bytes:
    """The figure on white, at the resolution that the report's settings ask for."""
    with drawn_in(PRINT):
        figure = drawing(evidence, PRINT)
        out = io.BytesIO()
        figure.savefig(
            out, format="png", dpi=evidence.settings.dpi, facecolor="white", bbox_inches="tight", pad_inches=0.2
        )
    return out.getvalue()


def svg(drawing: Callable[[Shown, Theme], Figure], evidence: Shown, *, name: str, label: str) -> str:
    """The figure as an `<svg>` element whose ids begin with `name`; `label` is read out in place of it."""
    with drawn_in(PAGE):
        figure = drawing(evidence, PAGE)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, dpi=RASTER_DPI, metadata={"Date": None})
    return _inline(out.getvalue(), name=name, label=label)


def _inline(document: str, *, name: str, label: str) -> str:
    """An SVG document made fit to stand inside HTML: no prolog, own ids, the page's colours and font."""
    match = re.search(r'<svg[^>]*viewBox="([^"]+)"[^>]*>(.*)</svg>', document, flags=re.DOTALL)
    assert match is not None, "matplotlib writes one svg element with a viewBox"
    view, body = match.groups()
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', body)
    body = body.replace("xlink:href=", "href=")
    body = re.sub(r"font: ([^'\";]*?px) [^;\"]*", r"font: \1 var(--sans)", body)
    for colour, variable in css_variables(PAGE).items():
        body = body.replace(colour, variable)
    width = float(view.split()[2])
    head = f'<svg viewBox="{view}" role="img" aria-label="{escape(label)}" style="--width: {width:.0f}px">'
    return f"{head}{body}</svg>"
