"""What the tests of all classes cannot ask: how the awkward ones among them behave where it matters."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conformance.tiny import STEPS, StandIn, Subject, equal, tiny_transformers

import ecad
from ecad.measuring.macs import component_macs, component_output_values, schedule_macs, stored_bytes
from ecad.sampling.counting import counted_workload
from ecad.sampling.recording import record
from ecad.schedule import Schedule


@cache
def subject_of(class_name: str) -> Subject:
    tiny = next((each for each in tiny_transformers() if each.class_name == class_name), None)
    if tiny is None or not tiny.is_there:
        pytest.skip(f"no {class_name} here")
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


class TestBlocksByTheirPath:
    """Modules of the same names elsewhere in the model are nobody's components."""

    def test_token_refiners_are_left_alone(self) -> None:
        subject = subject_of("HunyuanVideoTransformer3DModel")
        refiner = subject.transformer.context_embedder.token_refiner.refiner_blocks[0]
        assert isinstance(refiner.attn, torch.nn.Module)
        ran: list[None] = []
        handle = refiner.attn.register_forward_hook(lambda *_: ran.append(None))
        with ecad.applied(subject.transformer, subject.heuristic("mask:0")):
            subject.run()
        handle.remove()
        assert len(ran) == STEPS
        assert refiner.attn not in [module for *_, module in subject.components()]

    def test_wrapped_blocks_and_experts(self) -> None:
        """HiDream's blocks are the attribute `block` of those in the list; a token goes to two of four experts."""
        subject = subject_of("HiDreamImageTransformer2DModel")
        names = [
            "double_stream_blocks[0].attn1",
            "double_stream_blocks[0].ff_i",
            "double_stream_blocks[0].ff_t",
        ]
        assert subject.names()[:3] == names
        experts = subject.transformer.double_stream_blocks[0].block.ff_i.experts
        tokens: list[int] = []
        handles = [
            each.register_forward_hook(lambda _, args, __: tokens.append(len(args[0]))) for each in experts
        ]
        with ecad.applied(subject.transformer, subject.heuristic("fora:2")):
            subject.run()
        for handle in handles:
            handle.remove()
        assert sum(tokens) == 2 * (2 * 4) * 2  # two of four steps, two rows of four tokens, two experts each

    def test_a_component_that_a_block_lacks(self) -> None:
        """EasyAnimate's `txt_ff` is None in later blocks, whose `ff` then runs twice."""
        tiny = next(each for each in tiny_transformers() if each.name == "one-txt_ff")
        subject = Subject(tiny)
        assert [name for name in subject.names() if "txt_ff" in name] == ["transformer_blocks[0].txt_ff"]
        with (
            ecad.applied(subject.transformer, subject.heuristic("mask:0")) as handle,
            subject.executions() as count,
        ):
            subject.forward(0)
            assert (handle.recomputed, count[0]) == (7, 9)


def test_positional_arguments_and_several_outputs() -> None:
    """Wan's blocks are called with positions, as are their components; SD3's return two tensors, as does `attn`."""
    for class_name, returned in (("WanTransformer3DModel", 1), ("SD3Transformer2DModel", 2)):
        subject = subject_of(class_name)
        block_list = subject.family.block_lists[0].name
        block = getattr(subject.transformer, block_list)[0]
        seen: list[tuple[int, int]] = []

        def note(_: Any, args: Any, output: Any, seen: list[tuple[int, int]] = seen) -> None:
            seen.append((len(args), len(output) if isinstance(output, tuple) else 1))

        handle = block.register_forward_hook(note)
        with ecad.applied(subject.transformer, subject.heuristic("fora:2")):
            outputs = subject.run()
        handle.remove()
        assert seen == [(4 if returned == 1 else 0, returned)] * STEPS
        assert equal(outputs, subject.reference(subject.heuristic("fora:2")))


class TestTheLatentsOfAListOfPictures:
    """Z-Image takes lists and returns one."""

    def test_another_number_or_size_in_the_middle_recomputes(self) -> None:
        subject = subject_of("ZImageTransformer2DModel")
        pipe, schedule = StandIn(subject.transformer), subject.heuristic("mask:0")
        parts = len(subject.names())
        for rows, size in ((1, 1), (2, 2), (3, 1)):
            with ecad.applied(pipe, schedule) as handle:
                pipe.begin()
                counts = []
                for step in range(STEPS):
                    given = (2, 1) if step < 2 else (rows, size)
                    output = subject.forward(step, *given)
                    assert len(output) == given[0]
                    counts.append(handle.recomputed)
                    pipe.advance()
            assert counts == [parts, parts, 2 * parts, 2 * parts]
            assert handle.stored_outputs == 0
