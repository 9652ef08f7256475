"""The page as one HTML file: no request leaves it, which its content security policy enforces."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from ecad import __version__
from ecad.errors import ConfigError
from ecad.report.page.bundle import vega_bundle
from ecad.report.page.charts import calibration_chart, heatmap_chart, volume_chart
from ecad.report.page.content import Content, Mark
from ecad.report.page.front_chart import front_charts
from ecad.report.page.panels import calibration_panels, neighbour_distances, schedule_panels
from ecad.schedule import Calibration, dump_schedule

_FOLDER = files("ecad.report.page") / "assets"


def page_html(content: Content, *, live: str | None = None) -> str:
    """A live page, with the version of what it shows, asks the server that it came from for news, and nobody else."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise ConfigError("the report page needs jinja2: pip install 'ecad[search]'") from None
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    scripts = [vega_bundle(), _asset("page.js")]
    return environment.from_string(_asset("page.html.jinja")).render(
        content=content,
        policy=content_security_policy(scripts, is_live=live is not None),
        style=_asset("page.css"),
        scripts=scripts,
        data=_json_for_html(page_data(content, live)),
        first=content.first(),
        neighbours=[] if content.calibration is None else _neighbours(content.calibration),
        is_live=live is not None,
        version=__version__,
    )


def content_security_policy(scripts: list[str], *, is_live: bool) -> str:
    """Only these scripts run; pictures are in the file; nothing is fetched, but by a live page from its own server."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    connect = "'self'" if is_live else "'none'"
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; connect-src {connect}; "
        "base-uri 'none'; form-action 'none'"
    )


def page_data(content: Content, live: str | None = None) -> dict[str, Any]:
    """What the page's script works with."""
    return {
        "live": live,
        "first": getattr(content.first(), "id", None),
        "samples": list(content.samples),
        "headings": list(content.headings),
        "marks": [_mark_data(mark) for mark in content.marks],
        "charts": {
            "front": front_charts(content),
            "heatmap": heatmap_chart(),
            **({"volume": volume_chart(list(content.hypervolume))} if content.hypervolume else {}),
            **(
                {} if content.calibration is None else {"calibration": calibration_chart(content.calibration)}
            ),
        },
    }


def _mark_data(mark: Mark) -> dict[str, Any]:
    schedule = mark.schedule
    return {
        "id": mark.id,
        "name": mark.name,
        "group": mark.group.key,
        "kind": mark.group.label,
        "cells": list(mark.cells),
        "speedups": dict(mark.speedups),
        "qualities": {name: values[0] for name, values in mark.qualities.items()},
        "use": mark.use,
        "file": mark.file_name,
        "yaml": None if schedule is None else dump_schedule(schedule),
        "panels": None if schedule is None else schedule_panels(schedule),
        "pictures": {number: _data_uri(picture) for number, picture in mark.pictures.items()},
    }


def _neighbours(calibration: Calibration) -> list[tuple[str, str, str, int]]:
    """Of each output: mean and largest distance between neighbouring steps, and the step of the largest."""
    found = []
    for title, distances in calibration_panels(calibration).items():
        values = neighbour_distances(distances)
        if len(values):
            found.append((title, f"{values.mean():.3f}", f"{values.max():.3f}", int(values.argmax()) + 1))
    return found


def _data_uri(picture: bytes) -> str:
    kind = "webp" if picture[8:12] == b"WEBP" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def _json_for_html(content: Mapping[str, Any]) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _asset(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
