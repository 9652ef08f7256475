"""`ecad status`: how a search stands, from another terminal. Reads only the run folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import typer

# A search notes about once a second that it lives; loading a model or one long batch may take longer.
_SILENT_S = 60.0


def status(
    run: Path = typer.Argument(help="Run folder."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Show how a search stands: generation, rate, time left, workers, failures, hypervolume.

    \b
    Examples:
      ecad status runs/pixart-mini
    """
    content = read_status(run)
    if as_json:
        print(json.dumps(content, indent=1))
    else:
        print("\n".join(_lines(content)))


def read_status(run: Path) -> dict[str, Any]:
    """What a run folder says of how its search stands."""
    from ecad.storage import RunFolder
    from ecad.storage.status import STATUS_NAME

    folder = RunFolder.existing(run)
    settings = folder.read_config().get("settings")
    content = {
        "run": str(run),
        "model": settings.get("model") if isinstance(settings, dict) else None,
        "logged_evaluations": folder.count_evaluations(),
        "has_report": (run / "report.json").is_file(),
        **(folder.read_json(STATUS_NAME) or {"state": "unknown"}),
    }
    updated = content.get("updated")
    content["silent_s"] = max(0.0, time.time() - updated) if isinstance(updated, (int, float)) else None
    return content


def state_line(content: dict[str, Any]) -> str:
    """Run, model and state in a line."""
    return f"{content['run']}: {content['model']}, {_state(content)}"


def _lines(content: dict[str, Any]) -> list[str]:
    from ecad.progress import WorkerReport
    from ecad.report.progress import duration, workers_text

    lines = [state_line(content)]
    lines.append(f"  evaluations  {content['logged_evaluations']} in the log")
    if "generation" in content:
        lines.append(
            f"  generation   {content['generation']} of {content['generations']}, "
            f"candidate {content['evaluated']} of {content['population']}"
        )
        done, total = content["images"]
        if total:
            lines.append(f"  {content['phase']:<12} {done} of {total} images")
        if content["state"] == content["phase"]:  # neither stopped nor finished
            lines.append(f"  rate         {content['images_per_second']:.2f} images/s")
            lines.append(f"  time left    {duration(content['remaining_s'])}")
        lines.append(f"  hypervolume  {content['hypervolume']:.4f}, {len(content['front'])} on the front")
        if content["workers"]:
            text = workers_text([WorkerReport(**worker) for worker in content["workers"]])
            lines.append("  workers      " + text.replace("\n", "\n               "))
        if content["failure_count"]:
            reason = content["failures"][-1]["reason"]
            lines.append(f"  failures     {content['failure_count']} candidates, the last: {reason}")
    return lines


def _state(content: dict[str, Any]) -> str:
    state, silent_s = content["state"], content["silent_s"]
    if state == "finished" or (state == "unknown" and content["has_report"]):
        return "finished"
    if state in ("stopped", "unknown"):
        return f"{state}: continue with ecad search --resume {content['run']}"
    if silent_s is not None and silent_s > _SILENT_S:
        return f"{state}, but silent for {silent_s:.0f} s (process {content['process']} on {content['host']})"
    return f"{state} (process {content['process']} on {content['host']})"
