import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from experiments.tpu_compile import hlo

PROGRAMS = ("decode", "train", "star_step")
ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = """HloModule toy

%fused (p0: f32[8,64], p1: s32[]) -> f32[1,64] {
  %p0 = f32[8,64]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %slice = f32[1,64]{1,0} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={1,64}
}

%body (b: (s32[], f32[8,64], f32[64,32])) -> (s32[], f32[8,64], f32[64,32]) {
  %b = (s32[], f32[8,64]{1,0}, f32[64,32]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%b), index=0
  %x = f32[8,64]{1,0} get-tuple-element(%b), index=1
  %w = f32[64,32]{1,0} get-tuple-element(%b), index=2
  %row = f32[1,64]{1,0} fusion(%x, %i), kind=kLoop, calls=%fused
  %kernel = f32[64,32]{1,0:S(1)} custom-call(%w), custom_call_target="k", backend_config={
}}, metadata={}
  %dot = f32[1,32]{1,0} dot(%row, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %sum = f32[1,32]{1,0:S(1)} all-reduce(%dot), replica_groups=[2,4]<=[8], to_apply=%add
  ROOT %next = (s32[], f32[8,64]{1,0}, f32[64,32]{1,0}) tuple(%i, %x, %w)
}

%until (c: (s32[], f32[8,64], f32[64,32])) -> pred[] {
  %c = (s32[], f32[8,64]{1,0}, f32[64,32]{1,0}) parameter(0)
  %at = s32[] get-tuple-element(%c), index=0
  %most = s32[] constant(5)
  ROOT %less = pred[] compare(%at, %most), direction=LT
}

ENTRY %main (a: (s32[], f32[8,64], f32[64,32])) -> (s32[], f32[8,64], f32[64,32]) {
  %a = (s32[], f32[8,64]{1,0}, f32[64,32]{1,0}) parameter(0)
  ROOT %loop = (s32[], f32[8,64]{1,0}, f32[64,32]{1,0}) while(%a), condition=%until, body=%body
}
"""


