"""How figures look: colours for paper and for the page, type, and fonts for scripts that the main font lacks."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import matplotlib
from matplotlib import font_manager

SPLIT_COLOURS = ("first", "second", "third", "fourth")

FALLBACK_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Emoji",
    "Arial Unicode MS",
    "Hiragino Sans",
    "PingFang SC",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Segoe UI Symbol",
)


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours by their part. `first` to `fourth` tell series apart, for colour-blind readers too (Okabe and Ito, 2008).

    `right` and `wrong` are laid on with varying opacity; white text stands on them.
    """

    ink: str
    muted: str
    line: str
    quiet: str
    first: str
    second: str
    third: str
    fourth: str
    right: str = "#1f73b0"
    wrong: str = "#d0570b"
    empty: str = "#8080801c"


PRINT = Theme(
    ink="#1d2126",
    muted="#666c75",
    line="#e5e6e3",
    quiet="#a9aeb5",
    first="#0072b2",
    second="#e69f00",
    third="#56b4e9",
    fourth="#a9aeb5",
)

# Stand-ins that `rendering.svg` turns into the page's CSS variables, so that figures follow light and dark mode.
PAGE = Theme(
    ink="#010201",
    muted="#010202",
    line="#010203",
    quiet="#010204",
    first="#010205",
    second="#010206",
    third="#010207",
    fourth="#010208",
)


def css_variables(theme: Theme) -> dict[str, str]:
    """Stand-in colours of the page's theme to the CSS that replaces them."""
    fixed = {"right", "wrong", "empty"}
    return {colour: f"var(--{part})" for part, colour in asdict(theme).items() if part not in fixed}


@cache
def font_families() -> list[str]:
    """The main font, then those installed fonts that know other scripts."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in FALLBACK_FONTS if name in installed)]


@contextmanager
def drawn_in(theme: Theme) -> Iterator[None]:
    """Within it figures are drawn and saved in the theme; class names are taken as they are, never as formulas."""
    settings: dict[Any, Any] = {
        "font.family": font_families(),
        "font.size": 9,
        "text.color": theme.ink,
        "text.parse_math": False,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.titlepad": 10,
        "axes.titlecolor": theme.ink,
        "axes.labelsize": 9,
        "axes.labelcolor": theme.muted,
        "axes.edgecolor": theme.line,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": theme.line,
        "grid.linewidth": 0.8,
        "xtick.color": theme.line,
        "ytick.color": theme.line,
        "xtick.labelcolor": theme.muted,
        "ytick.labelcolor": theme.muted,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "legend.frameon": False,
        "legend.labelcolor": theme.ink,
        "legend.handlelength": 1.2,
        "lines.linewidth": 1.8,
        "lines.solid_capstyle": "round",
        "svg.fonttype": "none",
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*missing from.*font")
        yield
