"""The guide, by Sphinx: `sphinx-build -W -n -c docs . build/guide`, then open build/guide/docs/index.html.

The source folder is the whole checkout, so that a link from one file to another is the same on a page of the guide, in
a checkout and where the repository is hosted, and is checked in all of them: README and the experiments too.
"""

from __future__ import annotations

import subprocess
import sys

import ecad

project = "ecad"
author = "the authors of ecad"
copyright = author  # noqa: A001 - Sphinx's name
version = release = ecad.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "schedules/README.md",
    "calibration_prompts/README.md",
    "experiments/*/README.md",
    "experiments/minis_evaluated/*/results.md",
    "ecad/families/minis/*/README.md",
]

# Headings are targets as they are where repositories are hosted: page.md#a-heading.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

# Whatever names the Python reference mentions that have no page of their own (numpy, torch, our own types).
nitpick_ignore_regex = [(r"py:.*", r".*")]
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"

# Options keep their two dashes; single backticks in docstrings are code.
smartquotes = False
default_role = "code"

html_theme = "furo"
html_title = f"ecad {release}"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_static_path: list[str] = []

COMMANDS = "docs/commands"


def add_commands(app: object, page: str, source: list[str]) -> None:
    """The page of commands is what typer makes of the command line itself."""
    if page != COMMANDS:
        return
    made = subprocess.run(
        [sys.executable, "-m", "typer", "ecad.cli.main", "utils", "docs", "--name", "ecad"],
        check=True,
        capture_output=True,
        text=True,
    )
    source[0] += made.stdout.split("\n", 1)[1]  # less its own title


def setup(app: object) -> None:
    app.connect("source-read", add_commands)  # type: ignore[attr-defined]
