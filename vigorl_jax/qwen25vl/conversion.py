"""Conversion of a whole model directory between the Hugging Face and the Orbax layout, exact in both directions."""

import dataclasses
import pathlib
import shutil
import tempfile
import time

import jax

from vigorl_jax.qwen25vl import orbax_params, weights
from vigorl_jax.qwen25vl.config import FILE_NAME


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What to read, where to write it, and how.

    Attributes:
      source: model directory or Orbax directory.
      target: directory to write.
      dtype: name of the type to convert to, or None.
      max_shard_bytes: largest safetensors file.
      overwrite: whether a model in `target` is replaced, with all that is in the directory.
    """

    source: pathlib.Path
    target: pathlib.Path
    dtype: str | None
    max_shard_bytes: float
    overwrite: bool


def convert(conversion: Conversion) -> str:
    """Converts, and returns a line that says what was written.

    Raises:
      ValueError: an input that is of neither layout, damaged or unsafe (`ConfigError`, `WeightsError`), or an
        output that would destroy something.
    """
    start = time.monotonic()
    source, target = conversion.source.resolve(), conversion.target.resolve()
    _check_target(source, target, conversion.overwrite)
    to_orbax = not orbax_params.is_checkpoint(source)
    config, params = (weights if to_orbax else orbax_params).load(source, dtype=conversion.dtype)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Written beside and renamed, so that `target` never holds half a model nor files of two.
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        written = pathlib.Path(scratch, "model")
        if to_orbax:
            orbax_params.save(written, config, params, copy_from=source)
        else:
            shard_bytes = conversion.max_shard_bytes
            weights.save(written, config, params, max_shard_bytes=shard_bytes, copy_from=source)
        if target.exists():
            shutil.rmtree(target)
        written.rename(target)
    leaves, layout = jax.tree.leaves(params), "Orbax" if to_orbax else "Hugging Face"
    size, seconds = sum(leaf.nbytes for leaf in leaves) / 1e9, time.monotonic() - start
    return f"{target}: {layout} layout, {len(leaves)} parameters, {size:.3g} GB, {seconds:.1f} s"


def _check_target(source: pathlib.Path, target: pathlib.Path, overwrite: bool) -> None:
    if source.is_relative_to(target) or target.is_relative_to(source):
        raise ValueError(f"output {target} and input {source} overlap; wanted two directories; move one")
    if target.exists() and not target.is_dir():
        raise ValueError(f"output {target} is a file; wanted a directory; give another --output")
    if not target.exists() or not any(target.iterdir()):
        return
    if not overwrite:
        raise ValueError(f"output {target} is not empty; give another --output, or --overwrite to replace it")
    if not (target / FILE_NAME).is_file():
        raise ValueError(f"output {target} holds no {FILE_NAME}, so it is no model; remove it yourself")