class TestHlo:
    def test_a_loops_body_is_counted_as_often_as_it_runs(self):
        entry, body = hlo.regions(PROGRAM)
        assert (entry.trips, entry.flops, body.trips) == (1, 0, 5)
        assert body.flops == 2 * 64 * 32

    def test_of_a_condition_the_dearest_branch_is_counted(self):
        loop = "while(%a), condition=%until, body=%body"
        chosen = "conditional(%flag, %a, %a), true_computation=%other, false_computation=%body"
        program = PROGRAM.replace(loop, chosen).replace(
            "ENTRY", "%other (o: f32[2]) -> f32[2] {\n  ROOT %o = f32[2] parameter(0)\n}\n\nENTRY"
        )
        assert sum(region.trips * region.flops for region in hlo.regions(program)) == 2 * 64 * 32

    def test_only_what_moves_through_main_memory_is_counted(self):
        body = hlo.regions(PROGRAM)[1]
        row, weights, out, index = 64 * 4, 64 * 32 * 4, 32 * 4, 4
        sliced, kernel = 2 * row + index, weights
        assert body.hbm_bytes == sliced + kernel + (row + weights + out) + out

    @pytest.mark.parametrize(
        "line",
        [
            "((f32[64,32]{1,0}), f32[8,32]{1,0:S(1)}, u32[]{:S(2)}) slice-start(%w)",
            "(f32[8,32]{1,0:S(1)}, f32[8,32]{1,0}, u32[]{:S(2)}) copy-start(%w)",
        ],
    )
    def test_a_prefetch_reads_what_it_brings(self, line: str):
        program = PROGRAM.replace("  %row =", f"  %early = {line}\n  %row =")
        before, after = (hlo.regions(text)[1].hbm_bytes for text in (PROGRAM, program))
        assert after - before == 8 * 32 * 4

    def test_a_sum_over_four_devices_is_sent_one_and_a_half_times(self):
        body = hlo.regions(PROGRAM)[1]
        assert body.collective_bytes == {"all-reduce": 128.0}
        assert body.wire_bytes == 128 * 2 * 3 / 4

    @pytest.mark.parametrize("begun", ["", "-start"])
    def test_a_collective_that_runs_beside_products_is_counted_once(self, begun: str):
        gather = f"all-gather{begun}(%p), channel_id=7, replica_groups=[2,4]<=[8], dimensions={{0}}"
        shape = "(f32[2,64], f32[8,64])" if begun else "f32[8,64]"
        steps = "".join(
            f"%step.{n} (p: f32[2,64]) -> f32[8,64] {{\n"
            f"  %p = f32[2,64] parameter(0)\n  ROOT %all = {shape} {gather}\n}}\n\n"
            for n in range(3)
        )
        calls = "".join(
            f"  %f.{n} = f32[8,64]{{1,0:S(1)}} fusion(%part), kind=kCustom, calls=%step.{n}\n"
            for n in range(3)
        )
        program = PROGRAM.replace("%body (b", f"{steps}%body (b")
        part = "  %part = f32[2,64]{1,0:S(1)} custom-call(%x)\n"
        body = hlo.regions(program.replace("  %row =", f"{part}{calls}  %row ="))[1]
        assert body.collective_bytes == {"all-reduce": 128.0, "all-gather": 8 * 64 * 4}
        assert body.wire_bytes == 128 * 2 * 3 / 4 + 8 * 64 * 4 * 3 / 4

    def test_a_sum_of_which_a_slice_is_kept_is_sent_once(self):
        fused = (
            "%all-reduce-scatter.3 (p: f32[1,32]) -> f32[1,8] {\n"
            "  %p = f32[1,32] parameter(0)\n"
            "  %all = f32[1,32] all-reduce(%p), channel_id=3, replica_groups=[2,4]<=[8]\n"
            "  ROOT %mine = f32[1,8] dynamic-slice(%all, %p), dynamic_slice_sizes={1,8}\n}\n\n"
        )
        alone = "f32[1,32]{1,0:S(1)} all-reduce(%dot), replica_groups=[2,4]<=[8], to_apply=%add"
        call = "f32[1,8]{1,0:S(1)} fusion(%dot), kind=kCustom, calls=%all-reduce-scatter.3"
        program = PROGRAM.replace("%body (b", f"{fused}%body (b").replace(alone, call)
        body = hlo.regions(program)[1]
        assert body.collective_bytes == {"reduce-scatter": 128.0}
        assert body.wire_bytes == 128 * 3 / 4

    def test_a_sum_that_is_begun_and_ended_counts_as_one(self):
        body = hlo.regions(PROGRAM.replace("all-reduce(", "all-reduce-start("))[1]
        assert body.wire_bytes == 128 * 2 * 3 / 4

    def test_a_sum_on_another_core_counts_as_one(self):
        alone = "f32[1,32]{1,0:S(1)} all-reduce(%dot), replica_groups=[2,4]<=[8], to_apply=%add"
        called = (
            "%summed (p: f32[1,32]) -> f32[1,32] {\n  %p = f32[1,32] parameter(0)\n"
            "  ROOT %all = f32[1,32] all-reduce(%p), channel_id=3, replica_groups=[2,4]<=[8]\n"
            '}, execution_thread="sparsecore"\n\n'
        )
        begun = (
            '((), (), (s32[1]{0:S(2)})) call-start(), async_execution_thread="sparsecore", '
            "to_apply=%summed\n  %going = ((f32[1,32]), f32[1,32]) call-update(%sum, %dot)\n"
            "  %ended = f32[1,32] call-done(%going)"
        )
        program = PROGRAM.replace("%body (b", f"{called}%body (b").replace(alone, begun)
        before, after = hlo.regions(PROGRAM)[1], hlo.regions(program)[1]
        assert after.collective_bytes == {"all-reduce": 128.0}
        assert after.wire_bytes == before.wire_bytes
        assert after.hbm_bytes - before.hbm_bytes == 32 * 4  # what comes out is in main memory

    def test_a_slice_of_what_is_turned_on_its_way_is_read_alone(self):
        turn = (
            "%turn (t: f32[8,64]) -> f32[8,64] {\n  %t = f32[8,64]{1,0} parameter(0)\n"
            "  ROOT %c = f32[8,64]{0,1} copy(%t)\n}\n\n"
        )
        turned = (
            "  %turned = f32[8,64]{0,1} fusion(%p0), kind=kLoop, "
            "output_to_operand_aliasing={{}: (0, {})}, calls=%turn\n  %zero"
        )
        program = PROGRAM.replace("%fused (", f"{turn}%fused (").replace("  %zero", turned)
        program = program.replace("dynamic-slice(%p0", "dynamic-slice(%turned")
        assert hlo.regions(program)[1].hbm_bytes == hlo.regions(PROGRAM)[1].hbm_bytes

    def test_a_loop_that_ends_by_data_must_be_told(self):
        program = PROGRAM.replace("direction=LT", "direction=NE")
        assert hlo.regions(program, [7])[1].trips == 7
        with pytest.raises(ValueError, match="nobody says when"):
            hlo.regions(program)
        with pytest.raises(ValueError, match="2 loops were to end by data, 1 are not there"):
            hlo.regions(program, [7, 8])

    @pytest.mark.parametrize(
        ("rest", "devices"),
        [
            ("replica_groups={{0,1,2,3},{4,5,6,7}}", 4),
            ("replica_groups=[4,2]<=[8]", 2),
            ("replica_groups=mesh['a'=2,'b'=4] {'b'}", 4),
            ("replica_groups=mesh['a'=2,'b'=4] {'a','b'}", 8),
        ],
    )
    def test_groups_of_devices(self, rest: str, devices: int):
        assert hlo.group(f"{rest}, use_global_device_ids=true") == devices

    @pytest.mark.parametrize(
        ("line", "flops"),
        [
            ("f32[5,7] convolution(%x, %y), window={}, dim_labels=bf_io->bf", 2 * 5 * 7 * 3),
            # a batch of two products, as the compiler writes it: every second place is a hole
            (
                "f32[2,5,7] convolution(%u, %v), window={size=2 stride=1 pad=0_0 lhs_dilate=2 "
                "rhs_reversal=1}, dim_labels=0bf_0io->0bf",
                2 * 2 * 5 * 7 * 3,
            ),
        ],
    )
    def test_products_are_convolutions_too(self, line: str, flops: int):
        program = "\n".join(
            [
                "ENTRY %main () -> f32[] {",
                "  %x = f32[5,3] parameter(0)",
                "  %y = f32[3,7] parameter(1)",
                "  %u = f32[2,5,3] parameter(2)",
                "  %v = f32[2,3,7] parameter(3)",
                f"  ROOT %out = {line}",
                "}",
            ]
        )
        assert hlo.regions(program)[0].flops == flops

    def test_copies_in_a_loop_are_found(self):
        copy = "  %copy = f32[8,64]{1,0} copy(%x)\n"
        within = PROGRAM.replace("  %row =", f"{copy}  %row =")
        outside = PROGRAM.replace("  ROOT %loop", f"{copy}  ROOT %loop")
        assert [hlo.copied(text) for text in (PROGRAM, within, outside)] == [[], [[8, 64]], []]


