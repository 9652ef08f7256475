"""What each ingredient of the search is worth, at equal cost: `python bench.py [--models ...] [--seeds N] -o FOLDER`.

Every arm searches the same bundled mini with the same number of evaluations, on the same captions. After each
generation the front as the search sees it is scored on held-out captions. Printed is, per arm, the held-out
hypervolume at the end, and the share of plain NSGA-II's transformer work after which an arm has what that has in the
end. Results are one JSON line per search in FOLDER/results.jsonl; run again, it continues.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from results_tables import table, table_of_losses

if TYPE_CHECKING:
    from ecad.genetic.granularity import Granularity
    from ecad.records import Candidate

POPULATION = 18
TOGETHER = 4  # candidates whose common first steps are computed once
IMAGES = 16  # per evaluation
HELDOUT = 32
CALIBRATION_IMAGES = 8
PLAIN = "plain NSGA-II"


@dataclass(frozen=True)
class Arm:
    """What a search has.

    `plain` is NSGA-II as the official code runs it: 4-point crossover at .9, a bit flip of 5 % per gene, a random
    start, genes for components only."""

    name: str
    plain: bool = False
    calibrated_seeds: bool = True
    heuristic_seeds: bool = True
    screening: bool = True
    shares_of_kinds: bool = True  # of the questions, for whole steps, components and blocks
    coarse_start: bool = True
    whole_output: bool = True
    granularity: Granularity = "blocks"


ARMS = (
    Arm(PLAIN, plain=True),
    Arm("ecad"),
    Arm("ecad without screening", screening=False),
    Arm("ecad without shares of the kinds", shares_of_kinds=False),
    Arm("ecad without calibrated seeds", calibrated_seeds=False),
    Arm("ecad from random genomes", calibrated_seeds=False, heuristic_seeds=False),
    Arm("ecad without a coarse start", coarse_start=False),
    Arm("ecad without the whole output as a gene", whole_output=False),
    Arm("ecad over whole steps", granularity="steps"),
    Arm("ecad over components", granularity="components"),
)
# What is measured by default: by the times of single searches an hour on two cores, with three seeds. An image of
# pixart-mini costs more than two of flux-mini.
BY_DEFAULT = {
    "flux-mini": (
        "ecad",
        "ecad without screening",
        "ecad without calibrated seeds",
        "ecad over whole steps",
    ),
    "pixart-mini": ("ecad", "ecad over whole steps", "ecad over components"),
}


class Bench:
    """One mini, ready to evaluate; in one process, on one thread."""

    def __init__(self, model: str) -> None:
        import torch

        torch.set_num_threads(1)
        from ecad.prompts import load_prompts
        from ecad.sampling.generation import HELDOUT_FIRST_SEED, ModelChoice
        from ecad.sampling.recording import calibrate
        from ecad.sampling.subject import prepare_subject
        from ecad.scoring import make_quality
        from ecad.searching.evaluator import ModelEvaluator

        self.subject = prepare_subject(ModelChoice(model, "cpu", "auto", None, False))
        self.shape = self.subject.shape
        scorer = make_quality("alignment", "cpu")
        searched = load_prompts("scenes-search", IMAGES)
        self.evaluator, self.heldout = (
            ModelEvaluator(
                self.subject.sampler,
                scorer,
                prompts,
                self.subject.workload,
                seeds_per_prompt=1,
                first_seed=first_seed,
                batch_size=IMAGES,
            )
            for prompts, first_seed in (
                (searched, 0),
                (load_prompts("scenes-heldout", HELDOUT), HELDOUT_FIRST_SEED),
            )
        )
        self.calibration = calibrate(self.subject, searched.prompts[:CALIBRATION_IMAGES], CALIBRATION_IMAGES)

    def search(self, arm: Arm, seed: int, generations: int) -> dict[str, Any]:
        """Work (in uncached images) and front after each generation, and those fronts on held-out captions."""
        from ecad.execution.local import LocalExecutor
        from ecad.genetic.front import nondominated
        from ecad.schedule import gene_layout
        from ecad.searching.history import History, evaluate_in_order, make_candidate, objectives
        from ecad.storage import EvaluationLog

        algorithm = self._algorithm(arm, seed)
        switch = np.unique(gene_layout(self.shape).switch)
        uses_calibration = arm.calibrated_seeds or arm.screening
        spent = CALIBRATION_IMAGES if uses_calibration and not arm.plain else 0.0
        history, works, fronts = History(), [], []
        with tempfile.TemporaryDirectory() as folder, EvaluationLog(Path(folder) / "log.jsonl") as log:
            executor = LocalExecutor(self.evaluator, together=1 if arm.plain else TOGETHER)
            for generation in range(1, generations + 1):
                genomes = algorithm.ask()
                decoded = genomes.copy()
                if arm.plain or not arm.whole_output:
                    decoded[:, switch] = True
                candidates = [
                    make_candidate(genome, self.shape, generation, index)
                    for index, genome in enumerate(decoded)
                ]
                before = len(log)
                for _ in evaluate_in_order(candidates, executor, log):
                    pass
                # Without what common first steps save: the same count for all.
                spent += IMAGES * sum(evaluation.cost for evaluation in list(log)[before:])
                evaluations = [log[candidate.key] for candidate in candidates]
                for candidate, evaluation in zip(candidates, evaluations, strict=True):
                    history.front.add(evaluation.cost, evaluation.quality)
                    history.candidates.append(candidate)
                limits = (-np.inf, np.inf) if arm.plain else history.limits
                values = [objectives(evaluation, limits) for evaluation in evaluations]
                if arm.plain:
                    values = [
                        (evaluation.cost, value[1])
                        for evaluation, value in zip(evaluations, values, strict=True)
                    ]
                algorithm.tell(genomes, np.array(values))
                known = [log[candidate.key] for candidate in history.candidates]
                members = nondominated([each.cost for each in known], [each.quality for each in known])
                works.append(spent)
                fronts.append([history.candidates[index] for index in members])
        volumes, points = self._heldout_volumes(fronts)
        return {"work": works, "volume": volumes, "front": points}

    def _heldout_volumes(
        self, fronts: list[list[Candidate]]
    ) -> tuple[list[float], list[tuple[float, float]]]:
        """Of each front the hypervolume on held-out captions; and the last one's (cost, quality)."""
        from ecad.execution.local import LocalExecutor
        from ecad.genetic import hypervolume
        from ecad.schedule import Schedule, heuristic, to_genome
        from ecad.searching.history import make_candidate

        ends = [
            make_candidate(to_genome(schedule), self.shape, 0, 0)
            for schedule in (Schedule.all_recompute(self.shape), heuristic("mask:0", self.shape))
        ]
        for front in fronts:  # the untouched model is there for everybody
            front.append(ends[0])
        distinct = {candidate.key: candidate for candidate in [*ends, *chain.from_iterable(fronts)]}
        executor = LocalExecutor(self.heldout, together=TOGETHER)
        known = {candidate.key: each for candidate, each in executor.run(distinct.values())}
        floor = known[ends[1].key].quality
        volumes = []
        for front in fronts:
            mine = [known[candidate.key] for candidate in front]
            volumes.append(
                hypervolume([each.cost for each in mine], [each.quality for each in mine], 1.0, floor)
            )
        return volumes, sorted((known[each.key].cost, known[each.key].quality) for each in fronts[-1])

    def _algorithm(self, arm: Arm, seed: int) -> Any:
        from ecad.genetic import GeneticSearch, initial_genomes
        from ecad.genetic.operators import Variation
        from ecad.genetic.screening import Screening
        from ecad.schedule import gene_layout, genome_length
        from ecad.searching.history import screening_of

        rng = np.random.default_rng([seed, 1])
        random = rng.random((POPULATION, genome_length(self.shape))) < 0.5
        if arm.plain:
            return PlainSearch(random, seed)
        layout = gene_layout(self.shape)
        initial = random
        if arm.heuristic_seeds:
            calibration = self.calibration if arm.calibrated_seeds else None
            initial = initial_genomes(self.shape, POPULATION, rng, arm.granularity, calibration)
        variation = Variation(layout, granularity=arm.granularity)
        if not arm.coarse_start:
            variation = replace(variation, coarse_populations=0)
        screening = (
            screening_of(self.shape, self.calibration, self.evaluator.cost_of) if arm.screening else None
        )
        if screening is not None and not arm.shares_of_kinds:
            screening = Screening(screening.describe)
        return GeneticSearch(initial, variation, seed=seed, screening=screening)


