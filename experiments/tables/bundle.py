"""Writes the front of a finished run as bundled schedules: `python bundle.py RUN FOLDER NAME=SPEEDUP [...]`.

The front's schedule whose speedup in MACs is nearest to SPEEDUP is called NAME, the others front-2.00x and so on, each
with its held-out numbers. Learnt schedules of an earlier run are removed from FOLDER; heuristics stay.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ecad.errors import EcadError
from ecad.report.search_report import SearchReport
from ecad.schedule import load_schedule, save_schedule
from ecad.searching.choice import schedule_with_numbers
from ecad.storage import RunFolder


def main(run: str, target: str, *names: str) -> None:
    path = Path(run)
    folder = RunFolder.existing(path)
    report = SearchReport.from_json(folder.read_report(), str(path / "report.json"))
    rows = [row for row in report.rows if row.kind == "front"]
    called = {row.name: f"front-{row.speedup('macs'):.2f}x" for row in rows}
    for text in names:
        name, _, speedup = text.partition("=")
        nearest = min(rows, key=lambda row: abs(row.speedup("macs") / float(speedup) - 1))
        if not called[nearest.name].startswith("front-"):
            raise SystemExit(f"{name} and {called[nearest.name]} are both nearest to {nearest.name}")
        called[nearest.name] = name
    for old in Path(target).glob("*.yaml"):
        if "run" in load_schedule(old).provenance:
            old.unlink()
    for row in rows:
        save_schedule(schedule_with_numbers(folder, report, row), Path(target) / f"{called[row.name]}.yaml")
        print(f"{row.name} -> {called[row.name]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("folder")
    parser.add_argument("names", nargs="*", metavar="NAME=SPEEDUP")
    options = parser.parse_args()
    try:
        main(options.run, options.folder, *options.names)
    except EcadError as error:
        parser.error(str(error))
