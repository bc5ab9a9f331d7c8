"""What an update changes, and what a checkpoint must hold for the run to go on exactly."""

import dataclasses
from typing import Any

import jax

from vigorl_jax.array_typing import Array, Int
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.training.trainable import path_of


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The learner's state. An update donates all but `frozen`: hold on to the new state alone.

    Attributes:
      params: trained parameters in the dtype of the weights, a nested dict.
      frozen: the other parameters in the dtype of computation, a nested dict; updates hand them on as they are, so
        that a checkpoint may leave them out: `Learner.before_training` has them.
      opt_state: of optax.
      step: updates applied; the schedule counts these.
      skipped: updates not applied because their loss or gradient was not finite.
      consecutive_skipped: such updates since the last applied one.
    """

    params: Params
    frozen: Params
    opt_state: Any
    step: Int[Array, ""]
    skipped: Int[Array, ""]
    consecutive_skipped: Int[Array, ""]


def state_shardings(
    state: TrainState, trained: Params, frozen: Params, everywhere: jax.sharding.NamedSharding
) -> TrainState:
    """A sharding for every array of a state: the optimizer's arrays lie as the parameters that they belong to.

    Args:
      state: arrays or their shapes.
      trained, frozen: shardings of parameters.
      everywhere: for what belongs to no parameter.
    """
    flat = {path_of(keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(trained)}

    def sharding(keys: tuple, leaf: Any) -> jax.sharding.NamedSharding:
        return flat.get(_parameter_path(keys), everywhere) if leaf.ndim else everywhere

    return TrainState(
        trained,
        frozen,
        jax.tree_util.tree_map_with_path(sharding, state.opt_state),
        *[everywhere] * 3,
    )


def _parameter_path(keys: tuple) -> str:
    """The path of the parameter to which an array of the optimizer belongs: the dict keys at the end of its own."""
    names = [isinstance(key, jax.tree_util.DictKey) for key in keys]
    start = len(names) - names[::-1].index(False) if False in names else 0
    return path_of(keys[start:])
