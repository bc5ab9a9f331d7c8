"""GlyphSearch levels: the presets, and the values that are refused."""

import pytest

from vigorl_jax.tasks import glyph_levels
from vigorl_jax.tasks.glyph_levels import LEVEL_1, LEVEL_2, LEVEL_4K, LEVELS, Level


def test_the_overview_is_a_quarter_of_the_canvas():
    assert LEVEL_1.overview == (112, 112)
    assert LEVEL_4K.overview == (952, 532)


def test_a_level_is_found_by_its_name():
    assert [glyph_levels.get(name) for name in LEVELS] == list(LEVELS.values())
    with pytest.raises(ValueError, match="Unknown level 'level_9'; choose one of level_1, level_2"):
        glyph_levels.get("level_9")


def test_levels_grow_harder():
    assert LEVEL_1.signs == (3, 3)
    assert LEVEL_1.distractors == (0, 0)
    assert LEVEL_1.kinds == ("letter",)
    assert LEVEL_2.signs == (3, 6)
    assert LEVEL_2.distractors == (1, 2)
    assert "pair" in LEVEL_2.kinds
    assert LEVEL_4K.canvas == (3808, 2128)
    assert LEVEL_4K.signs == (12, 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"canvas": (450, 448)}, r"canvas \(450, 448\) must be multiples of 112"),
        ({"canvas": (0, 448)}, r"canvas \(0, 448\) must be multiples of 112"),
        ({"lattice": 14}, "lattice 14 must be 112 or 28"),
        ({"kinds": ("colour",)}, r"kinds \('colour',\) must be some of letter, same, pair, side"),
        ({"kinds": ()}, r"kinds \(\) must be some of"),
        ({"distractors": (0, 3)}, r"distractors \(0, 3\) must be a range below shapes=3"),
        ({"shapes": 5}, "of which there are at most 4"),
        ({"signs": (1, 3)}, r"signs \(1, 3\) must be a range from 2 to 16"),
        ({"signs": (3, 17)}, r"signs \(3, 17\) must be a range from 2 to 16"),
        ({"signs": (3, 8), "lattice": 28}, r"signs \(3, 8\) must be a range from 2 to 7"),
        ({"canvas": (1120, 1120), "signs": (3, 17)}, r"signs \(3, 17\) must be a range from 2 to 16"),
        ({"signs": (2, 3), "distractors": (0, 2)}, r"signs \(2, 3\) must be a range from 3 to 16"),
    ],
)
def test_a_level_without_scenes_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Level(**{"name": "mine", "canvas": (448, 448), "signs": (3, 3), **change})
