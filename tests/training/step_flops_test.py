"""Operations of a step against the published budget of the roofline and against sums by hand."""

import dataclasses

import pytest

from experiments.benchmarks.accelerator_sampling import RELEASED_3B
from vigorl_jax.qwen25vl import flops
from vigorl_jax.qwen25vl.config import TextConfig
from vigorl_jax.training import step_flops
from vigorl_jax.training.step_flops import VISUAL_SEARCH


@pytest.mark.parametrize(("count", "petaflop"), [("naive", 301.2), ("shared", 197.1), ("lean", 130.1)])
def test_the_budget_of_multi_turn_visual_search(count, petaflop):
    assert getattr(step_flops, count)(RELEASED_3B, VISUAL_SEARCH) == pytest.approx(petaflop * 1e15, rel=1e-3)


def test_a_group_of_one_shares_nothing_but_passes_of_the_tower():
    alone = dataclasses.replace(VISUAL_SEARCH, group=1)
    images = flops.vision_flops(RELEASED_3B.vision, [alone.image, *alone.crops])
    difference = step_flops.naive(RELEASED_3B, alone) - step_flops.shared(RELEASED_3B, alone)
    assert difference == 3 * alone.episodes * images


def test_a_padded_tower_of_full_windows_is_the_plain_count():
    # 64 x 80 patches are 80 windows of 64: a row of 5,120 slots without padding.
    plain = flops.vision_flops(RELEASED_3B.vision, [(1, 64, 80)])
    assert step_flops.tower_call(RELEASED_3B.vision, 1, 5120) == plain
    assert step_flops.tower_call(RELEASED_3B.vision, 2, 5120) == 2 * plain


def test_text_by_hand():
    tiny = TextConfig(10, 4, 3, 2, 2, 1, 2, 1e-6, 1e4, (1, 0, 0), True, 512)
    layer = 2 * 4 * (4 + 2) + 3 * 4 * 3  # 84 multiplications a token
    # Up to 64 tokens are one block: every query meets all keys. 128 tokens are two blocks: 64 x 64 + 64 x 128.
    assert step_flops.text_call(tiny, 3, 10) == 2 * 2 * 3 * (10 * layer + 2 * 4 * 100)
    assert step_flops.text_call(tiny, 1, 128) == 2 * 2 * (128 * layer + 2 * 4 * (64 * 64 + 64 * 128))
    assert step_flops.text_call(tiny, 1, 5, cached=7) == 2 * 2 * (5 * layer + 2 * 4 * 5 * 12)
    assert step_flops.update_call(tiny, 1, 10, 2) == 3 * (2 * 2 * (10 * layer + 800) + 2 * 2 * 4 * 10)
