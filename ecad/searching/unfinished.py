"""What a search has found that is not finished: the front of its log, on the search's own prompts."""

from __future__ import annotations

from collections.abc import Sequence

from ecad.genetic.front import nondominated
from ecad.schedule import Schedule, genome_from_hex, genome_length, load_calibration
from ecad.searching.calibration import CALIBRATION_FILE
from ecad.searching.history import make_candidate
from ecad.storage import RunFolder
from ecad.storage.log import Logged


def front_so_far(folder: RunFolder) -> list[Logged]:
    """The front of all evaluations in the log, best quality first."""
    found = list(folder.logged())
    costs = [each.evaluation.cost for each in found]
    qualities = [each.evaluation.quality for each in found]
    return [found[index] for index in nondominated(costs, qualities)[::-1]]


def schedules_of(folder: RunFolder, logged: Sequence[Logged]) -> list[Schedule]:
    """The schedules that these evaluations are of; the run's calibration says for what shape."""
    if not logged:
        return []
    shape = load_calibration(folder.path / CALIBRATION_FILE).shape
    candidates = [
        make_candidate(genome_from_hex(each.genome, genome_length(shape)), shape, each.generation, each.index)
        for each in logged
    ]
    return [
        candidate.schedule.replace(name=f"generation-{each.generation}-{each.index}")
        for candidate, each in zip(candidates, logged, strict=True)
    ]
