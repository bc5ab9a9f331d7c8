"""Parameters from and to a Hugging Face model directory, tensor by tensor, exact in both directions."""

import collections
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.typing import DTypeLike
from safetensors.numpy import save_file

from vigorl_jax.qwen25vl import config as config_lib
from vigorl_jax.qwen25vl import weight_files, weight_names
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.weight_files import WeightsError, listed
from vigorl_jax.qwen25vl.weight_names import Parameter

Params = dict[str, Any]
Shardings = Mapping[str, Any] | Callable[[str], jax.sharding.Sharding]

DTYPES = ("float32", "bfloat16", "float16")

_STORED_DTYPES = ("F32", "BF16", "F16")
_COMPARED_ROWS = 8192


def load(
    model_dir: str | os.PathLike[str], *, dtype: DTypeLike | None = None, shardings: Shardings | None = None
) -> tuple[Config, Params]:
    """Reads a model directory: `config.json`, and one safetensors file or an index with shards.

    Both namings are read: `visual.*`, `model.*` and `model.visual.*`, `model.language_model.*`. The host
    holds one tensor at a time beside what lies on its devices, and each device gets its own slice only.

    Args:
      model_dir: the directory; a snapshot in a Hugging Face cache will do.
      dtype: float32, bfloat16 or float16 for all parameters; None keeps each one's stored type.
      shardings: a sharding for each parameter: a tree with the same keys, or a function of the path, such as
        "language_model/layers/0/attn/q/kernel". None puts everything on the default device.

    Returns:
      The configuration and the parameters, a nested dict with string keys; kernels are [in, out].

    Raises:
      ConfigError: what `config.load` refuses.
      WeightsError: files that are absent, unsafe or damaged; tensors that are missing, unexpected, wrongly
        shaped or of another type, all in one message; a tied model with an `lm_head` of its own; unfit
        shardings.
    """
    model_dir = pathlib.Path(model_dir)
    config = config_lib.load(model_dir)
    dtype = None if dtype is None else known_dtype(dtype)
    placed = shardings_by_path(config, shardings)
    with weight_files.open_tensors(model_dir) as stored:
        tensors = _check_stored(model_dir, stored, config)
        flat = {
            parameter.path: _read(tensors[parameter.name], parameter, dtype, placed[parameter.path])
            for parameter in weight_names.parameters(config)
        }
    return config, traverse_util.unflatten_dict(flat, sep="/")


def save(
    model_dir: str | os.PathLike[str],
    config: Config,
    params: Mapping[str, Any],
    *,
    dtype: DTypeLike | None = None,
    max_shard_bytes: float = 5e9,
    copy_from: str | os.PathLike[str] | None = None,
) -> None:
    """Writes a model directory that transformers loads, in the original naming.

    One shard at a time is on the host. Files get their names when all are complete, `config.json` last, so an
    interrupted save never leaves a directory that loads as anything but the old or the new model.

    Args:
      model_dir: made if absent; a model that it holds is replaced, other files stay.
      config: sizes of the model.
      params: nested dict as `load` returns it, JAX or NumPy arrays.
      dtype: float32, bfloat16 or float16 on disk; None keeps each parameter's type.
      max_shard_bytes: a model beyond that is cut into files of at most that size, or of one tensor.
      copy_from: a model directory whose tokenizer, processor and generation files are copied along.

    Raises:
      WeightsError: missing, unexpected or wrongly shaped parameters, all in one message; another type; a
        `copy_from` that is no directory.
    """
    flat = check_tree(params, config)
    if dtype is None:
        dtypes = {path: known_dtype(leaf.dtype, path) for path, leaf in flat.items()}
    else:
        dtypes = dict.fromkeys(flat, known_dtype(dtype))
    shards = _cut(config, dtypes, max_shard_bytes)
    fields = config.to_hf()
    if len(kinds := {kind.name for kind in dtypes.values()}) == 1:
        # transformers 4 reads this name only; 5 reads it too.
        fields["torch_dtype"] = kinds.pop()
    with weight_files.replacing_model(pathlib.Path(model_dir)) as place:
        _write_shards(shards, flat, dtypes, place)
        if copy_from is not None:
            weight_files.copy_companions(pathlib.Path(copy_from), place)
        weight_files.write_json(place(config_lib.FILE_NAME), fields)


