"""The tokenizer of the tiny model: phrases of GlyphSearch dialogues as tokens, single bytes for all else."""

import re

import tokenizers
from tokenizers import models, pre_tokenizers

from vigorl_jax.processing.chat import ROLES
from vigorl_jax.processing.model_files import with_added_tokens
from vigorl_jax.reasoning import prompts, turns
from vigorl_jax.reasoning.calls import Zoom
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.tasks import tags
from vigorl_jax.tasks.glyph_levels import COLOURS, LETTERS, SHAPES

# Short, because every token is computed in every episode.
SYSTEMS = {
    Condition.BASE: "Answer.",
    Condition.VANILLA: "Think, then answer.",
    Condition.GROUNDED: "Point, then answer.",
    Condition.MULTITURN: "Zoom, then answer.",
}
EXERCISE_SYSTEM = "Describe."
POINT_AT = "Where is the"
# What signs are called.
NAMES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)

TOOL_TAGS = (tags.opening(tags.TOOL_CALL), tags.closing(tags.TOOL_CALL))

_QUESTIONS = (
    "Which letter is on the", "Which letters are on the", "Do the", " and the", " show the same letter?",
    "Is the letter", " left or right of the letter", "?",
)  # fmt: skip
_THOUGHTS = (
    " The", "\nThe", " is at (", ", ", ").", " shows", " This is the", " Wait, the", ": the same letter",
    ": another letter", " is", " of the", " yes", " no", " left", " right",
)  # fmt: skip
# Of the sentences that answer a turn which cannot be carried out: they are read, never written.
_REFUSALS = (
    "the", "tool", "call", "message", "image", "coordinate", "coordinates", "arguments", "must", "be", "a", "an",
    "are", "not", "was", "hold", "held", "lie", "in", "to", "it", "or", "for", "from", "keep", "at", "least",
    "pixels", "away", "looked", "before", "place", "there", "such", "only", "one", "two", "numbers", "list",
    "given", "valid", "object", "nothing", "closed", "answer", "layout", "your", "final", "outside", "which",
    "Write", "neither", "nor",
)  # fmt: skip


def phrases() -> tuple[str, ...]:
    """Every text that is a token of its own, added tokens and single bytes left out, in a fixed order."""
    before, after = prompts.observation()
    think, call = turns.write_zoom("|", Zoom((11, 22))).split(" | ")[0], turns.write_zoom("|", Zoom((11, 22)))
    call_start, call_end = re.split(r"11, 22", call.split(TOOL_TAGS[0])[1].split(TOOL_TAGS[1])[0])
    thought_end = f" {tags.closing(tags.THINK)}\n"
    words = (*COLOURS, *SHAPES, *LETTERS, *_REFUSALS)
    found = (
        *(f"{role}\n" for role in ROLES), *SYSTEMS.values(), EXERCISE_SYSTEM, POINT_AT,
        think, thought_end, call_start, call_end, before, after, f"{tags.opening(tags.OBSERVATION)}\n",
        tags.opening(tags.ANSWER), f" {tags.closing(tags.ANSWER)}", tags.closing(tags.ANSWER),
        *_QUESTIONS, *_THOUGHTS, *(f" {word}" for word in words),
    )  # fmt: skip
    return tuple(dict.fromkeys(phrase for phrase in found if len(phrase) > 1))


def tokenizer() -> tokenizers.Tokenizer:
    """Ids 0 to 255 are single bytes, then come the phrases, then the added tokens; any text can be written.

    A phrase is one token wherever it stands, the longest first: "Which letter is on the red circle?" is 4 tokens.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    spelt = [as_bytes.pre_tokenize_str(phrase)[0][0] for phrase in phrases()]
    vocabulary = {token: number for number, token in enumerate([*alphabet, *spelt])}
    # Pieces that are tokens are taken as they are; merges, of which there are none, would join what is left.
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, merges=[], ignore_merges=True))
    cut = pre_tokenizers.Split(tokenizers.Regex(_pattern()), behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([cut, as_bytes])
    return with_added_tokens(backend, TOOL_TAGS)


def _pattern() -> str:
    """Any phrase, the longest first; one that ends in a letter is not the beginning of a word."""
    longest_first = sorted(phrases(), key=len, reverse=True)
    ends = (r"(?![A-Za-z])" if phrase[-1].isalpha() else "" for phrase in longest_first)
    return "|".join(re.escape(phrase) + end for phrase, end in zip(longest_first, ends, strict=True))
