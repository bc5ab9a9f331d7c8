"""What is frozen, by name and by pattern."""

import jax
import pytest

from vigorl_jax.qwen25vl.model import abstract_params
from vigorl_jax.testing.models import tiny_config
from vigorl_jax.training.trainable import join, path_of, split

PARAMS = abstract_params(tiny_config())


def paths(params):
    return {path_of(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(params)}


@pytest.mark.parametrize(
    ("frozen", "is_frozen"),
    [
        ("nothing", lambda path: False),
        ("tower", lambda path: path.startswith(("visual/blocks/", "visual/patch_embed/"))),
        ("vision", lambda path: path.startswith("visual/")),
        (
            r"^visual/|/layers/[01]/",
            lambda p: p.startswith("visual/") or "/layers/0" in p or "/layers/1" in p,
        ),
    ],
)
def test_a_name_or_a_pattern_says_what_is_frozen(frozen, is_frozen):
    trained, rest = split(PARAMS, frozen)
    assert paths(rest) == {path for path in paths(PARAMS) if is_frozen(path)}
    assert paths(trained) == paths(PARAMS) - paths(rest)
    assert join(trained, rest) == PARAMS


def test_a_tower_without_its_merger_is_frozen_by_name():
    trained, _ = split(PARAMS, "tower")
    assert set(trained["visual"]) == {"merger"}


def test_frozen_that_is_no_pattern_or_leaves_nothing_is_refused():
    with pytest.raises(
        ValueError, match="frozen is 'vision\\(', neither one of nothing, tower, vision nor a reg"
    ):
        split(PARAMS, "vision(")
    with pytest.raises(ValueError, match="which leaves no parameter to train; freeze less"):
        split(PARAMS, "")