class PlainSearch:
    """pymoo's NSGA-II with its own operators, as in the official implementation."""

    def __init__(self, initial: np.ndarray, seed: int) -> None:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem
        from pymoo.core.termination import NoTermination
        from pymoo.operators.crossover.pntx import PointCrossover
        from pymoo.operators.mutation.bitflip import BitflipMutation

        self._problem = Problem(n_var=initial.shape[1], n_obj=2, xl=0, xu=1, vtype=bool)
        self._algorithm = NSGA2(
            pop_size=len(initial),
            sampling=initial,
            crossover=PointCrossover(prob=0.9, n_points=4),
            mutation=BitflipMutation(prob=0.05),
            eliminate_duplicates=True,
        )
        self._algorithm.setup(self._problem, termination=NoTermination(), seed=seed)

    def ask(self) -> np.ndarray:
        self._asked = self._algorithm.ask()
        genomes: np.ndarray = self._asked.get("X").astype(np.bool_)
        return genomes

    def tell(self, genomes: np.ndarray, objectives: np.ndarray) -> None:
        from pymoo.core.evaluator import Evaluator
        from pymoo.problems.static import StaticProblem

        Evaluator().eval(StaticProblem(self._problem, F=objectives), self._asked)
        self._algorithm.tell(infills=self._asked)


