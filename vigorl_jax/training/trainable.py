"""Which parameters are trained: the others get neither a gradient nor optimizer state."""

import re

import jax
from flax import traverse_util

from vigorl_jax.qwen25vl.model import Params

SEPARATOR = "/"
# What is frozen, by name, as patterns of parameter paths. The official code freezes the whole of vision.
FROZEN_PARTS = {
    "nothing": r"(?!)",
    "tower": r"^visual/(patch_embed|blocks)/",
    "vision": r"^visual/",
}


def split(params: Params, frozen: str) -> tuple[Params, Params]:
    """(trained, frozen) parts of a nested dict of parameters, both nested dicts.

    Args:
      params: what is split; the leaves may be anything, shardings for instance.
      frozen: a name of FROZEN_PARTS, or else a regular expression that is searched for in parameter paths such as
        "language_model/layers/0/mlp/up/kernel".

    Raises:
      ValueError: the expression is none, or nothing is left to be trained.
    """
    flat = traverse_util.flatten_dict(params, sep=SEPARATOR)
    pattern = _compiled(frozen)
    trained = {path: leaf for path, leaf in flat.items() if not pattern.search(path)}
    if not trained:
        raise ValueError(f"frozen is {frozen!r}, which leaves no parameter to train; freeze less")
    rest = {path: leaf for path, leaf in flat.items() if path not in trained}
    return (
        traverse_util.unflatten_dict(trained, sep=SEPARATOR),
        traverse_util.unflatten_dict(rest, sep=SEPARATOR),
    )


def join(trained: Params, frozen: Params) -> Params:
    """What `split` was given."""
    flat = traverse_util.flatten_dict(trained) | traverse_util.flatten_dict(frozen)
    return traverse_util.unflatten_dict(flat)


def path_of(key_path: tuple) -> str:
    """The path of a leaf in a nested dict, from the keys that `jax.tree_util.tree_map_with_path` gives."""
    return SEPARATOR.join(key.key for key in key_path if isinstance(key, jax.tree_util.DictKey))


def _compiled(frozen: str) -> re.Pattern:
    try:
        return re.compile(FROZEN_PARTS.get(frozen, frozen))
    except re.error as error:
        raise ValueError(
            f"frozen is {frozen!r}, neither one of {', '.join(FROZEN_PARTS)} nor a regular expression: {error}"
        ) from error
