"""Reading an answer out of a reply, and comparing answers: text, option letters, points, boxes.

One extractor for rewards and evaluation: the `<answer>` block first, then a small bounded set of patterns,
then None. A letter is never guessed, and think blocks are never searched. All patterns run in time linear in
the text.
"""

import re
from collections.abc import Sequence

from vigorl_jax.tasks import tags
from vigorl_jax.tasks.example import Example

# At most 9 digits on each side of the decimal point: no coordinate needs more, and conversions stay cheap.
_NUMBER = r"([+-]?(?:[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9}))"
_PAIR = rf"\s*{_NUMBER}\s*,\s*{_NUMBER}\s*"
_POINT = re.compile(rf"\({_PAIR}\)|\[{_PAIR}\]")
_NAMED_POINT = re.compile(rf"\bx\s*=\s*{_NUMBER}\s*(?:,\s*)?y\s*=\s*{_NUMBER}")
_PLAIN_POINT = re.compile(rf"\({_PAIR}\)")
_BOX = re.compile(rf"\({_PAIR},{_PAIR}\)|\[{_PAIR},{_PAIR}\]")

_QUOTES = "\"'`\u2018\u2019\u201c\u201d "
_FINAL_PUNCTUATION = ".,;:!"

_OPTION_PREFIX = re.compile(r"(?:\([A-Za-z]\)|[A-Za-z][.):])\s*")
_ONLY_LETTER = re.compile(r"\(?([A-Za-z])\)?[.:]?")
_LEADING_LETTER = re.compile(r"(?:\(([A-Za-z])\)|([A-Za-z])[.):])(?=\s)")
# A and I are also words: without brackets they count as letters only at the end of a clause.
_CUED_LETTER = re.compile(
    r"\b(?i:answer|option|choice|choose|pick|select)(?i:\s+is)?\s*(?::\s*)?(?i:option\s+)?"
    r"(?:\(([A-Za-z])\)|([AI])(?=\s*(?:[.,;:!?]|\Z))|([B-HJ-Z])(?![\w'-]|\s+(?:or|and)\b))"
)
_BRACKETED_LETTER = re.compile(r"\(([A-Z])\)")

Point = tuple[float, float]


def extract(reply: str) -> str | None:
    """The first `<answer>` block outside the think blocks, stripped; None when there is none.

    `extract("<think>a</think><answer> B </answer>")` is `"B"`.
    """
    block = tags.first_block(tags.without_thoughts(reply), tags.ANSWER)
    return None if block is None else block.strip()


def extract_or_all(reply: str) -> str:
    """The `<answer>` block, or everything outside the think blocks when there is no such block, stripped."""
    answer = extract(reply)
    return tags.without_thoughts(reply).strip() if answer is None else answer


def normalise(text: str) -> str:
    """Text for comparison: case folded, white space collapsed, quotes around, punctuation after it dropped.

    `normalise(' "Red  Car." ')` is `"red car"`. A text of nothing but punctuation stays as it is.
    """
    folded = " ".join(text.casefold().split())
    return folded.lstrip(_QUOTES).rstrip(_QUOTES + _FINAL_PUNCTUATION) or folded


def same_text(answer: str, reference: str) -> bool:
    """Whether two answers agree after `normalise`, less one option prefix (`A.`, `B)`, `(C)`, `D:`) or not.

    Nothing is matched as a part of something longer: `no` is not `nothing`.
    """
    return not _readings(answer).isdisjoint(_readings(reference))


def _readings(text: str) -> set[str]:
    """The normalised text and, unless nothing would be left, the same without its option prefix."""
    whole = normalise(text)
    rest = (
        normalise(_OPTION_PREFIX.sub("", text.strip(), count=1)) if _OPTION_PREFIX.match(text.strip()) else ""
    )
    return {whole, rest} if rest else {whole}


