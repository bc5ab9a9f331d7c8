"""The order of tags in a dialogue: any number of (think, tool call, observation), then think, answer.

A dialogue is one text here, the turns of both sides joined, as rewards receive it.
"""

import re
from collections.abc import Iterable

_TAG = re.compile(r"</?(?:tool_call|observation|think|answer)>")

# state -> {tag: next state}
_NEXT = {
    "turn": {"<think>": "thought"},
    "thought": {"</think>": "action"},
    "action": {"<tool_call>": "call", "<answer>": "answer"},
    "call": {"</tool_call>": "called"},
    "called": {"<observation>": "observation"},
    "observation": {"</observation>": "turn"},
    "answer": {"</answer>": "end"},
    "end": {},
}


def tag_sequence(text: str) -> list[str]:
    """All tags of the protocol in order, lower case only.

    `tag_sequence("<think> a </think>")` is `["<think>", "</think>"]`.
    """
    return _TAG.findall(text)


def accepts(sequence: Iterable[str]) -> bool:
    """Whether the tags are those of a complete dialogue.

    A call without an observation, two think blocks in a row, and anything after the answer are refused. Text
    between the tags is not looked at.
    """
    state = "turn"
    for tag in sequence:
        if tag not in _NEXT[state]:
            return False
        state = _NEXT[state][tag]
    return state == "end"
