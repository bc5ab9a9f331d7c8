"""The text and image files of a model directory: what makes a vocabulary the family's, and how both are written."""

import json
import os
import pathlib
from collections.abc import Sequence

import tokenizers
from tokenizers import decoders, normalizers, pre_tokenizers

from vigorl_jax.processing.chat import TEMPLATE
from vigorl_jax.processing.settings import ImageSettings

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
TEXT_TOKENS = (
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>",
)  # fmt: skip


def with_added_tokens(
    tokenizer: tokenizers.Tokenizer, text_tokens: Sequence[str] = TEXT_TOKENS
) -> tokenizers.Tokenizer:
    """Completes a byte-level BPE model: normalization, bytes in and out, and the added tokens behind its vocabulary.

    text_tokens: added behind the special ones; text may spell them, and they are parsed there.
    """
    tokenizer.normalizer = normalizers.NFC()
    if tokenizer.pre_tokenizer is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    for names, special in ((SPECIAL_TOKENS, True), (text_tokens, False)):
        tokenizer.add_tokens(
            [tokenizers.AddedToken(name, special=special, normalized=False) for name in names]
        )
    return tokenizer


def write_tokenizer_files(
    model_dir: str | os.PathLike[str], tokenizer: tokenizers.Tokenizer, *, max_length: int = 131_072
) -> None:
    """Writes tokenizer.json, tokenizer_config.json and chat_template.jinja, which transformers.AutoTokenizer loads.

    max_length: tokens that the model may hold.
    """
    path = pathlib.Path(model_dir)
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
    (path / "chat_template.jinja").write_text(TEMPLATE)


def write_processor_files(model_dir: str | os.PathLike[str], settings: ImageSettings) -> None:
    """Writes preprocessor_config.json with both namings of the pixel limits, for transformers 4 and 5."""
    path = pathlib.Path(model_dir)
    path.mkdir(parents=True, exist_ok=True)
    config = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "min_pixels": settings.min_pixels,
        "max_pixels": settings.max_pixels,
        "size": {"shortest_edge": settings.min_pixels, "longest_edge": settings.max_pixels},
        "patch_size": settings.patch_size,
        "temporal_patch_size": settings.temporal_patch_size,
        "merge_size": settings.merge_size,
        "image_mean": list(settings.mean),
        "image_std": list(settings.std),
    }
    (path / "preprocessor_config.json").write_text(json.dumps(config, indent=2))