def letter(answer: str, count: int = 26) -> str | None:
    """The one option letter that an answer names, as a capital; None when it names none, or several.

    Read in this order: a letter alone (`b`, `(B)`, `B.`), a letter after a word such as "answer is" or
    "option", a leading `(B)`, `B.` or `B)`, the only bracketed capital of the text, the only one of its last
    paragraph. `A red car` names none.

    Args:
      answer: Text of the answer, without tags.
      count: Number of options; letters beyond are not letters.
    """
    text = answer.strip()
    if match := _ONLY_LETTER.fullmatch(text):
        return _only([match[1]], count)
    cues = list(_CUED_LETTER.finditer(text))
    if cues:
        said = [match[1] or match[2] or match[3] for match in cues]
        return _only([*said, *_BRACKETED_LETTER.findall(text, cues[0].end())], count)
    named = _BRACKETED_LETTER.findall(text)
    if match := _LEADING_LETTER.match(text):
        named.append(match[1] or match[2])
    only = _only(named, count)
    _, blank_line, last_paragraph = text.rpartition("\n\n")
    if only is None and blank_line:
        return _only(_BRACKETED_LETTER.findall(last_paragraph), count)
    return only


def _only(letters: Sequence[str], count: int) -> str | None:
    found = {found.upper() for found in letters}
    only = found.pop() if len(found) == 1 else None
    return only if only and ord(only) - ord("A") < count else None


def option(answer: str, choices: Sequence[str]) -> int | None:
    """Index of the option that an answer names, by text first and by letter second; None when unclear.

    With choices ("left", "right"): `Left.`, `A`, `(A) left`, `the answer is A` are 0; `centre`, `A or B` are
    None.
    """
    for index, choice in enumerate(choices):
        if normalise(answer) == normalise(choice):
            return index
    for index, choice in enumerate(choices):
        if same_text(answer, choice):
            return index
    named = letter(answer, len(choices))
    return None if named is None else ord(named) - ord("A")


def points(text: str) -> list[Point]:
    """All points `(x, y)` and `[x, y]` of a text in order, as floats; signs and decimals allowed."""
    return [(float(match[1] or match[3]), float(match[2] or match[4])) for match in _POINT.finditer(text)]


def point(answer: str) -> Point | None:
    """The one point that an answer gives: `(x, y)`, `[x, y]` or `x=.., y=..`; None for none or several.

    Two bare numbers (`50 60`) are not a point. The frame is the caller's: nothing is guessed from the
    numbers.
    """
    found = set(points(answer))
    found.update((float(match[1]), float(match[2])) for match in _NAMED_POINT.finditer(answer))
    return found.pop() if len(found) == 1 else None


def is_plain_point(answer: str) -> bool:
    """Whether an answer is nothing but `(x, y)`, as the prompts ask; white space around it is fine."""
    return _PLAIN_POINT.fullmatch(answer.strip()) is not None


def box(text: str) -> tuple[float, float, float, float] | None:
    """The box `(x0, y0, x1, y1)`, in round or square brackets, that is the whole text; None otherwise."""
    match = _BOX.fullmatch(text.strip())
    if match is None:
        return None
    x0, y0, x1, y1 = (float(value) for value in match.groups() if value is not None)
    return x0, y0, x1, y1


def is_same_answer(answer: str, reference: str, choices: Sequence[str] = ()) -> bool:
    """Whether a text answer is right: it names the same option if options are known, else the same text."""
    if not choices:
        return same_text(answer, reference)
    chosen, right = option(answer, choices), option(reference, choices)
    if right is None:
        return same_text(answer, reference)
    return chosen == right


def read_text(answer: str, example: Example) -> str | None:
    """The option that the answer names, or the answer to an open question; None when empty or unclear."""
    if not example.choices:
        return answer.strip() or None
    index = option(answer, example.choices)
    return None if index is None else example.choices[index]


def text_accuracy(answer: str, example: Example) -> float:
    """1.0 when `is_same_answer` holds for the example's reference and options, else 0.0."""
    return float(is_same_answer(answer, example.answer, example.choices))
