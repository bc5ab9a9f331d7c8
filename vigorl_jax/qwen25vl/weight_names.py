"""The table of weights: each parameter, its shape, and where its numbers lie in a Hugging Face checkpoint.

It is derived from the configuration alone; reading, writing and their checks all go through it.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

import numpy as np

from vigorl_jax.qwen25vl.config import Config, TextConfig, VisionConfig

EMBEDDING = "model.embed_tokens.weight"
LM_HEAD = "lm_head.weight"

# transformers 4.52 and later may save under these prefixes instead of the original ones.
_NEW_PREFIXES = (("model.visual.", "visual."), ("model.language_model.", "model."))
# Constants that old releases stored; the network computes them.
_STORED_CONSTANTS = re.compile(r"(^|\.)rotary(_pos)?_emb\.inv_freq$")


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter and the rows of the stored tensor that hold it.

    PyTorch stores a linear map as [out, in] and a convolution as [out, channel, time, row, column]; a path
    that ends in `kernel` names the [in, out] matrix of the same map. All others are stored as they are.

    Attributes:
      path: place in the parameter tree, "visual/blocks/0/attn/k/kernel".
      name: stored tensor in the original naming, "visual.blocks.0.attn.qkv.weight".
      stored_shape: shape of that whole tensor, (3840, 1280).
      rows: first and last + 1 of the rows that belong to this parameter, (1280, 2560).
    """

    path: str
    name: str
    stored_shape: tuple[int, ...]
    rows: tuple[int, int]

    @property
    def is_kernel(self) -> bool:
        """Whether the stored rows are this parameter's columns."""
        return self.path.endswith("/kernel")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in the parameter tree: [in, out] for a kernel."""
        count, rest = self.rows[1] - self.rows[0], self.stored_shape[1:]
        return (math.prod(rest), count) if self.is_kernel else (count, *rest)

    def to_stored(self, value: np.ndarray) -> np.ndarray:
        """The stored rows of this parameter, a view where NumPy can give one."""
        return value.T.reshape(-1, *self.stored_shape[1:]) if self.is_kernel else value

    def from_stored(self, rows: np.ndarray) -> np.ndarray:
        """The inverse of `to_stored`, for any subset of the rows."""
        return rows.reshape(len(rows), -1).T if self.is_kernel else rows


@functools.lru_cache(maxsize=8)
def parameters(config: Config) -> tuple[Parameter, ...]:
    """Every parameter of the model, in the order of the network; each row of a stored tensor is used once."""
    return (*_vision(config.vision), *_text(config.text))


def original_name(name: str) -> str:
    """A stored name in the original naming: "model.language_model.norm.weight" -> "model.norm.weight"."""
    for new, original in _NEW_PREFIXES:
        if name.startswith(new):
            return original + name.removeprefix(new)
    return name


def is_stored_constant(name: str) -> bool:
    """Whether a stored tensor is a rotary table of an old checkpoint, which holds nothing learned."""
    return bool(_STORED_CONSTANTS.search(name))


def _vision(config: VisionConfig) -> Iterator[Parameter]:
    width, merged = config.width, config.width * config.spatial_merge_size**2
    patch = (config.in_channels, config.temporal_patch_size, config.patch_size, config.patch_size)
    yield _whole("visual/patch_embed/kernel", "visual.patch_embed.proj.weight", (width, *patch))
    for index in range(config.depth):
        yield from _vision_block(f"visual/blocks/{index}", f"visual.blocks.{index}", config)
    yield _whole("visual/merger/norm/scale", "visual.merger.ln_q.weight", (width,))
    yield from _linear("visual/merger/fc1", "visual.merger.mlp.0", merged, merged)
    yield from _linear("visual/merger/fc2", "visual.merger.mlp.2", merged, config.out_width)


def _vision_block(path: str, name: str, config: VisionConfig) -> Iterator[Parameter]:
    width, mlp_width = config.width, config.mlp_width
    yield _whole(f"{path}/norm1/scale", f"{name}.norm1.weight", (width,))
    for place, part in enumerate("qkv"):
        rows = (place * width, (place + 1) * width)
        yield Parameter(f"{path}/attn/{part}/kernel", f"{name}.attn.qkv.weight", (3 * width, width), rows)
        yield Parameter(f"{path}/attn/{part}/bias", f"{name}.attn.qkv.bias", (3 * width,), rows)
    yield from _linear(f"{path}/attn/proj", f"{name}.attn.proj", width, width)
    yield _whole(f"{path}/norm2/scale", f"{name}.norm2.weight", (width,))
    yield from _linear(f"{path}/mlp/gate", f"{name}.mlp.gate_proj", width, mlp_width)
    yield from _linear(f"{path}/mlp/up", f"{name}.mlp.up_proj", width, mlp_width)
    yield from _linear(f"{path}/mlp/down", f"{name}.mlp.down_proj", mlp_width, width)


def _text(config: TextConfig) -> Iterator[Parameter]:
    width, vocabulary = config.width, (config.vocab_size, config.width)
    yield _whole("language_model/embed/embedding", EMBEDDING, vocabulary)
    for index in range(config.num_layers):
        yield from _text_block(f"language_model/layers/{index}", f"model.layers.{index}", config)
    yield _whole("language_model/norm/scale", "model.norm.weight", (width,))
    if not config.tie_embeddings:
        yield _whole("lm_head/kernel", LM_HEAD, vocabulary)


def _text_block(path: str, name: str, config: TextConfig) -> Iterator[Parameter]:
    width, mlp_width = config.width, config.mlp_width
    kv_width = config.num_kv_heads * config.head_dim
    yield _whole(f"{path}/input_norm/scale", f"{name}.input_layernorm.weight", (width,))
    for part, outputs in (("q", width), ("k", kv_width), ("v", kv_width)):
        yield from _linear(f"{path}/attn/{part}", f"{name}.self_attn.{part}_proj", width, outputs)
    yield _whole(f"{path}/attn/o/kernel", f"{name}.self_attn.o_proj.weight", (width, width))
    yield _whole(f"{path}/post_norm/scale", f"{name}.post_attention_layernorm.weight", (width,))
    yield _whole(f"{path}/mlp/gate/kernel", f"{name}.mlp.gate_proj.weight", (mlp_width, width))
    yield _whole(f"{path}/mlp/up/kernel", f"{name}.mlp.up_proj.weight", (mlp_width, width))
    yield _whole(f"{path}/mlp/down/kernel", f"{name}.mlp.down_proj.weight", (width, mlp_width))


def _linear(path: str, name: str, inputs: int, outputs: int) -> Iterator[Parameter]:
    yield _whole(f"{path}/kernel", f"{name}.weight", (outputs, inputs))
    yield _whole(f"{path}/bias", f"{name}.bias", (outputs,))


def _whole(path: str, name: str, stored_shape: tuple[int, ...]) -> Parameter:
    return Parameter(path, name, stored_shape, (0, stored_shape[0]))
