"""The plot of peers from the log: lost alignment over compute and over time, a row of panels for each mini."""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from rows import Row, best_rows, read, rows_of
from table import MODELS, OUT, ROOT

# Colour and marker by the beginning of a method's name.
_STYLES = {
    "ecad front": ("#1b7f4d", "o"),
    "fewer steps": ("#2f6fb0", "^"),
    "FORA": ("#d98c00", "s"),
    "step mask by hand": ("#d98c00", "D"),
    "SmoothCache": ("#8a4fb0", "v"),
    "T-GATE": ("#7a5c3a", "P"),
    "cache-dit DBCache": ("#222222", "X"),
    "cache-dit steps mask": ("#222222", "*"),
    "diffusers FirstBlockCache": ("#c2384a", "<"),
    "diffusers TaylorSeer": ("#c2384a", ">"),
    "diffusers MagCache": ("#c2384a", "p"),
    "diffusers PyramidAttentionBroadcast": ("#c2384a", "d"),
    "diffusers FasterCache": ("#c2384a", "h"),
}
_TICKS = (-0.5, -0.2, -0.1, -0.05, -0.02, -0.01, 0, 0.01)
_LABELS = {
    "compute": "share of the uncached transformer's FLOPs",
    "time": "share of the uncached call's time",
}


def figure(rows_by_model: dict[str, list[Row]]) -> Figure:
    drawn = Figure(figsize=(12, 4.4 * len(rows_by_model) + 0.9), layout="constrained")
    panels = drawn.subplots(len(rows_by_model), 2, squeeze=False)
    for (model, rows), pair in zip(rows_by_model.items(), panels, strict=True):
        for kind, axes in zip(("compute", "time"), pair, strict=True):
            _panel(axes, rows, kind)
            axes.set_title(model, fontsize=10)
    handles = {}
    for axes in panels.flat:
        handles |= {text: handle for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    drawn.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=8)
    return drawn


def _panel(axes: Axes, rows: list[Row], kind: str) -> None:
    best = sorted(
        (row for row in rows if (row.method, row.setting) in best_rows(rows, kind)),
        key=lambda row: row.cost(kind),
    )
    axes.plot(
        [row.cost(kind) for row in best],
        [row.difference for row in best],
        color="0.75",
        linewidth=5,
        solid_capstyle="round",
        zorder=0,
        label="best of all",
    )
    for start, (colour, marker) in _STYLES.items():
        own = [
            row for row in rows if row.method == start or (start == "T-GATE" and row.method.startswith(start))
        ]
        if not own:
            continue
        heights = [row.difference for row in own]
        errors = [
            [row.difference - row.low for row in own],
            [row.high - row.difference for row in own],
        ]
        axes.errorbar(
            [row.cost(kind) for row in own],
            heights,
            yerr=errors,
            linestyle="none",
            marker=marker,
            markersize=6,
            color=colour,
            alpha=0.85,
            elinewidth=0.7,
            label=start,
        )
    axes.axhline(0, color="0.4", linewidth=0.8, linestyle=":")
    axes.set_yscale("symlog", linthresh=0.01)
    axes.yaxis.set_major_locator(FixedLocator(_TICKS))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}" if value else "0"))
    axes.set_ylim(-0.6, 0.015)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel(_LABELS[kind])
    axes.set_ylabel("alignment minus uncached")
    axes.grid(alpha=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the log")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "peers.png")
    options = parser.parse_args()
    log = read(options.out / "log.jsonl")
    found = {model: rows for model in MODELS if len(rows := rows_of(log, model)) > 1}
    if not found:
        parser.error(f"{options.out} has no rows yet")
    figure(found).savefig(options.picture, dpi=110)


if __name__ == "__main__":
    main()
