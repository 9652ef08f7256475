"""What the tests of all classes cannot ask: how the awkward ones among them behave where it matters."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from conformance.tiny import STEPS, StandIn, Subject, equal, tiny_transformers

import ecad
from ecad.measuring.macs import component_macs, component_output_values, schedule_macs, stored_bytes
from ecad.sampling.counting import counted_workload
from ecad.sampling.recording import record
from ecad.schedule import Schedule


@cache
def subject_of(class_name: str) -> Subject:
    tiny = next(each for each in tiny_transformers() if each.class_name == class_name)
    if not tiny.is_there:
        pytest.skip(f"this diffusers has no {class_name}")
    return Subject(tiny)


def reusing(subject: Subject, block_list: str, component: str) -> Schedule:
    """All of one component is reused after step 0, everything else recomputed."""
    schedule = subject.heuristic("all")
    recompute = {name: flags.copy() for name, flags in schedule.recompute.items()}
    index = subject.family.block_list(block_list).component_names.index(component)
    recompute[block_list][1:, :, index] = False
    return schedule.replace(recompute=recompute)


class TestTwoCallsOfAComponent:
    """CogView4's `ff` works on the image, then on the text: 4 and 5 tokens of 16 numbers in each of 2 rows."""

    def test_each_call_has_an_output_of_its_own_and_all_are_one_execution(self) -> None:
        subject = subject_of("CogView4Transformer2DModel")
        schedule = reusing(subject, "transformer_blocks", "ff")
        with ecad.applied(subject.transformer, schedule) as handle, subject.executions() as count:
            subject.forward(0)
            assert (count[0], handle.recomputed, handle.stored_outputs) == (3 * 3, 3 * 2, 3 * 2)
            subject.forward(1)
            assert (count[0], handle.recomputed, handle.reused) == (3 * 3 + 3, 3 * 2 + 3, 3)
            subject.forward(2)
            subject.forward(3)
            assert handle.stored_outputs == 0

    def test_sizes_and_work_add_up(self) -> None:
        subject = subject_of("CogView4Transformer2DModel")
        workload = counted(subject)
        assert component_output_values(workload)["transformer_blocks", "ff"] == 2 * (4 + 5) * 16
        assert component_macs(workload)["transformer_blocks", "ff"] == 2 * (4 + 5) * 2 * 16 * 64
        held = stored_bytes(reusing(subject, "transformer_blocks", "ff"), workload, 4)
        assert held.tolist() == [4 * 3 * 2 * (4 + 5) * 16] * (STEPS - 1) + [0]

    def test_a_third_call_is_refused(self) -> None:
        subject = subject_of("CogView4Transformer2DModel")
        ff = subject.transformer.transformer_blocks[1].ff
        hook = subject.transformer.transformer_blocks[1].register_forward_hook(
            lambda module, args, output: ff(args[0]) and None
        )
        try:
            with (
                ecad.applied(subject.transformer, subject.heuristic("fora:2")),
                pytest.raises(
                    ecad.ScheduleError,
                    match=r"transformer_blocks\[1\].ff was called more than 2 times in one forward",
                ),
            ):
                subject.forward(0)
        finally:
            hook.remove()

    def test_calibration_takes_them_together(self) -> None:
        """As one output, like the two tensors of a joint attention."""
        subject = subject_of("CogView4Transformer2DModel")
        outputs: list[np.ndarray] = []
        ff = subject.transformer.transformer_blocks[1].ff
        handle = ff.register_forward_hook(
            lambda module, args, output: outputs.append(output.flatten(1).double().numpy())
        )
        calibration = record(subject.transformer, subject.family, subject.shape, subject.run)
        handle.remove()
        steps = [np.concatenate(outputs[2 * step : 2 * step + 2], axis=1) for step in range(STEPS)]
        expected = np.linalg.norm(steps[3] - steps[1], axis=1) / np.linalg.norm(steps[1], axis=1)
        # Fewer numbers than a sketch has places are all kept.
        assert calibration.components["transformer_blocks"][3, 1, 1, 1] == pytest.approx(
            expected.mean(), rel=1e-5
        )

    def test_a_snapshot_holds_both(self) -> None:
        subject = subject_of("CogView4Transformer2DModel")
        pipe, schedule = StandIn(subject.transformer), reusing(subject, "transformer_blocks", "ff")
        with ecad.applied(pipe, schedule) as handle:
            handle.keep_everything(True)
            pipe.begin()
            found = []
            for step in range(STEPS):
                if step == 2:
                    saved = handle.snapshot()
                    saved_index = pipe.scheduler._step_index
                found.append(subject.forward(step))
                pipe.advance()
            handle.restore(saved)
            pipe.scheduler._step_index = saved_index
            again = []
            for step in (2, 3):
                again.append(subject.forward(step))
                pipe.advance()
        assert equal(again, found[2:])


def counted(subject: Subject):
    """What one step costs, as torch counts it."""
    pipe = StandIn(subject.transformer)

    def one_step() -> None:
        pipe.begin()
        subject.forward(0)
        pipe.advance()

    return counted_workload(SimpleNamespace(**vars(pipe)), subject.family, one_step)


class TestBlocksThatDiffer:
    """SD3's last block: its attention does not project the text, which nobody reads, and there is no `ff_context`."""

    def test_numbers_are_those_of_each_block(self) -> None:
        subject = subject_of("SD3Transformer2DModel")
        workload = counted(subject)
        values = component_output_values(workload)
        image, text, width = 4, 5, 16
        assert values["transformer_blocks", "attn"] == 2 * (image + text) * width
        assert values["transformer_blocks", "ff"] == 2 * image * width
        assert values["transformer_blocks", "ff_context"] == 2 * text * width
        attention = component_macs(workload)["transformer_blocks", "attn"]
        assert isinstance(attention, tuple)
        assert attention[0] == attention[1] == attention[2] + 2 * text * width * width

    def test_a_schedule_counts_the_blocks_that_run(self) -> None:
        subject = subject_of("SD3Transformer2DModel")
        workload = counted(subject)
        schedule = reusing(subject, "transformer_blocks", "attn")
        only_last = {name: flags.copy() for name, flags in schedule.recompute.items()}
        only_last["transformer_blocks"][1:, 2, 0] = True
        more = schedule_macs(schedule.replace(recompute=only_last), workload) - schedule_macs(
            schedule, workload
        )
        attention = component_macs(workload)["transformer_blocks", "attn"]
        assert isinstance(attention, tuple)
        assert more == (STEPS - 1) * attention[2]
