"""The table of peers from the log: results.csv, and the part of docs/peers.md between its two marks."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from log import Log
from rows import Row, best_rows, least_loss, read, rows_of

ROOT = Path(__file__).resolve().parents[2]
OUT = Path(__file__).parent / "results"
BEGIN, END = "<!-- made by experiments/peers/table.py: begin -->", "<!-- end -->"
MODELS = ("flux-mini", "pixart-mini")
FRONT = "ecad front"  # the method whose rows are compared with all others
BUDGETS = (0.21, 0.26, 0.31, 0.36, 0.41, 0.51)
_COLUMNS = (
    *(
        "model",
        "method",
        "setting",
        "alignment",
        "difference",
        "low",
        "high",
        "ruined",
        "psnr_db",
        "compute",
        "time",
    ),
    *("time_lowest", "time_highest", "wall_time", "own_off_identical", "left_behind"),
)


def results_csv(log: Log) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for model in MODELS:
        for row in rows_of(log, model):
            numbers = (
                row.alignment,
                row.difference,
                row.low,
                row.high,
                row.ruined,
                row.psnr,
                row.compute,
                row.time,
            )
            written = [
                "" if number != number else f"{number:.4f}"
                for number in (*numbers, *row.time_range, row.wall)
            ]
            writer.writerow(
                [
                    row.model,
                    row.method,
                    row.setting,
                    *written,
                    row.own_off_identical,
                    " ".join(row.left_behind),
                ]
            )
    return text.getvalue()


def markdown(log: Log) -> str:
    return "\n".join(_lines(log))


def _lines(log: Log) -> Iterator[str]:
    for model in MODELS:
        rows = rows_of(log, model)
        if not rows:
            continue
        uncached = next(line for line in log.of_kind("uncached") if line["model"] == model)
        facts = uncached["environment"]
        yield f"## {model}"
        yield ""
        yield (
            f"{len(uncached['alignment'])} captions, {len(rows) - 1} settings; uncached alignment "
            f"{rows[0].alignment:.3f}. {facts['hardware']}, one thread, torch {facts['torch']}, diffusers "
            f"{facts['diffusers']}, cache-dit {facts['cache-dit']}, tgate {facts['tgate']}."
        )
        yield ""
        for kind in ("compute", "time") if len(rows) > 1 else ():
            yield (
                f"Least loss of alignment at no more than this share of the uncached {_KINDS[kind]}; bold is what "
                "is not worse than the best (95 %, paired):"
            )
            yield ""
            yield from _budgets(rows, kind)
            yield ""
            yield _better_than_front(rows, kind)
            yield ""
        if len(rows) > 1:
            yield from _all_rows(rows)
            yield ""
        yield from _unfit(log, model)
    yield "## What stays after a peer's own switch-off"
    yield ""
    yield from _left_behind(log)


_KINDS = {"compute": "model's FLOPs", "time": "call's time"}


def _budgets(rows: Sequence[Row], kind: str) -> Iterator[str]:
    methods = dict.fromkeys(row.method for row in sorted(rows[1:], key=lambda row: row.method.lower()))
    yield f"| method | {' | '.join(f'{budget:g}' for budget in BUDGETS)} |"
    yield f"|---|{'---:|' * len(BUDGETS)}"
    found = {(name, budget): least_loss(rows, name, kind, budget) for name in methods for budget in BUDGETS}
    for name in methods:
        cells = []
        for budget in BUDGETS:
            row = found[name, budget]
            text = "" if row is None else _signed(row.difference)
            rivals = [other for rival in methods if (other := found[rival, budget]) is not None]
            best = max(rivals, key=lambda other: other.difference, default=None)
            cells.append(f"**{text}**" if row is not None and not row.is_worse_than(best) else text)
        if any(cells):
            yield f"| {name} | {' | '.join(cells)} |"


def _better_than_front(rows: Sequence[Row], kind: str) -> str:
    """The rows to which a schedule of ecad's front loses."""
    front = [row for row in rows if row.method == FRONT]
    found = []
    for row in rows[1:]:
        beaten = [
            each.setting for each in front if row.cost(kind) <= each.cost(kind) and each.is_worse_than(row)
        ]
        if row.method != FRONT and beaten:
            found.append(f"{row.setting} ({', '.join(beaten)})")
    return (
        f"Rows that take at most as much {kind} as one of ecad's (in brackets) and are better (95 %, paired): "
        f"{'; '.join(found) or 'none'}."
    )


def _all_rows(rows: Sequence[Row]) -> Iterator[str]:
    yield "| method | setting | compute | time | alignment | minus uncached | ruined | PSNR, dB | best in |"
    yield "|---|---|---:|---:|---:|---|---:|---:|---|"
    best = {kind: best_rows(rows, kind) for kind in ("compute", "time")}
    for row in rows:
        marks = ", ".join(kind for kind in best if (row.method, row.setting) in best[kind])
        difference = f"{_signed(row.difference)} ({_signed(row.low)} to {_signed(row.high)})"
        yield (
            f"| {row.method} | {row.setting} | {row.compute:.3f} | {row.time:.2f} | {row.alignment:.3f} "
            f"| {difference if row.setting else ''} | {row.ruined:.0%} | {row.psnr:.1f} | {marks} |"
        ).replace("nan", "")


def _unfit(log: Log, model: str) -> Iterator[str]:
    found = [line for line in log.of_kind("unfit") if line["model"] == model]
    if found:
        yield "Not measured:"
        yield ""
    for line in found:
        name = f"{line['method']}, {line['setting']}" if line["setting"] else line["method"]
        yield f"- {name}: {line['reason']}"
    if found:
        yield ""


def _left_behind(log: Log) -> Iterator[str]:
    """Methods that leave something; what ecad does is seen to as well."""
    yield "| method | model | what stays | uncached images nevertheless the same, bit for bit |"
    yield "|---|---|---|---|"
    seen = set()
    for model in MODELS:
        for row in sorted(rows_of(log, model), key=lambda row: row.method.lower()):
            if row.left_behind and (model, row.method) not in seen:
                seen.add((model, row.method))
                names = ", ".join(f"`{name}`" for name in row.left_behind)
                yield f"| {row.method} | {model} | {names} | {'yes' if row.own_off_identical else '**no**'} |"


def _signed(number: float) -> str:
    return f"{number:+.3f}".replace("0.", ".", 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the log")
    parser.add_argument("--docs", type=Path, help="also renew the part of this page between its marks")
    options = parser.parse_args()
    log = read(options.out / "log.jsonl")
    (options.out / "results.csv").write_text(results_csv(log), encoding="utf-8")
    if options.docs is None:
        print(markdown(log))
        return
    page = options.docs.read_text(encoding="utf-8")
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        parser.error(f"{options.docs} lacks the marks {BEGIN} and {END}")
    options.docs.write_text(f"{before}{BEGIN}\n{markdown(log).strip()}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