_bench: dict[str, Bench] = {}


def _run(task: tuple[str, int, int, int]) -> dict[str, Any]:
    """One search; the model is loaded once per process."""
    model, seed, number, generations = task
    if model not in _bench:
        _bench.clear()
        _bench[model] = Bench(model)
    arm = ARMS[number]
    return {
        "model": model,
        "arm": arm.name,
        "seed": seed,
        "generations": generations,
        **_bench[model].search(arm, seed, generations),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--models", default="flux-mini,pixart-mini")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--generations", type=int, default=6)
    parser.add_argument(
        "--arms", help="names, separated by commas, or all; by default what an hour suffices for"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    models, known = options.models.split(","), [arm.name for arm in ARMS]
    given = {model: BY_DEFAULT.get(model, known) for model in models}
    if options.arms is not None:
        given = dict.fromkeys(models, known if options.arms == "all" else options.arms.split(","))
    names = {model: {PLAIN, *arms} for model, arms in given.items()}
    unknown = set().union(*names.values()) - set(known)
    if unknown:
        parser.error(f"no arms {sorted(unknown)}; there are {known}")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "results.jsonl"
    results = list(_read(path))
    done = {(each["model"], each["seed"], each["arm"], each["generations"]) for each in results}
    tasks = [
        (model, seed, number, options.generations)
        for model in models
        for seed in range(options.seeds)
        for number, arm in enumerate(ARMS)
        if arm.name in names[model] and (model, seed, arm.name, options.generations) not in done
    ]
    os.environ["OMP_NUM_THREADS"] = "1"  # one process per core is faster than several threads
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool, path.open("a") as file:
        for result in pool.imap_unordered(_run, tasks):
            file.write(json.dumps(result) + "\n")
            file.flush()
            results.append(result)
            print(
                f"{result['model']}, seed {result['seed']}, {result['arm']}: {result['volume'][-1]:.4f}",
                flush=True,
            )
    for model in models:
        mine = [each for each in results if each["model"] == model]
        print(f"\n{model}\n{table(mine, known, PLAIN)}\n\n{table_of_losses(mine, known)}")


def _read(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


if __name__ == "__main__":
    main()