def compiled(program: str, folder: pathlib.Path, *more: str) -> dict[str, Any]:
    """A cell of the tiny model, by the command and in a process of its own."""
    target = folder / f"{program}.json"
    command = [sys.executable, "-m", "experiments.tpu_compile", "--topology=v5e:2x4"]
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [*command, "--model=tiny", f"--program={program}", f"--json={target}", *more],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(target.read_text())


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> dict[str, dict[str, Any]]:
    pytest.importorskip("libtpu", reason="needs the compiler for TPUs")
    folder = tmp_path_factory.mktemp("cells")
    return {program: compiled(program, folder) for program in PROGRAMS}


@pytest.mark.parametrize("program", PROGRAMS)
class TestTiny:
    def test_compiles_and_fits(self, cells, program: str):
        cell = cells[program]
        assert cell["devices"] == 8 and cell["fits"]
        parts = cell["argument_bytes"] + cell["temporary_bytes"]
        assert parts <= cell["bytes_per_device"] < cell["hbm_per_device"] == 16 * 2**30
        assert cell["tokens_per_second"] > 0 < cell["seconds"]

    def test_counts_what_the_compiler_counts(self, cells, program: str):
        once = cells[program]["once"]
        assert once["flops"] == pytest.approx(once["flops_of_compiler"], rel=0.1)
        assert cells[program]["flops"] > 1.5 * once["flops"]

    def test_moves_what_tensor_parallelism_sums(self, cells, program: str):
        assert cells[program]["collective_bytes"]["all-reduce"] > 0


def test_the_halves_of_a_chip_are_devices_and_another_core_of_it_sums(tmp_path):
    pytest.importorskip("libtpu", reason="needs the compiler for TPUs")
    found = compiled("decode", tmp_path, "--topology=tpu7x:2x2x1", "--tensor=4", "--budget=80")
    assert (found["devices"], found["device_kind"]) == (8, "TPU7x")
    assert found["hbm_per_device"] == 96 * 2**30 and found["fits"]
    assert found["collective_bytes"]["all-reduce"] > 0


