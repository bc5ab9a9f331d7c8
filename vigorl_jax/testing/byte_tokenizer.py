"""A tokenizer of single bytes with Qwen2.5's added tokens."""

import tokenizers
from tokenizers import models, pre_tokenizers

from vigorl_jax.processing.model_files import with_added_tokens


def byte_tokenizer() -> tokenizers.Tokenizer:
    """Ids 0 to 255 are single bytes in GPT-2's order, 256 to 277 the added tokens of Qwen2.5: <|im_end|> is 258."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, merges=[]))
    return with_added_tokens(tokenizer)