def check_tree(params: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """{path: leaf} of a parameter tree that has exactly the parameters of `config`.

    Raises:
      WeightsError: missing, unexpected or wrongly shaped parameters, all in one message.
    """
    flat = traverse_util.flatten_dict(params, sep="/")
    wanted = {parameter.path: parameter.shape for parameter in weight_names.parameters(config)}
    shapes = {path: tuple(leaf.shape) for path, leaf in flat.items() if hasattr(leaf, "shape")}
    _refuse(
        "the parameters do not fit the configuration", _differences(shapes, wanted), "pass the tree of `load`"
    )
    return flat


def shardings_by_path(config: Config, shardings: Shardings | None) -> dict[str, jax.sharding.Sharding | None]:
    """{path: sharding} of all parameters, from a tree or a function of the path; None: the default device.

    Raises:
      WeightsError: other keys than the parameters, other values than shardings, an axis not divided evenly.
    """
    table = weight_names.parameters(config)
    if shardings is None:
        return dict.fromkeys((parameter.path for parameter in table), None)
    if callable(shardings):
        flat = {parameter.path: shardings(parameter.path) for parameter in table}
    else:
        flat = traverse_util.flatten_dict(shardings, sep="/")
    problems = _differences(dict.fromkeys(flat, ()), {parameter.path: () for parameter in table})
    kind = jax.sharding.Sharding
    problems["not a jax.sharding.Sharding"] = [
        path for path, value in flat.items() if not isinstance(value, kind)
    ]
    _refuse("the shardings do not fit the parameters", problems, "give one sharding for each parameter")
    for parameter in table:
        try:
            flat[parameter.path].shard_shape(parameter.shape)
        except ValueError as error:
            given = f"{parameter.path} {list(parameter.shape)} cannot be sharded as {flat[parameter.path]}"
            raise WeightsError(f"{given} ({error}); choose a mesh that divides it") from error
    return flat


def known_dtype(dtype: DTypeLike, given: str = "dtype") -> np.dtype:
    """The NumPy type of a weight type.

    Raises:
      WeightsError: any type but the three of `DTYPES`; the message names `given`.
    """
    try:
        known = np.dtype(dtype)
    except TypeError:
        known = None
    if known is None or known.name not in DTYPES:
        raise WeightsError(f"{given} has the type {dtype}; wanted one of {', '.join(DTYPES)}; convert it")
    return known


def _check_stored(source: pathlib.Path, stored: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """{original name: safetensors slice} of the wanted tensors, or one error that lists all that differs."""
    wanted = {parameter.name: parameter.stored_shape for parameter in weight_names.parameters(config)}
    names = [name for name in sorted(stored) if not weight_names.is_stored_constant(name)]
    tensors = {weight_names.original_name(name): stored[name] for name in names}
    found = {name: tuple(tensor.get_shape()) for name, tensor in tensors.items()}
    kinds = {name: tensor.get_dtype() for name, tensor in tensors.items()}
    head = tensors.get(weight_names.LM_HEAD) if config.text.tie_embeddings else None
    if head is not None:
        wanted[weight_names.LM_HEAD] = wanted[weight_names.EMBEDDING]
    problems = _differences(found, wanted)
    counts = collections.Counter(map(weight_names.original_name, names))
    problems["stored under two names"] = [name for name, count in counts.items() if count > 1]
    problems["of another type than " + ", ".join(_STORED_DTYPES)] = [
        f"{name} {kind}" for name, kind in kinds.items() if kind not in _STORED_DTYPES
    ]
    _refuse(f"{source}: the tensors do not fit config.json", problems, "use the two files of one model")
    if head is not None:
        _check_tied(source, tensors.pop(weight_names.LM_HEAD), tensors[weight_names.EMBEDDING])
    return tensors


def _check_tied(source: pathlib.Path, head: Any, embedding: Any) -> None:
    """Some tied checkpoints store the embedding twice; another head would be dropped in silence."""
    count = embedding.get_shape()[0]
    for first in range(0, count, _COMPARED_ROWS):
        rows = slice(first, min(first + _COMPARED_ROWS, count))
        if not np.array_equal(head[rows], embedding[rows]):
            raise WeightsError(
                f"{source}: {weight_names.LM_HEAD} differs from {weight_names.EMBEDDING} in a tied model; "
                'wanted equal tensors; set "tie_word_embeddings" to false if it was trained untied'
            )


def _differences(found: Mapping[str, tuple], wanted: Mapping[str, tuple]) -> dict[str, list[str]]:
    wrong = [name for name in wanted if name in found and found[name] != wanted[name]]
    return {
        "missing": [name for name in wanted if name not in found],
        "unexpected": [name for name in found if name not in wanted],
        "wrongly shaped": [f"{name} {list(found[name])}, wanted {list(wanted[name])}" for name in wrong],
    }


def _refuse(given: str, problems: Mapping[str, list[str]], do: str) -> None:
    lines = [f"{len(items)} {kind}: {listed(items)}" for kind, items in problems.items() if items]
    if lines:
        raise WeightsError(f"{given}: {'; '.join(lines)}; {do}")


def _read(tensor: Any, parameter: Parameter, dtype: np.dtype | None, sharding: Any) -> jax.Array:
    """One parameter on its devices. Waits for it, so that the host never queues up more than one."""
    if sharding is None:
        whole = (slice(None),) * len(parameter.shape)
        return jnp.asarray(_block(tensor, parameter, whole, dtype)).block_until_ready()
    blocks = {}

    def block(index: tuple[slice, ...]) -> np.ndarray:
        # JAX asks for each device, also where several hold the same slice.
        key = tuple((axis.start, axis.stop) for axis in index)
        if key not in blocks:
            blocks[key] = _block(tensor, parameter, index, dtype)
        return blocks[key]

    return jax.make_array_from_callback(parameter.shape, sharding, block).block_until_ready()


def _block(tensor: Any, parameter: Parameter, index: tuple[slice, ...], dtype: np.dtype | None) -> np.ndarray:
    """The slices `index` of a parameter, read from the stored tensor without the rest of it."""
    axis = -1 if parameter.is_kernel else 0
    first, last, _ = index[axis].indices(parameter.shape[axis])
    rows = slice(parameter.rows[0] + first, parameter.rows[0] + last)
    if len(parameter.stored_shape) > 2:
        # A convolution's rows are small: whole rows are read, then cut.
        value = parameter.from_stored(tensor[rows])[index[0]]
    elif parameter.is_kernel:
        value = parameter.from_stored(tensor[rows, index[0]])
    else:
        value = tensor[(rows, *index[1:])]
    return np.asarray(value, dtype)


def _cut(
    config: Config, dtypes: Mapping[str, np.dtype], max_bytes: float
) -> list[dict[str, list[Parameter]]]:
    """The stored tensors with their parameters, in shards of at most `max_bytes` where tensors allow."""
    tensors: dict[str, list[Parameter]] = {}
    for parameter in weight_names.parameters(config):
        tensors.setdefault(parameter.name, []).append(parameter)
    shards: list[dict[str, list[Parameter]]] = [{}]
    used = 0
    for name, parts in tensors.items():
        kinds = {dtypes[part.path].name for part in parts}
        if len(kinds) > 1:
            raise WeightsError(
                f"{name} is stored as one tensor, its parts have types {sorted(kinds)}; give a dtype"
            )
        size = math.prod(parts[0].stored_shape) * dtypes[parts[0].path].itemsize
        if shards[-1] and used + size > max_bytes:
            shards.append({})
            used = 0
        shards[-1][name] = parts
        used += size
    return shards


def _write_shards(
    shards: list[dict[str, list[Parameter]]],
    flat: Mapping[str, Any],
    dtypes: Mapping[str, np.dtype],
    place: Callable[[str], pathlib.Path],
) -> None:
    placed: dict[str, str] = {}
    total = 0
    for number, shard in enumerate(shards, start=1):
        file = weight_files.shard_name(number, len(shards))
        total += _write_shard(place(file), shard, flat, dtypes)
        placed |= dict.fromkeys(shard, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": placed}
        weight_files.write_json(place(weight_files.INDEX), index)


def _write_shard(
    path: pathlib.Path,
    shard: dict[str, list[Parameter]],
    flat: Mapping[str, Any],
    dtypes: Mapping[str, np.dtype],
) -> int:
    """Writes one file and returns the bytes of its tensors, which the host need not hold any longer."""
    arrays = {name: _stored(parts, flat, dtypes[parts[0].path]) for name, parts in shard.items()}
    save_file(arrays, path, metadata={"format": "pt"})
    return sum(array.nbytes for array in arrays.values())


def _stored(parts: list[Parameter], flat: Mapping[str, Any], dtype: np.dtype) -> np.ndarray:
    rows = [part.to_stored(np.asarray(flat[part.path])) for part in parts]
    # safetensors writes memory as it lies, whatever the strides say.
    return np.ascontiguousarray(rows[0] if len(rows) == 1 else np.concatenate(rows), dtype)
