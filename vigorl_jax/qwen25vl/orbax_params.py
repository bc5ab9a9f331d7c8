"""Parameters in an Orbax directory: `config.json`, the tokenizer and processor files, and `params/` by Orbax.

For weights alone. The learner's checkpoints, which hold an optimizer too, are `training.checkpoint`'s.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.typing import DTypeLike

from vigorl_jax.qwen25vl import config as config_lib
from vigorl_jax.qwen25vl import weight_files, weights
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.weight_files import WeightsError

_PARAMS = "params"


def is_checkpoint(directory: str | os.PathLike[str]) -> bool:
    """Whether `save` made this directory; says nothing about its integrity."""
    return (pathlib.Path(directory) / _PARAMS).is_dir()


def save(
    directory: str | os.PathLike[str],
    config: Config,
    params: Mapping[str, Any],
    *,
    copy_from: str | os.PathLike[str] | None = None,
) -> None:
    """Writes the parameters as they are. `config.json` comes last, so an interrupted save does not load.

    Args:
      directory: made if absent; must not hold parameters yet.
      config: sizes of the model.
      params: nested dict as `weights.load` returns it.
      copy_from: a directory whose tokenizer, processor and generation files are copied along.

    Raises:
      WeightsError: missing, unexpected or wrongly shaped parameters, or a directory that holds some already.
    """
    import orbax.checkpoint as ocp

    weights.check_tree(params, config)
    directory = pathlib.Path(directory).resolve()
    if is_checkpoint(directory):
        raise WeightsError(f"{directory} already holds parameters; wanted a new directory; remove it first")
    with weight_files.replacing_model(directory) as place:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(directory / _PARAMS, dict(params))
        if copy_from is not None:
            weight_files.copy_companions(pathlib.Path(copy_from), place)
        weight_files.write_json(place(config_lib.FILE_NAME), config.to_hf())


def load(
    directory: str | os.PathLike[str],
    *,
    dtype: DTypeLike | None = None,
    shardings: weights.Shardings | None = None,
) -> tuple[Config, weights.Params]:
    """Reads what `save` wrote; arguments and result are those of `weights.load`.

    Raises:
      ConfigError: what `config.load` refuses.
      WeightsError: no parameters, damaged ones, or others than those of `config.json`.
    """
    import orbax.checkpoint as ocp

    directory = pathlib.Path(directory).resolve()
    config = config_lib.load(directory)
    dtype = None if dtype is None else weights.known_dtype(dtype)
    placed = weights.shardings_by_path(config, shardings)
    if not is_checkpoint(directory):
        raise WeightsError(f"{directory} has no {_PARAMS}; give a directory that convert_weights wrote")
    with ocp.StandardCheckpointer() as checkpointer:
        try:
            metadata = checkpointer.metadata(directory / _PARAMS).item_metadata
            if metadata is None:
                raise ValueError("no readable metadata")
            stored = weights.check_tree(metadata.tree, config)
            target = {
                path: jax.ShapeDtypeStruct(leaf.shape, dtype or leaf.dtype, sharding=placed[path])
                for path, leaf in stored.items()
            }
            params = checkpointer.restore(directory / _PARAMS, traverse_util.unflatten_dict(target, sep="/"))
        except WeightsError:
            raise
        # Orbax raises Exception itself for unreadable numbers, followed by pages of its internals.
        except Exception as error:
            reason = str(error.__cause__ or error).splitlines()[0][:200]
            raise WeightsError(
                f"{directory / _PARAMS} cannot be read ({reason}); convert it again"
            ) from error
    return config, jax.tree.map(jnp.asarray, params)
