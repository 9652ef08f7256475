"""A whole search with everything on: calibrated seeds, screened children, rounds of selection, variants of the best.

Populations of other tests are too small for the screening's model, and their selections for variants.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ecad.execution import ExecutionSettings
from ecad.genetic.surrogate import GaussianProcess
from ecad.searching import selection
from ecad.searching.run import search
from ecad.searching.settings import SearchSettings

POPULATION, GENERATIONS = 16, 3

# Whose last bits depend on the number of threads.
ONE_THREAD = ExecutionSettings(threads=1)


@pytest.fixture(scope="module")
def settings(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> SearchSettings:
    folder = tmp_path_factory.mktemp("prompts")
    colors = ("red", "green", "blue", "white")
    (folder / "search.txt").write_text("".join(f"a large {color} circle\n" for color in colors))
    (folder / "heldout.txt").write_text("a small blue square\n")
    return SearchSettings(
        model=str(tiny_folder),
        steps=10,
        generations=GENERATIONS,
        population=POPULATION,
        quality="rmse",  # grows little by little, also between images of noise
        prompts=str(folder / "search.txt"),
        prompts_limit=2,
        selection_limit=2,
        heldout_prompts=str(folder / "heldout.txt"),
        batch_size=4,
        device="cpu",
    )


def found(folder: Path) -> dict[str, bytes]:
    """All that a search decides, and what it decides by."""
    names = ["config.yaml", "calibration.json", "evaluations.jsonl", "refinement.jsonl", "history.json"]
    names += ["selection-1.jsonl", "selection-2.jsonl"]
    paths = [*(folder / name for name in names), *sorted((folder / "front").glob("*.yaml"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def whole(settings: SearchSettings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    fitted = []
    with pytest.MonkeyPatch.context() as patch:
        original = GaussianProcess.fit
        patch.setattr(
            GaussianProcess,
            "fit",
            lambda features, values: fitted.append(len(values)) or original(features, values),
        )
        folder = tmp_path_factory.mktemp("runs") / "whole"
        search(settings, folder, execution=ONE_THREAD)
    result = found(folder)
    # Else nothing below would be shown: the last children were screened, and variants were made.
    assert {(GENERATIONS - 1) * POPULATION, GENERATIONS * POPULATION} <= set(fitted)
    assert result["refinement.jsonl"].count(b"\n") > 1
    return result


@pytest.mark.slow
def test_a_search_that_is_stopped_everywhere_finds_the_same(
    settings: SearchSettings, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While screened children are evaluated, in the first round of the selection, and among the variants."""
    asked = POPULATION * GENERATIONS

    def stop(progress: Any) -> None:
        if progress.evaluations == asked - 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(settings, tmp_path / "run", stop, execution=ONE_THREAD)
    original = selection.evaluate_in_order

    def stopping_after(count: int) -> Any:
        left = iter(range(count))

        def evaluate(*args: Any) -> Iterator[Any]:
            for outcome in original(*args):
                yield outcome
                if next(left, None) is None:
                    raise KeyboardInterrupt

        return evaluate

    log = tmp_path / "run" / "refinement.jsonl"
    for count in (3, whole["selection-1.jsonl"].count(b"\n") - 3):
        assert not log.exists()
        monkeypatch.setattr(selection, "evaluate_in_order", stopping_after(count))
        with pytest.raises(KeyboardInterrupt):
            search(settings, tmp_path / "run", execution=ONE_THREAD)
    assert 0 < log.read_bytes().count(b"\n") < whole["refinement.jsonl"].count(b"\n")
    monkeypatch.undo()
    search(settings, tmp_path / "run", execution=ONE_THREAD)
    assert found(tmp_path / "run") == whole


@pytest.mark.ray
@pytest.mark.slow
def test_two_workers_find_the_same(settings: SearchSettings, whole: dict[str, bytes], tmp_path: Path) -> None:
    search(settings, tmp_path / "run", execution=ExecutionSettings(workers=2, threads=1))
    assert found(tmp_path / "run") == whole
