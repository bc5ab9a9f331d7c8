"""Sizes of a Qwen2.5-VL model: read from and written to a Hugging Face `config.json`.

Two layouts are in use. *Flat* (the released checkpoints, transformers up to 4.51): the text fields lie at the
top level, with `rope_theta` and `rope_scaling`. *Nested* (transformers 5): they lie in `text_config`, with
`rope_parameters`. Both are read; flat is written, because every release reads it.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Self

MODEL_TYPE = "qwen2_5_vl"
FILE_NAME = "config.json"

# The PyTorch model fixes these two in code: `rms_norm_eps` and `rope_theta` are the language model's.
VISION_NORM_EPS = 1e-6
VISION_ROPE_THETA = 10_000.0


class ConfigError(ValueError):
    """A configuration that is unreadable, contradicts itself, or is of a model not computed here."""


@dataclasses.dataclass(frozen=True)
class VisionConfig:
    """Sizes of the vision tower.

    Attributes:
      depth: number of blocks.
      width: channels of a patch inside the tower (1280 in the released models).
      mlp_width: hidden channels of the gated MLP.
      num_heads: attention heads; `head_dim` is a multiple of 4 (2-D rotary: two axes, two halves).
      patch_size: side of a patch in model pixels.
      temporal_patch_size: frames in a patch; a still image is repeated that often.
      in_channels: colour channels of a pixel.
      spatial_merge_size: side, in patches, of the square that becomes one token of the language model.
      window_size: side of an attention window in model pixels, a multiple of patch_size x spatial_merge_size.
      full_attention_blocks: indexes of the blocks that attend over the whole image instead of a window; an
        index beyond the depth names no block.
      out_width: channels after the merger, the width of the language model.
      tokens_per_second: temporal positions in a second of video. Video is not computed here; the number is
        kept so that a converted checkpoint does not lose it.
    """

    depth: int
    width: int
    mlp_width: int
    num_heads: int
    patch_size: int
    temporal_patch_size: int
    in_channels: int
    spatial_merge_size: int
    window_size: int
    full_attention_blocks: tuple[int, ...]
    out_width: int
    tokens_per_second: int = 4

    def __post_init__(self):
        _set_int_tuple(self, "full_attention_blocks")
        _check_sizes(self)
        unit = self.patch_size * self.spatial_merge_size
        _check(
            self.width % self.num_heads == 0,
            f"vision width {self.width} (hidden_size) with {self.num_heads} heads",
            "a width that the number of heads divides",
        )
        _check(self.head_dim % 4 == 0, f"vision head_dim {self.head_dim}", "a multiple of 4, for 2-D rotary")
        _check(
            self.window_size % unit == 0,
            f"window_size {self.window_size}",
            f"a multiple of patch_size x spatial_merge_size = {unit}",
        )

    @property
    def head_dim(self) -> int:
        """Channels of one attention head: width / num_heads (1280 / 16 = 80 in the released models)."""
        return self.width // self.num_heads

    @property
    def patch_values(self) -> int:
        """Numbers in one flattened patch: 3 channels x 2 frames x 14 x 14 pixels = 1176."""
        return self.in_channels * self.temporal_patch_size * self.patch_size**2


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Sizes of the language model.

    Attributes:
      vocab_size: rows of the embedding, at least the number of the tokenizer's ids.
      width: channels of a token.
      mlp_width: hidden channels of the gated MLP.
      num_layers: number of blocks.
      num_heads: query heads.
      num_kv_heads: key and value heads, a divisor of num_heads.
      head_dim: channels of one head, width / num_heads.
      norm_eps: epsilon of the RMS norms.
      rope_theta: base of the rotary frequencies.
      mrope_section: how many of the head_dim / 2 rotary frequencies turn with the temporal, the height and
        the width position: (16, 24, 24) for head_dim 128.
      tie_embeddings: whether the output projection is the embedding matrix.
      max_positions: longest sequence that the model was made for, in tokens.
    """

    vocab_size: int
    width: int
    mlp_width: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    norm_eps: float
    rope_theta: float
    mrope_section: tuple[int, int, int]
    tie_embeddings: bool
    max_positions: int

    def __post_init__(self):
        _set_int_tuple(self, "mrope_section")
        _check_sizes(self)
        _check(
            self.num_heads % self.num_kv_heads == 0,
            f"{self.num_heads} text heads with {self.num_kv_heads} key-value heads",
            "a number of heads that the key-value heads divide",
        )
        _check(
            self.width == self.num_heads * self.head_dim,
            f"text width {self.width} (hidden_size)",
            f"{self.num_heads} heads x head_dim {self.head_dim} = {self.num_heads * self.head_dim}",
        )
        _check(
            len(self.mrope_section) == 3 and 2 * sum(self.mrope_section) == self.head_dim,
            f"mrope_section {list(self.mrope_section)}",
            f"three numbers whose sum is head_dim / 2 = {self.head_dim / 2:g}",
        )


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole model: its two parts and the token ids that tie them to text.

    Attributes:
      vision: the vision tower.
      text: the language model.
      image_token_id: placeholder that an image's embeddings replace, one for each merged square of patches.
      video_token_id: the same for video, which this package refuses.
      vision_start_token_id: opens an image.
      vision_end_token_id: closes an image.
      bos_token_id: begins a text, or None.
      eos_token_id: the ids that end a text, always a tuple; one int is wrapped.
      pad_token_id: fills a batch, or None.
    """

    vision: VisionConfig
    text: TextConfig
    image_token_id: int
    video_token_id: int
    vision_start_token_id: int
    vision_end_token_id: int
    bos_token_id: int | None
    eos_token_id: tuple[int, ...]
    pad_token_id: int | None

    def __post_init__(self):
        _set_int_tuple(self, "eos_token_id")
        _check(
            self.vision.out_width == self.text.width,
            f"vision out_width {self.vision.out_width} (out_hidden_size)",
            f"the text width {self.text.width} (hidden_size)",
        )
        for name in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"):
            _check_int(getattr(self, name), name, least=0)
        for name in ("bos_token_id", "pad_token_id"):
            _check_int(getattr(self, name) or 0, name, least=0)
        # The embedding of this placeholder is looked up; beyond the vocabulary JAX would clamp it silently.
        _check(
            self.image_token_id < self.text.vocab_size,
            f"image_token_id {self.image_token_id}",
            f"an id below vocab_size {self.text.vocab_size}",
        )

    @classmethod
    def from_hf(cls, mapping: Mapping[str, Any]) -> Self:
        """Reads the content of a `config.json` in either layout; an absent field has transformers' default.

        Raises:
          ConfigError: another model type, a size that is absent or no integer, sizes that contradict each
            other, or a feature that is not computed here: sliding windows, other rotary types, other
            activations, attention dropout, quantised weights.
        """
        _check(
            mapping.get("model_type") == MODEL_TYPE,
            f"model_type {mapping.get('model_type')!r}",
            repr(MODEL_TYPE),
        )
        _refuse_other(mapping, "quantization_config", None)
        text = mapping if mapping.get("text_config") is None else _mapping(mapping, "text_config")
        ids = {**mapping, **text}
        eos = ids.get("eos_token_id", 151645)
        return cls(
            vision=_vision_from_hf(_mapping(mapping, "vision_config")),
            # transformers ties when either level says so.
            text=_text_from_hf(text, any(level.get("tie_word_embeddings") for level in (mapping, text))),
            image_token_id=mapping.get("image_token_id", 151655),
            video_token_id=mapping.get("video_token_id", 151656),
            vision_start_token_id=mapping.get("vision_start_token_id", 151652),
            vision_end_token_id=mapping.get("vision_end_token_id", 151653),
            bos_token_id=ids.get("bos_token_id", 151643),
            eos_token_id=() if eos is None else eos,
            pad_token_id=ids.get("pad_token_id"),
        )

    def to_hf(self) -> dict[str, Any]:
        """The content of a flat `config.json`, from which `from_hf` reads an equal Config."""
        eos = list(self.eos_token_id)
        return {
            "architectures": ["Qwen2_5_VLForConditionalGeneration"],
            "model_type": MODEL_TYPE,
            "image_token_id": self.image_token_id,
            "video_token_id": self.video_token_id,
            "vision_start_token_id": self.vision_start_token_id,
            "vision_end_token_id": self.vision_end_token_id,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos if len(eos) > 1 else next(iter(eos), None),
            "pad_token_id": self.pad_token_id,
            **_text_to_hf(self.text),
            "vision_config": _vision_to_hf(self.vision),
        }


def load(model_dir: str | os.PathLike[str]) -> Config:
    """Reads `model_dir/config.json`.

    Raises:
      ConfigError: no such file, text that is not a JSON object, or what `Config.from_hf` refuses.
    """
    path = pathlib.Path(model_dir) / FILE_NAME
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; wanted a model directory with a {FILE_NAME}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON ({error}); restore it from the model's source") from error
    try:
        return Config.from_hf(_mapping({"content": mapping}, "content"))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _vision_from_hf(fields: Mapping[str, Any]) -> VisionConfig:
    _refuse_other(fields, "hidden_act", "silu")
    _refuse_other(_mapping(fields, "rope_parameters"), "rope_theta", VISION_ROPE_THETA)
    return VisionConfig(
        depth=fields.get("depth", 32),
        width=fields.get("hidden_size", 3584),
        mlp_width=fields.get("intermediate_size", 3420),
        num_heads=fields.get("num_heads", 16),
        patch_size=fields.get("patch_size", 14),
        temporal_patch_size=fields.get("temporal_patch_size", 2),
        # Released files say in_chans, transformers in_channels.
        in_channels=fields.get("in_channels", fields.get("in_chans", 3)),
        spatial_merge_size=fields.get("spatial_merge_size", 2),
        window_size=fields.get("window_size", 112),
        full_attention_blocks=fields.get("fullatt_block_indexes", (7, 15, 23, 31)),
        out_width=fields.get("out_hidden_size", 3584),
        tokens_per_second=fields.get("tokens_per_second", 4),
    )


def _text_from_hf(fields: Mapping[str, Any], tie_embeddings: bool) -> TextConfig:
    num_layers, num_heads, width = (
        _check_int(fields.get(name), name)
        for name in ("num_hidden_layers", "num_attention_heads", "hidden_size")
    )
    rope = _mapping(fields, "rope_scaling") or _mapping(fields, "rope_parameters")
    _refuse_other(fields, "hidden_act", "silu")
    _refuse_other(fields, "attention_dropout", 0)
    _refuse_sliding_window(fields, num_layers)
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    _check(rope_type in ("default", "mrope"), f"rope type {rope_type!r}", "'default' or 'mrope'")
    return TextConfig(
        vocab_size=fields.get("vocab_size"),
        width=width,
        mlp_width=fields.get("intermediate_size"),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_heads if (kv := fields.get("num_key_value_heads", 8)) is None else kv,
        head_dim=fields.get("head_dim") or width // num_heads,
        norm_eps=fields.get("rms_norm_eps", 1e-5),
        rope_theta=rope.get("rope_theta", fields.get("rope_theta", 1e6)),
        mrope_section=rope.get("mrope_section", (16, 24, 24)),
        tie_embeddings=tie_embeddings,
        max_positions=fields.get("max_position_embeddings", 32768),
    )


def _text_to_hf(text: TextConfig) -> dict[str, Any]:
    return {
        "vocab_size": text.vocab_size,
        "hidden_size": text.width,
        "intermediate_size": text.mlp_width,
        "num_hidden_layers": text.num_layers,
        "num_attention_heads": text.num_heads,
        "num_key_value_heads": text.num_kv_heads,
        "hidden_act": "silu",
        "rms_norm_eps": text.norm_eps,
        "rope_theta": text.rope_theta,
        "rope_scaling": {"type": "mrope", "mrope_section": list(text.mrope_section)},
        "tie_word_embeddings": text.tie_embeddings,
        "max_position_embeddings": text.max_positions,
        "max_window_layers": text.num_layers,
        "use_sliding_window": False,
    }


def _vision_to_hf(vision: VisionConfig) -> dict[str, Any]:
    return {
        "model_type": MODEL_TYPE,
        "depth": vision.depth,
        "hidden_size": vision.width,
        "intermediate_size": vision.mlp_width,
        "hidden_act": "silu",
        "num_heads": vision.num_heads,
        "patch_size": vision.patch_size,
        "temporal_patch_size": vision.temporal_patch_size,
        "in_channels": vision.in_channels,
        "spatial_merge_size": vision.spatial_merge_size,
        "window_size": vision.window_size,
        "fullatt_block_indexes": list(vision.full_attention_blocks),
        "out_hidden_size": vision.out_width,
        "tokens_per_second": vision.tokens_per_second,
    }


def _refuse_sliding_window(fields: Mapping[str, Any], num_layers: int) -> None:
    """A released file names a window that it does not use; only layers that would slide are refused."""
    first = fields.get("max_window_layers", 80)
    slides = fields.get("use_sliding_window") and fields.get("sliding_window", 4096) is not None
    kinds = fields.get("layer_types") or [
        "sliding_attention" if slides and num_layers > first else "full_attention"
    ]
    _check(set(kinds) == {"full_attention"}, "sliding-window attention", "full attention in every text layer")


def _refuse_other(fields: Mapping[str, Any], name: str, wanted: Any) -> None:
    given = fields.get(name, wanted)
    _check(given == wanted, f"{name} {given!r}", f"{wanted!r}, which is what this package computes")


def _mapping(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    _check(value is None or isinstance(value, Mapping), f"{name} {value!r}", "a JSON object")
    return value or {}


def _set_int_tuple(record: Any, name: str) -> None:
    """Makes a list, or one int, a tuple, so that records hash."""
    value = getattr(record, name)
    value = tuple(value) if isinstance(value, list | tuple) else (value,)
    for element in value:
        _check_int(element, name, least=0)
    object.__setattr__(record, name, value)


def _check_sizes(record: Any) -> None:
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if field.type is int:
            _check_int(value, field.name)
        elif field.type is float:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            _check(number and value > 0, f"{field.name} {value!r}", "a positive number")


def _check_int(value: Any, name: str, *, least: int = 1) -> int:
    is_int = isinstance(value, int) and not isinstance(value, bool)
    _check(is_int and value >= least, f"{name} {value!r}", f"an integer of at least {least}")
    return value


def _check(valid: bool, given: str, wanted: str) -> None:
    if not valid:
        raise ConfigError(f"{given}; wanted {wanted}; correct the configuration or use another model")
