"""Recording a calibration: as the exact distances of all outputs, but for the error of the projection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save_tiny_model

from ecad.caching.modules import component_modules
from ecad.errors import ModelError
from ecad.sampling.base import jobs_for
from ecad.sampling.generation import ModelChoice, Overrides
from ecad.sampling.recording import SKETCH_SIZE, Sketch, calibrate, record
from ecad.sampling.subject import Subject, prepare_subject

PROMPTS = ["a large red circle", "a green cross", "a small blue square"]
STEPS = 5


@pytest.fixture(scope="module", params=["pixart", "flux", "flux, true guidance"])
def subject(request: pytest.FixtureRequest, tiny_folder: Path, tmp_path_factory: Any) -> Subject:
    folder, size, scale = tiny_folder, 32, None
    if request.param != "pixart":
        folder, size = tmp_path_factory.mktemp("recording") / "flux", 16
        save_tiny_model("flux-dev", folder)
        scale = 3.0 if "guidance" in request.param else None
    choice = ModelChoice(str(folder), "cpu", embedding_cache=False)
    return prepare_subject(choice, Overrides(STEPS, 4.0, scale, size, size))


def flat(output: Any) -> torch.Tensor:
    parts = output if isinstance(output, tuple) else (output,)
    return torch.cat([part.flatten(1) for part in parts], dim=1).double()


def test_it_is_the_distance_of_the_outputs(subject: Subject) -> None:
    transformer, family, sampler = subject.model.pipe.transformer, subject.model.family, subject.sampler
    conditioning = sampler.encode(PROMPTS, 3)
    seen: dict[Any, list[torch.Tensor]] = {}
    hooks = []
    for key, module in {**component_modules(transformer, family), None: transformer}.items():

        def note(_module: Any, _args: Any, output: Any, _key: Any = key) -> None:
            seen.setdefault(_key, []).append(flat(output))

        hooks.append(module.register_forward_hook(note))
    sampler.sample(conditioning, jobs_for(3, 1, 0))
    for hook in hooks:
        hook.remove()

    def exact(outputs: list[torch.Tensor]) -> np.ndarray:
        passes = len(outputs) // STEPS
        steps = [torch.cat(outputs[number * passes : (number + 1) * passes]) for number in range(STEPS)]
        table = [[((one - two).norm(dim=1) / two.norm(dim=1)).mean() for two in steps] for one in steps]
        return np.array(table, dtype=np.float64)

    calibration = calibrate(subject, PROMPTS, batch_size=3)
    assert not any(module._forward_hooks for module in transformer.modules())
    assert calibration.shape == subject.shape
    assert calibration.source["images"] == 3
    close = {"rtol": 0.1, "atol": 1e-6}  # the projection's error, several standard deviations of it
    assert np.allclose(calibration.output, exact(seen[None]), **close)
    for (block_list, block, component), outputs in ((k, v) for k, v in seen.items() if k is not None):
        found = calibration.components[block_list][:, :, block, component]
        assert np.allclose(found, exact(outputs), **close)
        assert (np.diag(found) == 0).all()
    assert calibration.output[0, -1] > 0.01


def test_batches_are_averaged(subject: Subject) -> None:
    together, apart = calibrate(subject, PROMPTS, batch_size=3), calibrate(subject, PROMPTS, batch_size=2)
    assert np.allclose(together.output, apart.output, rtol=1e-3, atol=1e-6)


def test_the_same_again(subject: Subject) -> None:
    one, two = (calibrate(subject, PROMPTS, batch_size=3) for _ in range(2))
    assert np.array_equal(one.output, two.output)
    for name, values in one.components.items():
        assert np.array_equal(values, two.components[name])


def test_steps_that_differ_in_passes_are_refused(subject: Subject) -> None:
    transformer, family = subject.model.pipe.transformer, subject.model.family
    with pytest.raises(ModelError, match="ran 0 times in 5 steps, not equally often"):
        record(transformer, family, subject.shape, lambda: None)


class TestSketch:
    def test_distances_are_kept(self) -> None:
        """The stated error: 2.2 % of a distance, for one row."""
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(200, 30_000, generator=generator)
        sketch = Sketch()
        ratios = sketch(rows).norm(dim=1) / rows.norm(dim=1)
        assert abs(float(ratios.mean()) - 1.0) < 0.01
        assert 0.015 < float(ratios.std()) < 0.03
        # It is linear, so distances are those of the sketches.
        assert torch.allclose(sketch(rows[:1] - rows[1:2]), sketch(rows[:1]) - sketch(rows[1:2]), atol=1e-3)

    def test_loud_channels_do_not_meet(self) -> None:
        """Outputs of transformers have a few channels that are far larger than the others, in all tokens."""
        outputs = torch.randn(100, 64, 512, generator=torch.Generator().manual_seed(0))
        outputs[:, :, 7] *= 50
        ratios = Sketch()(outputs).norm(dim=1) / outputs.flatten(1).norm(dim=1)
        assert float(ratios.std()) < 0.25
        assert abs(float(ratios.mean()) - 1.0) < 0.05

    def test_shapes(self) -> None:
        sketch = Sketch()
        assert sketch(torch.ones(2, 3)).shape == (2, SKETCH_SIZE)
        image, text = torch.ones(2, 4, 8), torch.ones(2, 5, 8)
        assert torch.equal(sketch((image, text)), sketch(torch.cat([image, text], dim=1)))
        assert torch.equal(sketch({"sample": image}), sketch(image))
        assert sketch(torch.ones(1, 5000, dtype=torch.float16)).dtype == torch.float32


class TestOutputsThatCannotBe:
    def outputs(self, subject: Subject, change: Any) -> Any:
        """A calibration while one component's output is changed."""
        transformer, family = subject.model.pipe.transformer, subject.model.family
        module = next(iter(component_modules(transformer, family).values()))
        hook = module.register_forward_hook(change)
        try:
            return calibrate(subject, PROMPTS, batch_size=3)
        finally:
            hook.remove()

    def test_not_finite(self, subject: Subject) -> None:
        def ruin(_module: Any, _args: Any, output: Any) -> Any:
            first = output[0] if isinstance(output, tuple) else output
            ruined = first * float("nan")
            return (ruined, *output[1:]) if isinstance(output, tuple) else ruined

        with pytest.raises(ModelError, match="some outputs are not finite .*float32: try another --dtype"):
            self.outputs(subject, ruin)

    def test_zero_at_one_step(self, subject: Subject) -> None:
        """It counts as far away, but not for more than everything else."""
        calls: list[None] = []

        def zero_first(_module: Any, _args: Any, output: Any) -> Any:
            calls.append(None)
            if len(calls) > 1:
                return output
            return tuple(0 * part for part in output) if isinstance(output, tuple) else 0 * output

        calibration = self.outputs(subject, zero_first)
        assert max(values.max() for values in calibration.components.values()) <= 1000.0

    def test_a_component_that_is_not_called(self, subject: Subject) -> None:
        transformer, family = subject.model.pipe.transformer, subject.model.family
        (block_list, block, component), module = next(iter(component_modules(transformer, family).items()))
        with pytest.raises(
            ModelError, match=rf"component {component} of {block_list}\[{block}\] ran 0 times"
        ):
            record(_OnlyWhole(transformer), family, subject.shape, lambda: None)
        assert not module._forward_hooks


class _OnlyWhole(torch.nn.Module):
    """Has the blocks of a transformer and, when a hook is put on it, calls that once a step without running them."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        for name, child in transformer.named_children():
            self.add_module(name, child)

    def register_forward_hook(self, hook: Any, **_: Any) -> Any:  # type: ignore[override]
        for _step in range(STEPS):
            hook(self, (), torch.ones(1, 3))
        return super().register_forward_hook(hook)
