"""Operation counts against sums done by hand and against published roofline figures."""

import dataclasses

import pytest

from vigorl_jax.qwen25vl import flops
from vigorl_jax.qwen25vl.config import TextConfig, VisionConfig
from vigorl_jax.qwen25vl.patch_layout import window_sizes

TOWER = VisionConfig(32, 1280, 3420, 16, 14, 2, 3, 2, 112, (7, 15, 23, 31), 2048)
TEXT_3B = TextConfig(151_936, 2048, 11_008, 36, 16, 2, 128, 1e-6, 1e6, (16, 24, 24), True, 128_000)


def test_windows_of_a_grid_that_they_do_not_divide():
    assert window_sizes((1, 8, 12), TOWER) == [64, 32]
    assert sum(window_sizes((1, 10, 14), TOWER)) == 140


def test_a_one_patch_tower_by_hand():
    tiny = VisionConfig(2, 4, 3, 1, 1, 1, 3, 1, 1, (1,), 5)
    # patch 3 x 4, two blocks of 4 x 16 + 3 x 12, merger 16 + 20, attention 2 x 4 in each block: 12 + 200 + 36 + 16.
    assert flops.vision_flops(tiny, [(1, 1, 1)]) == 2 * (12 + 200 + 36 + 16)


def test_the_released_towers_take_7_tera_operations_for_a_megapixel():
    assert flops.vision_flops(TOWER, [(1, 64, 80)]) == pytest.approx(7.14e12, rel=2e-3)


def test_prefill_and_decode_of_the_3b_model():
    # 2 x 2.775e9 body parameters a token; attention 36 layers x 4 x 16 x 128 operations a visible token.
    assert flops.text_flops(TEXT_3B, 1280) == pytest.approx(7.34e12, rel=2e-3)
    step = flops.text_flops(TEXT_3B, 1, 2047)
    assert step == pytest.approx(2 * 2.775e9 + 36 * 4 * 2048 * 2048, rel=1e-3)


def test_a_row_in_pieces_costs_what_it_costs_at_once():
    assert flops.text_flops(TEXT_3B, 7, 5) + flops.text_flops(TEXT_3B, 5) == flops.text_flops(TEXT_3B, 12)
    assert flops.logits_flops(dataclasses.replace(TEXT_3B, vocab_size=10), 3) == 2 * 3 * 2048 * 10
