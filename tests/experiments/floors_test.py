"""Floors of sampling: sums that can be done by hand, and each reduced to another."""

import pytest

from experiments.benchmarks import floors
from experiments.benchmarks.floors import Floor, ZoomRollOut
from experiments.benchmarks.sampling import TINY
from vigorl_jax.qwen25vl import flops

OVERVIEW, CROP = (1, 8, 8), (1, 4, 4)


def test_the_slower_of_operations_and_bytes_counts():
    assert Floor(6 * 10**9, 10**9).milliseconds(peak=2e12, bandwidth=1e11) == pytest.approx(10)
    assert Floor(6 * 10**9, 10**9).milliseconds(peak=2e11, bandwidth=1e11) == pytest.approx(30)
    beside = Floor(6 * 10**9, 10**9).beside(45, peak=2e11, bandwidth=1e11)
    assert beside == {"floor": {"gflop": 6, "gbyte": 1, "ms": 30}, "times_the_floor": 1.5}


def test_a_decode_step_reads_the_text_weights_and_the_caches_of_its_rows():
    one, two = floors.decode_step(TINY, 1, 100), floors.decode_step(TINY, 2, 100)
    assert two.operations == 2 * one.operations
    # 3 layers x 2 heads of 24, keys and values, 4 bytes.
    assert two.bytes - one.bytes == 100 * 3 * 2 * 24 * 2 * 4
    # Every weight of the text is multiplied once a token; vectors (norms, biases) are added only.
    attention = 3 * 4 * 2 * 24 * 2 * 101
    matrices = (one.operations - attention) // 2 * 4
    assert 0 < one.bytes - 100 * 3 * 2 * 24 * 2 * 4 - matrices < 0.02 * matrices


def test_a_roll_out_is_the_sum_of_its_passes():
    job = ZoomRollOut(2, 4, OVERVIEW, CROP, prompt=30, turn=5, given=12, answer=3)
    text, steps = TINY.text, [(1, 30 + before) for before in (0, 1, 2, 3)]
    steps += [(1 + 12, 30 + 4), (1, 30 + 17), (1, 30 + 18)]
    episode = sum(flops.text_flops(text, *step) + flops.logits_flops(text, 1) for step in steps)
    prompts = 2 * (flops.text_flops(text, 30) + flops.logits_flops(text, 1))
    images = flops.vision_flops(TINY.vision, [OVERVIEW] * 2 + [CROP] * 8)
    assert job.floor(TINY).operations == images + prompts + 8 * episode


def test_a_prompt_alone_is_a_forward_pass_that_reads_all_weights():
    floor = floors.prefill(TINY, 50, OVERVIEW)
    assert floor.operations == flops.forward_flops(TINY, 50, [OVERVIEW], 1)
    assert floor.bytes == pytest.approx(4 * 0.607e6, rel=1e-2)