def test_tensor_parallel_decoding_gathers_no_weight_and_copies_no_cache(tmp_path):
    pytest.importorskip("libtpu", reason="needs the compiler for TPUs")
    found = {}
    for tensor in (1, 4):
        found[tensor] = compiled("decode", tmp_path, "--fsdp=1", f"--tensor={tensor}")
    loops, work = found[4]["loops"], found[4]["work"]
    layers = 2
    # The blocks of the ring, and in each step the layers; the prompt gave the first token.
    steps = [64, work["budget"] - 1 - 64]
    assert [loop["trips"] for loop in loops] == [
        layers, *(n for trips in steps for n in (trips, layers * trips))
    ]  # fmt: skip
    smallest = 256 * 64 * 2  # bytes of what one head's keys are made with
    for loop in loops:
        assert loop["collective_bytes"].get("all-gather", 0) < smallest
    copied = [shape for one in found.values() for shape in one["copied_in_loops"]]
    assert not [shape for shape in copied if len(shape) == 5 and shape[0] == layers]  # the cache
    # a quarter of the weights on each device, but for norms and biases
    assert found[4]["weight_bytes"] == pytest.approx(found[1]["weight_bytes"] / 4, rel=0.02)
    prompts = found[1]["argument_bytes"] - found[1]["weight_bytes"]
    assert found[4]["argument_bytes"] - found[4]["weight_bytes"] < prompts


def test_a_run_s_steps_gather_no_weights_that_are_split_by_width(tmp_path):
    pytest.importorskip("libtpu", reason="needs the compiler for TPUs")
    found = compiled("advance", tmp_path, "--fsdp=2", "--tensor=4")
    steps, blocks = found["loops"]
    assert (steps["trips"], blocks["trips"]) == (64, 64 * 2)
    smallest = 256 * 64 * 2  # bytes of what one head's keys are made with
    for loop in (steps, blocks):
        assert loop["collective_bytes"].get("all-gather", 0) < smallest
    assert not [shape for shape in found["copied_in_loops"] if len(shape) == 5]  # the cache


def test_work_that_cannot_be_read_is_that_of_an_equal_mesh_at_its_own_rates():
    from experiments.tpu_compile import cells

    folder = ROOT / "experiments" / "tpu_compile" / "cells"
    v5e = json.loads((folder / "gpt-j-6b_v5e-2x4_decode.json").read_text())
    unread = {k: v5e[k] for k in ("model", "program", "work", "devices", "fits", "device_kind")}
    again = cells.borrowed(unread, v5e)
    for name in ("seconds", "bound", "tokens_per_second"):
        assert again[name] == pytest.approx(v5e[name])
    newer = cells.borrowed(unread | {"device_kind": "TPU v6 lite"}, v5e)
    assert 1.5 < v5e["seconds"] / newer["seconds"] < 2.1  # twice the bandwidth of memory and links
    assert newer["counted_in"] == "v5e:2x4"
    with pytest.raises(ValueError, match="devices is 4 here and 8 there"):
        cells.borrowed(unread | {"devices": 4}, v5e)


def test_work_is_compared_with_the_least_there_is():
    from experiments.tpu_compile import least

    folder = ROOT / "experiments" / "tpu_compile" / "cells"
    decode, train, star = (
        json.loads((folder / f"gpt-j-6b_v5e-2x4_{program}.json").read_text())
        for program in PROGRAMS
    )
    # On each of 8 devices an eighth of GPT-J's 28 x 4096 keys and values, in bfloat16, for 1,024
    # tokens of the few-shot prompt and, of 64 rows, 256 and half of 256.
    token = 2 * 2 * 28 * 4096 / 8
    read = decode["weight_bytes"] + token * (1024 + 64 * (256 + 128))
    assert least.times_least(decode | {"bytes_accessed": 256 * read}) == pytest.approx(1)
    weights = 6_050_882_784  # as transformers counts GPT-J's
    flops = 6 * weights * 8 * 1536 / 8
    assert least.times_least(train | {"flops": flops}) == pytest.approx(1)
    assert least.times_least(star) is None
    del decode["flops"]
    assert least.times_least(decode) is None
