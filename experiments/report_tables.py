"""Prints a run's held-out report as the Markdown tables of the READMEs here: `python report_tables.py RUN`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_HOW = {"level": "at least {speedup:g}x", "same cost": "same cost", "same latency": "same latency"}


def interval(mean: float, bounds: list[float]) -> str:
    return f"{mean:+.3f} ({bounds[0]:+.3f} to {bounds[1]:+.3f})"


def tables(report: dict[str, Any]) -> list[str]:
    lines = [
        f"| kind | schedule | MACs | latency | {report['quality']} | minus uncached |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        difference = (
            interval(row["difference"], row["difference_interval"]) if row["kind"] != "uncached" else ""
        )
        lines.append(
            f"| {row['kind']} | {row['name']} | {row['speedup_macs']:.2f}x | {row['speedup_latency']:.2f}x | "
            f"{row['quality']:.3f} | {difference} |"
        )
    volume = report["hypervolume"]
    low, high = volume["front_minus_heuristic_interval"]
    text = (
        f"Hypervolume: front {volume['front']:.4f}, heuristics {volume['heuristic']:.4f} (difference {low:+.4f} to "
        f"{high:+.4f}), fewer steps {volume['fewer-steps']:.4f}."
    )
    lines += ["", text, "", "| compared at | front | against | difference |", "|---|---|---|---|"]
    for item in report["comparisons"]:
        difference = interval(item["difference"], item["difference_interval"])
        front = f"{item['front']} ({item['front_speedup']:.2f}x {item['measure']})"
        rival = f"{item['rival']} ({item['rival_speedup']:.2f}x)"
        lines.append(f"| {_HOW[item['how']].format(**item)} | {front} | {rival} | {difference} |")
    return lines


if __name__ == "__main__":
    print("\n".join(tables(json.loads(Path(sys.argv[1], "report.json").read_text(encoding="utf-8")))))
