"""What a folder gives to plot: a search's report, an evaluation's results, or the front so far of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ecad.errors import RunError
from ecad.genetic.front import USEFUL_SHARE, FrontTracker, nondominated
from ecad.measuring.rows import Kind, Quality, Row
from ecad.report.results import MetricColumn, Results
from ecad.report.search_report import SearchReport
from ecad.storage.log import Logged


@dataclass(frozen=True)
class Plotted:
    """Rows to draw, and what is said about them.

    `label` names the folder among others. `cloud` holds (cost, quality) of all schedules that a search evaluated, on
    its own prompts and in its own `cost`; `hypervolume` is that after each generation. `unfinished` says in words how
    far a search is that has no report yet; its rows then are the front so far, on the search's own prompts.
    """

    label: str
    model: str
    steps: int
    about: str
    rows: Sequence[Row]
    metrics: Sequence[MetricColumn]
    cost: str = "macs"
    cloud: Sequence[tuple[float, float]] = ()
    hypervolume: Sequence[float] = field(default=(), repr=False)
    unfinished: str | None = None

    @property
    def uncached(self) -> Row | None:
        return next((row for row in self.rows if row.kind is Kind.UNCACHED), None)

    def metric(self, name: str) -> MetricColumn | None:
        return next((metric for metric in self.metrics if metric.name == name), None)


def of_report(label: str, report: SearchReport, cloud: Sequence[tuple[float, float]] = ()) -> Plotted:
    """A finished search."""
    heldout = report.heldout
    return Plotted(
        label=label,
        model=report.model,
        steps=report.steps,
        about=_about(f"{heldout['images']} held-out images", report.latency, report.environment),
        rows=report.rows,
        metrics=[MetricColumn(report.quality, higher_is_better=True, reference=None)],
        cost=str(report.search.get("cost", "macs")),
        cloud=cloud,
        hypervolume=report.search.get("hypervolume", ()),
    )


def of_results(label: str, results: Results) -> Plotted:
    """An evaluation."""
    about = results.about
    return Plotted(
        label=label,
        model=str(about["model"]),
        steps=int(about["steps"]),
        about=_about(f"{about['images_per_row']} images a row", about["latency"], about["environment"]),
        rows=results.rows,
        metrics=results.metrics,
    )


def so_far(
    label: str, config: Mapping[str, Any], status: Mapping[str, Any], entries: Sequence[Logged]
) -> Plotted:
    """A search without a report: the front of what its log holds. RunError where that is nothing yet.

    `config` is the content of its config.yaml, `status` that of its status.json.
    """
    settings = config["settings"]
    cost = str(settings.get("cost", "macs"))
    metric = MetricColumn(str(settings["quality"]), higher_is_better=True, reference=None)
    sound_entries = [entry for entry in entries if entry.evaluation.is_finite]
    sound = [entry.evaluation for entry in sound_entries]
    if not sound:
        raise RunError(f"the run {label} has not evaluated a schedule yet: plot it later")
    most_macs = max(item.macs for item in sound)  # the first schedule of a search recomputes everything
    rows = []
    tracker = FrontTracker()
    for item in sound:
        tracker.add(item.cost, item.quality)
    useful = tracker.quality_at(USEFUL_SHARE)  # what the finished run would leave out, too
    members = nondominated([item.cost for item in sound], [item.quality for item in sound])[::-1]
    members = [index for index in members if sound[index].quality >= useful]
    for number, index in enumerate(members, start=1):
        item = sound[index]
        rows.append(
            Row(
                name=f"{number:02d}-{1.0 / item.cost:.2f}x",
                kind=Kind.FRONT,
                steps=int(settings["steps"]),
                macs=item.macs,
                speedup_macs=most_macs / item.macs,
                latency_s=float("nan") if item.latency_s is None else item.latency_s,
                speedup_latency=1.0 / item.cost if cost == "latency" else float("nan"),
                speedup_latency_range=(float("nan"), float("nan")),
                metrics={metric.name: Quality(item.quality)},
                paper_s={_paper_name(cost): item.cost} if cost.startswith("paper") else {},
            )
        )
    best = max(sound, key=lambda item: item.cost)
    if best.cost == 1.0:
        uncached = Row(
            name="uncached",
            kind=Kind.UNCACHED,
            steps=int(settings["steps"]),
            macs=best.macs,
            speedup_macs=1.0,
            latency_s=float("nan") if best.latency_s is None else best.latency_s,
            speedup_latency=1.0,
            speedup_latency_range=(1.0, 1.0),
            metrics={metric.name: Quality(best.quality)},
            paper_s={_paper_name(cost): 1.0} if cost.startswith("paper") else {},
        )
        rows = [uncached, *(row for row in rows if row.macs != best.macs)]
    generations = settings.get("generations", "?")
    done = entries[-1].generation
    phase = status.get("phase")
    stage = (
        f"generation {done} of {generations}" if phase in (None, "search", "preparing") else f"in its {phase}"
    )
    images = sound_entries[0].images
    return Plotted(
        label=label,
        model=str(settings["model"]),
        steps=int(settings["steps"]),
        about=f"{images} of the search's own images a schedule, which flatter its front; no held-out images yet",
        rows=rows,
        metrics=[metric],
        cost=cost,
        cloud=[(item.cost, item.quality) for item in sound],
        hypervolume=hypervolumes_so_far(entries),
        unfinished=f"unfinished ({stage}, {len(entries)} schedules evaluated): the front so far",
    )


def hypervolumes_so_far(entries: Sequence[Logged]) -> list[float]:
    """After each generation in the log, as the search itself counts it."""
    tracker = FrontTracker()
    volumes: dict[int, float] = {}
    for entry in entries:
        if entry.evaluation.is_finite:
            tracker.add(entry.evaluation.cost, entry.evaluation.quality)
        volumes[entry.generation] = tracker.hypervolume
    return list(volumes.values())


def _paper_name(cost: str) -> str:
    """How rows call the GPU of `paper:NAME` or `paper:NAME:compiled`."""
    _, _, rest = cost.partition(":")
    name, _, how = rest.partition(":")
    return f"{name}, {how}" if how else name


def _about(images: str, latency: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    return (
        f"{images}, 95 % intervals; times in batches of {latency['batch_size']} on {environment['hardware']}"
    )
