"""The page of a folder, whatever it holds: a search, or an evaluation."""

from __future__ import annotations

from pathlib import Path

from ecad.atomic import write_text
from ecad.errors import RunError
from ecad.report.page.content import Content
from ecad.report.page.html import page_html
from ecad.report.page.of_results import RESULTS_FILE, results_content
from ecad.report.page.of_run import run_content

PAGE_FILE = "report.html"


def folder_content(folder: Path) -> Content:
    """RunError for a folder that is neither."""
    if (folder / RESULTS_FILE).is_file():
        return results_content(folder)
    if not (folder / "config.yaml").is_file():
        raise RunError(
            f"{folder} is neither a run folder nor one of ecad evaluate: it has no config.yaml and no {RESULTS_FILE}"
        )
    if (folder / "scores.jsonl").is_file():
        raise RunError(f"the evaluation in {folder} is not finished: run its command again, it continues")
    return run_content(folder)


def write_page(folder: Path, target: Path | None = None) -> Path:
    """Write the folder's page, by default into it; returns where it is. It is the old or the new one, never half."""
    path = folder / PAGE_FILE if target is None else target
    text = page_html(folder_content(folder))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from None
    return path
