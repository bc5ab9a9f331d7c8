"""A tokenizer of single bytes with Qwen2.5's added tokens, and the text and image files of a tiny model directory."""

import json
import pathlib

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

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


def byte_tokenizer() -> tokenizers.Tokenizer:
    """Ids 0 to 255 are single bytes in GPT-2's order, 256 to 277 the added tokens of Qwen2.5: <|im_end|> is 258."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, merges=[]))
    return with_added_tokens(tokenizer)


def with_added_tokens(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Completes a byte-level BPE model: normalization, bytes in and out, and the added tokens behind its vocabulary."""
    tokenizer.normalizer = normalizers.NFC()
    if tokenizer.pre_tokenizer is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    for names, special in ((SPECIAL_TOKENS, True), (TEXT_TOKENS, False)):
        tokenizer.add_tokens(
            [tokenizers.AddedToken(name, special=special, normalized=False) for name in names]
        )
    return tokenizer


def write_tokenizer_files(directory: str | pathlib.Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json and chat_template.jinja, which transformers.AutoTokenizer loads."""
    path = pathlib.Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    byte_tokenizer().save(str(path / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 131072,
        "clean_up_tokenization_spaces": False,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
    (path / "chat_template.jinja").write_text(TEMPLATE)


def write_processor_files(directory: str | pathlib.Path, settings: ImageSettings) -> None:
    """Writes preprocessor_config.json with both namings of the pixel limits, for transformers 4 and 5."""
    path = pathlib.Path(directory)
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
