"""Web action (ICAL, VisualWebArena): the next browser action, given a screenshot with numbered marks."""

import dataclasses
import re
from collections.abc import Sequence

from vigorl_jax.tasks import answers
from vigorl_jax.tasks.example import Example
from vigorl_jax.tasks.task import Task, ZoomPreset

# As wide as web grounding, because both look at screenshots, but without the dot, which would cover the
# number of a mark. The official code has no multi-turn web action run.
ZOOM = ZoomPreset(offset=100, side=512, dot=False)

_KIND = re.compile(r"(click|type|scroll|go_back|stop)\s*(.*)", re.IGNORECASE | re.DOTALL)
_ELEMENT = re.compile(r"\[\s*([0-9]{1,9})\s*\]\s*")
_DIRECTION = re.compile(r"\[\s*(up|down)\s*\]", re.IGNORECASE)
_ENTER_FLAG = re.compile(r"\]\s*\[\s*[01]\s*\Z")


@dataclasses.dataclass(frozen=True)
class Action:
    """One browser action.

    Attributes:
      kind: "click", "type", "scroll", "go_back" or "stop".
      element: Number of the marked element, for click and type; else None.
      text: Typed text, direction of a scroll, or answer of a stop; else empty.
    """

    kind: str
    element: int | None = None
    text: str = ""


def parse(text: str) -> Action | None:
    """Reads one action; None when the text is anything else, several actions included.

    Capitals and white space do not matter: `CLICK [12]` and `click[12]` are the same. Brackets inside a typed
    text are kept (`type [4] [a [b]]`), and the press-enter flag of VisualWebArena (`type [4] [a] [1]`) is
    dropped.
    """
    match = _KIND.fullmatch(text.strip())
    if match is None:
        return None
    kind, rest = match[1].lower(), match[2]
    if kind == "go_back":
        return None if rest else Action(kind)
    if kind == "scroll":
        direction = _DIRECTION.fullmatch(rest)
        return Action(kind, text=direction[1].lower()) if direction else None
    if kind == "stop":
        return Action(kind, text=_bracketed(rest)) if not rest or _is_bracketed(rest) else None
    return _parse_element_action(kind, rest)


def _parse_element_action(kind: str, rest: str) -> Action | None:
    element = _ELEMENT.match(rest)
    if element is None:
        return None
    number, tail = int(element[1]), rest[element.end() :]
    if kind == "click":
        return None if tail else Action(kind, number)
    if not _is_bracketed(tail):
        return None
    typed = _bracketed(tail)
    flag = _ENTER_FLAG.search(typed)
    return Action(kind, number, typed[: flag.start()].strip() if flag else typed)


def _is_bracketed(text: str) -> bool:
    return len(text) >= 2 and text[0] == "[" and text[-1] == "]"


def _bracketed(text: str) -> str:
    return text[1:-1].strip()


def agreement(action: Action | None, reference: Action | None) -> float:
    """0.0 for different kinds of action, 0.5 for the same kind, 1.0 when the element and the text agree too.

    The 0.5 + 0.5 of the paper (A5.2): type and arguments. Texts are compared after `answers.normalise`. An
    action that could not be read agrees with nothing. `type [12] [abc]` against `type [12] [xyz]` is 0.5.
    """
    if action is None or reference is None or action.kind != reference.kind:
        return 0.0
    same_element = action.element == reference.element
    return (
        1.0 if same_element and answers.normalise(action.text) == answers.normalise(reference.text) else 0.5
    )


def read(answer: str, example: Example) -> Action | None:
    """The action that the answer gives; None when it cannot be read as exactly one."""
    del example  # An action reads the same whatever was asked.
    return parse(answer)


def accuracy(answer: str, example: Example) -> float:
    """`agreement` with the reference action.

    Raises:
      ValueError: the reference of the example is not an action.
    """
    reference = parse(example.answer)
    if reference is None:
        raise ValueError(
            f"Example {example.id!r}: the reference {example.answer!r} is not an action like click [12]."
        )
    return agreement(parse(answer), reference)


def question_text(objective: str, previous_actions: Sequence[str] = ()) -> str:
    """The user's request in the layout of the released data: the objective, the actions so far, the image."""
    previous = [f"{number}. {action}" for number, action in enumerate(previous_actions, start=1)] or ["None"]
    return "\n".join([f"OBJECTIVE: {objective.strip()}", "", "PREVIOUS ACTIONS:", *previous, "", "IMAGE:"])


_ACTION_FORMS = """The answer is exactly one action, in one of these forms:
  click [id]            click the element with this id
  type [id] [content]   type the content into the field with this id; Enter is pressed afterwards by default
  scroll [down]         scroll the page down; scroll [up] scrolls it up
  go_back               return to the previous page
  stop [answer]         end the task with the answer asked for; leave the brackets empty if none is needed"""

TASK = Task(
    name="web_action",
    reward_family="action",
    zoom=ZOOM,
    goal="navigate a web browser towards an objective by issuing the one action that makes most progress",
    inputs=(
        "OBJECTIVE: what is to be achieved.",
        "IMAGE: a screenshot with a set of marks: every interactable element has a box and a numeric id, and "
        "a box and its id share one colour.",
        "PREVIOUS ACTIONS: what was done so far, with the text of each button in place of its id.",
    ),
    reasoning=(
        "In each step describe a region of the page, evaluate it, and propose the action that it suggests.",
        "Weigh alternative actions before you choose one.",
    ),
    answer_rules=(
        _ACTION_FORMS,
        "Issue one action only, in the correct format, and one that is possible on the page shown.",
        "Issue stop as soon as the objective is reached, and write nothing after it.",
    ),
    right_answer="click [17]",
    wrong_answer="click the search button [17], then type [4] [kite]",
    guidance=(
        "If several actions seem possible, take the one that most surely brings the objective closer.",
    ),
    read=read,
    accuracy=accuracy,
)
