r"""The chat template of Qwen2.5-VL: the only file that knows how a dialogue is written in tokens.

A turn is <|im_start|>role\n ... <|im_end|>\n, an image <|vision_start|><|image_pad|>...<|vision_end|> with one pad for
each merged token. Ids are put together piece by piece and sampled ids are kept as they are, never turned to text and
back. The ids equal those of transformers' `apply_chat_template` with `TEMPLATE`, with two deliberate exceptions: tokens
spelt out in a user's text stay plain text, and an assistant's text begins anew behind its header, as it does when it is
sampled (which matters only to text that begins with a line break).
"""

import dataclasses
from collections.abc import Sequence

from vigorl_jax.processing.tokenizer import Tokenizer

DEFAULT_SYSTEM = "You are a helpful assistant."
ROLES = ("system", "user", "assistant")

# Saved as chat_template.jinja into model directories, for transformers and servers.
TEMPLATE = r"""{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
        {{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\n' }}
    {%- if message.content is string %}
        {{- message.content }}
    {%- else %}
        {%- for part in message.content %}
            {%- if part.type in ('image', 'image_url') or 'image' in part or 'image_url' in part %}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' }}
            {%- elif part.type == 'video' or 'video' in part %}
                {{- raise_exception('This model was trained without video; give its frames as images.') }}
            {%- elif 'text' in part %}
                {{- part.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""


@dataclasses.dataclass(frozen=True)
class ImageSlot:
    """The place of an image in a message.

    Attributes:
      num_tokens: Merged tokens of the image: `ImageSettings.num_tokens` of its grid.
    """

    num_tokens: int

    def __post_init__(self) -> None:
        """Refuses an image without tokens."""
        if self.num_tokens < 1:
            raise ValueError(f"an image takes at least one token, got {self.num_tokens}")


Part = str | ImageSlot


@dataclasses.dataclass(frozen=True)
class Message:
    """One turn.

    Attributes:
      role: system, user or assistant.
      parts: Text and images in the order in which the model sees them.
    """

    role: str
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        """Refuses other roles, and images outside of user turns."""
        if self.role not in ROLES:
            raise ValueError(f"role {self.role!r} is none of {', '.join(ROLES)}")
        if self.role != "user" and any(isinstance(part, ImageSlot) for part in self.parts):
            raise ValueError(f"images belong in user messages, not in those of role {self.role}")


def encode_conversation(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """Ids of whole turns, led by the default system message where the first is not a system message."""
    if not messages or messages[0].role != "system":
        messages = [Message("system", (DEFAULT_SYSTEM,)), *messages]
    return [index for message in messages for index in encode_message(tokenizer, message)]


def encode_message(tokenizer: Tokenizer, message: Message) -> list[int]:
    """Ids of one whole turn.

    System and assistant text are ours: their tool tags are tokens. User text is anybody's: nothing in it is parsed.
    """
    if message.role == "assistant":
        target = assistant_target(tokenizer, "".join(message.parts))
        return generation_prompt(tokenizer) + target + close_assistant(tokenizer, target)
    encode = tokenizer.encode_plain if message.role == "user" else tokenizer.encode_with_tool_tags
    ids = [tokenizer.control.im_start]
    text = f"{message.role}\n"
    for part in message.parts:
        if isinstance(part, ImageSlot):
            ids += encode(text) + _image(tokenizer, part)
            text = ""
        else:
            text += part  # neighbouring texts meet inside one token, as in the rendered template
    return ids + encode(text) + [tokenizer.control.im_end] + tokenizer.encode_plain("\n")


def open_conversation(
    tokenizer: Tokenizer, parts: Sequence[Part], *, system: str = DEFAULT_SYSTEM
) -> list[int]:
    """Ids up to where the assistant begins: system turn, user turn of the given parts, generation prompt."""
    opening = [Message("system", (system,)), Message("user", tuple(parts))]
    return encode_conversation(tokenizer, opening) + generation_prompt(tokenizer)


def generation_prompt(tokenizer: Tokenizer) -> list[int]:
    """Ids of the assistant's header, behind which it writes."""
    return [tokenizer.control.im_start, *tokenizer.encode_plain("assistant\n")]


def assistant_target(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids that the assistant would have sampled to write this text: what supervised training teaches."""
    return [*tokenizer.encode_with_tool_tags(text), tokenizer.control.im_end]


def close_assistant(tokenizer: Tokenizer, sampled: Sequence[int]) -> list[int]:
    """Ids given behind a sampled turn: the line break, and <|im_end|> before it where sampling stopped without one."""
    ended = len(sampled) > 0 and sampled[-1] == tokenizer.control.im_end
    return [*([] if ended else [tokenizer.control.im_end]), *tokenizer.encode_plain("\n")]


def next_user_turn(tokenizer: Tokenizer, sampled: Sequence[int], parts: Sequence[Part]) -> list[int]:
    """Ids given between two sampled turns: closing of the first, a user turn, the generation prompt."""
    turn = encode_message(tokenizer, Message("user", tuple(parts)))
    return close_assistant(tokenizer, sampled) + turn + generation_prompt(tokenizer)


def _image(tokenizer: Tokenizer, slot: ImageSlot) -> list[int]:
    control = tokenizer.control
    return [control.vision_start, *[control.image_pad] * slot.num_tokens, control.vision_end]
