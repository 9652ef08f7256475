"""Time on paper of a comparison's rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ecad.errors import EcadError
from ecad.families.family import CountedWorkload, Workload
from ecad.measuring.measurements import Contender
from ecad.measuring.paper.devices import DEVICES, PaperCost
from ecad.measuring.paper.table import PaperTable
from ecad.sampling.without_weights import build

_LOGGER = logging.getLogger(__name__)


def seconds_on_paper(
    contenders: Sequence[Contender],
    workload: Workload | CountedWorkload,
    images: int,
    also: PaperCost | None = None,
) -> list[dict[str, float]]:
    """For each row seconds per image of the transformer alone, in batches of `images`, on each known GPU by its name.

    A GPU under `torch.compile` is named like "H100, compiled"; there is only the one that is asked for. Nothing is
    known of other pipelines, nor of families without formulas.
    """
    if not isinstance(workload, Workload):
        return [{} for _ in contenders]
    costs = [PaperCost(device, False) for device in DEVICES.values()]
    if also is not None and also not in costs:
        costs.append(also)
    tables: dict[str, PaperTable] = {}
    try:
        transformer, inputs = build(workload, images)
        for cost in costs:
            name = cost.device.name + (", compiled" if cost.is_compiled else "")
            tables[name] = PaperTable(
                workload.family, transformer, inputs, images, cost.device, cost.is_compiled
            )
        return [
            {name: _seconds(table, row) for name, table in tables.items() if row.pipeline is None}
            for row in contenders
        ]
    except EcadError as error:  # a family that cannot be built without weights: the other columns say enough
        _LOGGER.info("no time on paper: %s", error)
        return [{} for _ in contenders]


def _seconds(table: PaperTable, row: Contender) -> float:
    return table.uncached_s(row.steps) if row.schedule is None else table.predict(row.schedule)
