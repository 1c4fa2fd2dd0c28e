"""Settings of Sphinx: `make docs`, or python -m sphinx -W -b html docs docs/_build/html."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import generate_configuration  # noqa: E402

generate_configuration.write(HERE)

project = "Image classification"
author = "the project's authors"
init = (HERE.parent / "src" / "__init__.py").read_text(encoding="utf-8")
release = re.findall(r'__version__ = "(.+)"', init)[0]

extensions = ["myst_nb", "sphinx_copybutton"]
# they were run by execute_notebooks.py; the documentation builds without data and without a run
nb_execution_mode = "off"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
# the pages are named in code, as in src/config.py, which no lexer knows
highlight_language = "none"
suppress_warnings: list[str] = []

html_theme = "furo"
html_title = project
html_show_sphinx = False
