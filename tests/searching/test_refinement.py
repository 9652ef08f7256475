"""What costs a little less than the best schedules: where, how many, and that nothing is asked twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from contracts.made_run import SHAPE, made_calibration

from ecad.execution import Executor
from ecad.genetic import nondominated
from ecad.records import Candidate, Evaluation
from ecad.schedule import Schedule, from_genome, genome_length, to_genome
from ecad.searching import selection
from ecad.searching.history import make_candidate
from ecad.searching.refinement import REFINED, Variant, _gaps, refined, replaced
from ecad.searching.selection import select
from ecad.storage import RunFolder

GENES = genome_length(SHAPE)
WORTH = np.random.default_rng(1).random(GENES) ** 2
UNCACHED = Schedule.all_recompute(SHAPE).digest()
LIMITS = (0.3, 0.99)


def cost_of(schedule: Schedule) -> float:
    return float(0.1 + 0.9 * to_genome(schedule).mean())


def evaluated(candidate: Candidate, images: int) -> Evaluation:
    """What is lost is what the genes that are 0 are worth, in every image."""
    quality = 1.0 - float(WORTH[~to_genome(candidate.schedule)].sum() / WORTH.sum())
    return Evaluation(candidate.key, cost_of(candidate.schedule), quality, (quality,) * images, 1)


RUN: Any = SimpleNamespace(
    shape=SHAPE,
    calibration=made_calibration(),
    evaluator=SimpleNamespace(cost_of=cost_of),
    settings=SimpleNamespace(seeds_per_prompt=1, granularity="blocks"),
)


def searched() -> list[Candidate]:
    """The uncached schedule and sixty others, most of which lose little; the last one loses all."""
    rng = np.random.default_rng(0)
    shares = np.append(rng.uniform(0.75, 0.95, 59), 0.0)
    genomes = [np.ones(GENES, dtype=np.bool_), *(rng.random((60, GENES)) < shares[:, None])]
    found = [make_candidate(genome, SHAPE, 1, index) for index, genome in enumerate(genomes)]
    return list({candidate.key: candidate for candidate in found}.values())


CANDIDATES = searched()
SEARCHED = {candidate.key: evaluated(candidate, 2) for candidate in CANDIDATES}
FOUND = {candidate.key: evaluated(candidate, 4) for candidate in CANDIDATES if candidate.index % 3 == 0}


def made(candidates: list[Candidate] = CANDIDATES, found: dict[str, Evaluation] = FOUND) -> list[Candidate]:
    return [each.candidate for each in refined(RUN, candidates, SEARCHED, found, LIMITS)]


def test_variants_fill_the_gaps_of_the_front() -> None:
    costs, qualities = zip(*((each.cost, each.quality) for each in FOUND.values()), strict=True)
    front = [(costs[index], qualities[index]) for index in nondominated(costs, qualities)]
    gaps = [(low, high) for (low, _), (high, better) in pairwise(front) if better >= LIMITS[0]]
    variants = made()
    assert 3 <= len(variants) <= REFINED
    for variant in variants:
        cost = cost_of(variant.schedule)
        [(_, high)] = [gap for gap in gaps if gap[0] < cost < gap[1]]
        # It recomputes less than the dearer neighbour, which costs the gap's upper end.
        parents = [each for each in CANDIDATES if each.key in FOUND and cost_of(each.schedule) == high]
        assert any(
            not (to_genome(variant.schedule) & ~to_genome(parent.schedule)).any() for parent in parents
        )
    assert len({variant.key for variant in variants} | set(SEARCHED)) == len(variants) + len(SEARCHED)
    assert {variant.generation for variant in variants} == {2}
    assert [variant.index for variant in variants] == list(range(len(variants)))
    assert [from_genome(to_genome(each.schedule), SHAPE).digest() for each in variants] == [
        each.key for each in variants
    ]


def test_the_same_is_made_again() -> None:
    assert [each.key for each in made()] == [each.key for each in made()]


def test_variants_that_the_search_has_asked_for_are_not_made_again() -> None:
    first = made()[0]
    again = made([*CANDIDATES, replace(first, generation=1)])
    assert first.key not in {each.key for each in again}


def test_without_the_uncached_model_there_are_no_losses_and_no_variants() -> None:
    assert made(found={key: each for key, each in FOUND.items() if key != UNCACHED}) == []


def test_what_just_misses_a_round_speedup_comes_first() -> None:
    costs, losses = np.array([0.3, 0.45, 0.505, 0.66, 0.67, 1.0]), np.array([0.2, 0.1, 0.09, 0.09, 0.05, 0.0])
    objectives = np.stack([np.log(costs), losses], axis=1)
    gaps = _gaps(range(6), objectives, noticed=0.03)
    assert [gap[:2] for gap in gaps] == [(1, 2), (0, 1), (4, 5)]
    missed, *filling = [np.exp(targets) for _, _, targets in gaps]
    np.testing.assert_allclose(missed, [0.5])  # its losses are too near for more
    np.testing.assert_allclose(filling[0], 0.45 * (0.3 / 0.45) ** np.array([0.25, 0.5, 0.75]))
    assert len(filling[1]) == 3


def test_a_variant_with_a_round_speedup_stands_in_for_what_just_misses_it() -> None:
    def stays(quality: float, instead_of: str | None = "missed", useful: float = 0.5) -> bool:
        found = {
            key: Evaluation(key, 0.5, value, (value,), 1)
            for key, value in (("missed", 0.8), (CANDIDATES[0].key, quality))
        }
        return not replaced([Variant(CANDIDATES[0], instead_of, 0.01)], found, useful)

    assert not stays(0.81)
    assert not stays(0.795)
    assert stays(0.785)
    assert stays(0.795, useful=0.799)
    assert stays(0.8, instead_of=None)
    assert (
        replaced([Variant(CANDIDATES[0], "missed", 0.01)], {}, 0.5) == frozenset()
    )  # it could not be evaluated


def test_a_front_of_one_has_no_gaps() -> None:
    assert made(found={UNCACHED: FOUND[UNCACHED]}) == []


class Lossy:
    """An executor that knows what every schedule loses. Can stop after some evaluations."""

    workers = ()

    def __init__(self, stop_after: int | None = None, knows_variants: bool = True) -> None:
        self.images: list[int] = []  # of each evaluation
        self._stop_after = stop_after
        self._knows_variants = knows_variants

    @contextmanager
    def on(self, evaluator: Any) -> Iterator[Executor]:
        self._evaluator = evaluator
        yield self

    def run(self, candidates: Any) -> Iterator[tuple[Candidate, Evaluation]]:
        for candidate in candidates:
            if len(self.images) == self._stop_after:
                raise KeyboardInterrupt
            self.images.append(self._evaluator.images_per_evaluation)
            if self.images[-1] == 3 and not self._knows_variants:
                yield candidate, Evaluation.failed(candidate.key, "ValueError: no")
                continue
            yield candidate, evaluated(candidate, self._evaluator.images_per_evaluation)


def selected(path: Path, executor: Lossy) -> tuple[list[str], list[tuple[str, bytes]]]:
    """Keys of the last finalists, and the logs of the selection: two rounds of one image and two."""
    run = SimpleNamespace(
        **vars(RUN),
        selection_evaluators=(
            SimpleNamespace(images_per_evaluation=1),
            SimpleNamespace(images_per_evaluation=2),
        ),
        refinement_evaluator=SimpleNamespace(images_per_evaluation=3),
    )
    with RunFolder(path) as folder:
        few = [candidate for candidate in CANDIDATES if candidate.key in FOUND]
        for candidate in few:
            if candidate.key not in folder.log:
                folder.log.append(candidate, SEARCHED[candidate.key])
        totals: list[int] = []
        kept, evaluations = select(
            run,  # type: ignore[arg-type]
            few,
            frozenset(),
            folder,
            executor.on,
            lambda done, total, workers: totals.append(total),
        )
    assert min(totals) > 0  # displays divide by it
    assert {len(evaluations[candidate.key].scores) for candidate in kept} == {5}
    logs = [(file.name, file.read_bytes()) for file in sorted(path.glob("*.jsonl"))]
    return [candidate.key for candidate in kept], logs


def test_variants_join_the_finalists_and_a_stopped_selection_continues_to_the_same(tmp_path: Path) -> None:
    executor = Lossy()
    keys, logs = selected(tmp_path / "whole", executor)
    assert [name for name, _ in logs] == [
        "evaluations.jsonl",
        "refinement.jsonl",
        "selection-1.jsonl",
        "selection-2.jsonl",
    ]
    variants = executor.images.count(3)
    assert 1 <= variants <= REFINED
    assert set(keys) - set(SEARCHED)  # some of them are variants
    first = executor.images.count(1)
    for stop_after in sorted({first - 1, first, first + 1, first + variants, first + variants + 1}):
        path = tmp_path / str(stop_after)
        with pytest.raises(KeyboardInterrupt):
            selected(path, Lossy(stop_after))
        assert selected(path, Lossy()) == (keys, logs)


def test_a_selection_goes_on_if_no_variant_can_be_evaluated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    executor = Lossy(knows_variants=False)
    keys, logs = selected(tmp_path, executor)
    assert keys
    assert set(keys) <= set(SEARCHED)
    assert dict(logs)["refinement.jsonl"].count(b"ValueError: no") == executor.images.count(3) > 0
    assert "is left out of the selection: ValueError: no" in caplog.text
    again = Lossy()
    assert selected(tmp_path, again) == (keys, logs)
    assert again.images == []


def test_what_just_misses_a_round_speedup_makes_room() -> None:
    """Everything costs as much more as it takes for the dearest one but the uncached to be 1.99 times as fast."""
    few = sorted((each for each in CANDIDATES if each.key in FOUND), key=lambda each: cost_of(each.schedule))
    parent = few[-2]
    factor = 1 / 1.99 / cost_of(parent.schedule)

    def cheaper(evaluation: Evaluation) -> Evaluation:
        return replace(evaluation, cost=evaluation.cost * factor)

    run: Any = SimpleNamespace(
        **{**vars(RUN), "evaluator": SimpleNamespace(cost_of=lambda schedule: factor * cost_of(schedule))}
    )
    searched = {key: cheaper(each) for key, each in SEARCHED.items()}
    found = {key: cheaper(each) for key, each in FOUND.items()}
    # Nothing else has nearly that speedup.
    found = {key: each for key, each in found.items() if each.cost < 0.45 or key in (parent.key, UNCACHED)}
    first = refined(run, CANDIDATES, searched, found, LIMITS)[0]
    assert first.instead_of == parent.key
    assert 0.98 / 2 < factor * cost_of(first.candidate.schedule) <= 1 / 2
    assert 0.0 < first.tolerated < 0.05


def test_without_variants_nothing_is_evaluated_or_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "refined", lambda *given: [])
    executor = Lossy()
    keys, logs = selected(tmp_path, executor)
    assert set(keys) <= set(SEARCHED)
    assert [name for name, _ in logs] == ["evaluations.jsonl", "selection-1.jsonl", "selection-2.jsonl"]
    assert 3 not in executor.images
