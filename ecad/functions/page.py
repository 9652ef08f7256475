"""The page of a run or an evaluation, written at its end."""

from __future__ import annotations

import logging
from pathlib import Path

from ecad.errors import EcadError
from ecad.functions.extras import need

# What draws the page.
PACKAGES = ("vl_convert", "jinja2")

_LOGGER = logging.getLogger(__name__)


def page_at_the_end(folder: Path) -> Path | None:
    """Write `report.html` into the folder. None, with a line in the log, if that cannot be: the results are there all
    the same."""
    from ecad.report.page.build import write_page

    try:
        need(*PACKAGES)
        return write_page(folder)
    except EcadError as error:
        _LOGGER.warning("no page: %s", error)
        return None
