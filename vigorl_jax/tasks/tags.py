"""The tags of the protocol, and how to find what they enclose: plain string searches, linear in the text.

A reply holds `<think>`, `<answer>` and `<tool_call>` blocks; the user turn after a zoom holds an
`<observation>`.
"""

THINK = "think"
ANSWER = "answer"
TOOL_CALL = "tool_call"
OBSERVATION = "observation"


def opening(tag: str) -> str:
    """The opening tag: `opening("think")` is `<think>`."""
    return f"<{tag}>"


def closing(tag: str) -> str:
    """The closing tag: `closing("think")` is `</think>`."""
    return f"</{tag}>"


def first_block(text: str, tag: str) -> str | None:
    """What stands between the first opening tag and the next closing tag; None without such a pair.

    `first_block("a<answer> b </answer>", "answer")` is `" b "`.
    """
    start = text.find(opening(tag))
    if start < 0:
        return None
    start += len(opening(tag))
    end = text.find(closing(tag), start)
    return None if end < 0 else text[start:end]


def blocks(text: str, tag: str) -> list[str]:
    """What stands in each block of this tag, in order; a block ends at the first closing tag."""
    found = []
    position = 0
    while (start := text.find(opening(tag), position)) >= 0:
        start += len(opening(tag))
        end = text.find(closing(tag), start)
        if end < 0:
            break
        found.append(text[start:end])
        position = end + len(closing(tag))
    return found


def without_thoughts(text: str) -> str:
    """The text less its think blocks, so that nothing that was only considered is taken for an action.

    Text before a `</think>` that was never opened is thought too (some chat templates open the block
    themselves). A block that is never closed stays, because an action written inside it is still the only one
    there is.
    """
    kept = []
    position = 0
    first_close = text.find(closing(THINK))
    if opening(THINK) not in text[: max(first_close, 0)] and first_close >= 0:
        position = first_close + len(closing(THINK))
    while (start := text.find(opening(THINK), position)) >= 0:
        end = text.find(closing(THINK), start)
        if end < 0:
            break
        kept.append(text[position:start])
        position = end + len(closing(THINK))
    kept.append(text[position:])
    return "".join(kept)
