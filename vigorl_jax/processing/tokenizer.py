"""The text tokenizer of a model directory, with control tokens that no text can produce.

Special tokens in questions, web pages or sampled text stay plain text: only `chat` places control ids, by name.
"""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Sequence

import tokenizers

TOOL_TAGS = ("<tool_call>", "</tool_call>")


@dataclasses.dataclass(frozen=True)
class ControlIds:
    """Ids of the tokens that structure a dialogue."""

    end_of_text: int
    im_start: int
    im_end: int
    vision_start: int
    vision_end: int
    image_pad: int
    video_pad: int


_CONTROL_NAMES = {field.name: f"<|{field.name}|>" for field in dataclasses.fields(ControlIds)}
_CONTROL_NAMES["end_of_text"] = "<|endoftext|>"


class Tokenizer:
    """A byte-level BPE tokenizer: text to ids and back, exactly.

    Attributes:
      control: The ids of the dialogue's control tokens.
      special_ids: Ids of all special tokens, those of `control` among them; a sampler may ban all but im_end.
      vocab_size: One more than the largest id.
    """

    def __init__(self, backend: tokenizers.Tokenizer):
        """Takes a tokenizer of the Qwen2.5 family.

        Raises:
          ValueError: it is not byte-level, or lacks control tokens.
        """
        if not isinstance(backend.decoder, tokenizers.decoders.ByteLevel):
            raise ValueError(
                f"the tokenizer decodes by {backend.decoder}; a byte-level one is needed, as Qwen2.5's"
            )
        added = backend.get_added_tokens_decoder()
        ids = {token.content: index for index, token in added.items()}
        missing = [name for name in _CONTROL_NAMES.values() if name not in ids]
        if missing:
            raise ValueError(f"the tokenizer lacks {', '.join(missing)}; take that of a Qwen2.5-VL model")
        self.control = ControlIds(**{field: ids[name] for field, name in _CONTROL_NAMES.items()})
        self.special_ids = frozenset(index for index, token in added.items() if token.special)
        self.vocab_size = max(backend.get_vocab().values()) + 1
        self._tool_ids = {tag: ids[tag] for tag in TOOL_TAGS if tag in ids}
        self._added = {index: token.content for index, token in added.items()}
        self._bytes: dict[int, bytes] = {}  # of the tokens met so far
        self._backend = backend
        self._plain = _without_added_tokens(backend)

    @classmethod
    def load(cls, model_dir: str | pathlib.Path) -> "Tokenizer":
        """Reads tokenizer.json, or lets transformers build it from vocab.json and merges.txt.

        Raises:
          ValueError: no tokenizer files, or not of this family.
        """
        path = pathlib.Path(model_dir)
        file = path / "tokenizer.json"
        try:
            if file.is_file():
                return cls(tokenizers.Tokenizer.from_buffer(file.read_bytes()))
            if (path / "vocab.json").is_file() and (path / "merges.txt").is_file():
                return cls(_from_vocabulary(path))
        except Exception as error:  # the tokenizers library raises bare Exceptions
            raise ValueError(f"tokenizer of {path}: {error}") from error
        raise ValueError(
            f"{path} holds no tokenizer.json, nor vocab.json and merges.txt; give a model directory"
        )

    def encode_plain(self, text: str) -> list[int]:
        """Ids of text from anywhere; nothing in it is parsed: "<|im_end|>" and "<tool_call>" are plain characters.

        Raises:
          ValueError: half a surrogate pair, as JSON may spell it; it is no character and has no bytes.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = text[error.start]
            raise ValueError(
                f"character {error.start} of {text[:40]!r} is {half!r}, half a surrogate pair; remove or repair it"
            ) from error
        return self._plain.encode(text, add_special_tokens=False).ids

    def encode_with_tool_tags(self, text: str) -> list[int]:
        """Ids of our own prompts and of assistant text: <tool_call> and </tool_call> are tokens, all else is plain."""
        if not self._tool_ids:
            return self.encode_plain(text)
        ids = []
        for piece in re.split(f"({'|'.join(map(re.escape, self._tool_ids))})", text):
            if piece in self._tool_ids:
                ids.append(self._tool_ids[piece])
            elif piece:
                ids.extend(self.encode_plain(piece))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids, special tokens included; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The exact bytes of one token, which may be part of a character: stop strings are sought in bytes.

        Raises:
          ValueError: no token has this id (embedding tables are often longer than the vocabulary).
        """
        found = self._bytes.get(token_id)
        if found is None:
            found = self._bytes[int(token_id)] = self._read_bytes(int(token_id))
        return found

    def _read_bytes(self, token_id: int) -> bytes:
        if token_id in self._added:
            return self._added[token_id].encode()
        token = self._backend.id_to_token(token_id) if token_id >= 0 else None
        if token is None:
            raise ValueError(f"no token has the id {token_id}; ids of text are below {self.vocab_size}")
        table = _byte_of_character()
        return bytes(table[character] for character in token)


def _without_added_tokens(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    plain = tokenizers.Tokenizer(backend.model)
    plain.normalizer = backend.normalizer
    plain.pre_tokenizer = backend.pre_tokenizer
    return plain


def _from_vocabulary(path: pathlib.Path) -> tokenizers.Tokenizer:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(path, local_files_only=True).backend_tokenizer


@functools.cache
def _byte_of_character() -> dict[str, int]:
    """GPT-2's one-to-one map of bytes to printable characters, read backwards."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + rank): byte for rank, byte in enumerate(others)}
