"""Other orders of options: seeded, recorded, and right about which option is right."""

import collections

import pytest

from vigorl_jax.datasets.choices import reorder, rotate, shuffle
from vigorl_jax.tasks.example import Example


def _example(name="a", choices=("red", "green", "blue"), **facts):
    return Example(
        id=name, task="visual_search", question="q", answer=choices[0], images=(b"x",), choices=choices,
        metadata={"answer_index": 0, **facts},
    )  # fmt: skip


def test_a_shuffle_depends_on_seed_and_id_only_and_is_recorded():
    mixed = shuffle(_example(), 3)
    assert mixed == shuffle(_example(), 3)
    order = [int(old) for old in mixed.metadata["choice_order"].split(",")]
    assert mixed.choices == tuple(("red", "green", "blue")[old] for old in order)
    assert mixed.choices[mixed.metadata["answer_index"]] == mixed.answer == "red"
    assert mixed.metadata["choice_seed"] == 3
    assert len({shuffle(_example(), seed).choices for seed in range(50)}) == 6


def test_the_right_option_is_at_every_place_equally_often():
    places = collections.Counter(shuffle(_example(str(n)), 0).metadata["answer_index"] for n in range(600))
    # Binomial: mean 200, standard deviation 11.5; four of them are 46.
    assert all(abs(places[place] - 200) < 46 for place in range(3))


def test_rotations_put_the_right_option_at_each_place_once():
    assert rotate(_example(), 1).choices == ("blue", "red", "green")
    assert [rotate(_example(), steps).metadata["answer_index"] for steps in range(4)] == [0, 1, 2, 0]


def test_options_that_read_the_same_are_told_apart():
    assert reorder(_example(choices=("left", "left")), [1, 0]).metadata["answer_index"] == 1


def test_examples_without_options_and_wrong_orders_are_refused():
    plain = Example(id="p", task="spatial", question="q", answer="a", images=(b"x",))
    with pytest.raises(ValueError, match="'p' has no options"):
        shuffle(plain, 0)
    with pytest.raises(ValueError, match="'p' has no options"):
        rotate(plain, 1)
    with pytest.raises(ValueError, match="not an order of the 3 options"):
        reorder(_example(), [0, 0, 1])
