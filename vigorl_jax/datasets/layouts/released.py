"""Layouts of the released ViGoRL training data: RL records, two-message conversations, chat dialogues."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from vigorl_jax.datasets import fields
from vigorl_jax.datasets.layouts.layout import (
    PLACEHOLDER,
    Draft,
    Keys,
    Layout,
    Place,
    image_cell,
    metadata_of,
    save_images,
    without_placeholders,
    write_json,
    write_jsonl,
    write_parquet,
)
from vigorl_jax.datasets.refusals import RecordError
from vigorl_jax.datasets.rows import Row
from vigorl_jax.tasks.example import Example

_ANSWER_BLOCK = re.compile(r"<answer>\s*(.+?)\s*</answer>", re.DOTALL)
_ROLES = ("system", "user", "assistant")


def _boxes(answer: str, place: Place) -> tuple[tuple[float, ...], ...]:
    """The box of a grounding record, whose answer is the text `(x1, y1, x2, y2)` in stored pixels."""
    if place.task != "web_grounding":
        return ()
    box = fields.box_of_text(answer)
    if box is None:
        raise RecordError("wrong_type", f"the answer must be a box '(x1, y1, x2, y2)', got {answer[:100]!r}.")
    return (box,)


def parse_rl(row: Row, place: Place) -> Draft:
    """`{problem, answer, images, ...}`, under the names of `place.keys`; others become metadata."""
    keys = place.keys
    images = place.images(fields.required(row, keys.images))
    answer = fields.text(row, keys.answer)
    known = {"id", keys.question, keys.answer, keys.images}
    return Draft(
        id=fields.identifier(row, "id") if "id" in row else place.row_id(),
        question=without_placeholders(fields.text(row, keys.question), len(images)),
        answer=answer,
        images=images,
        boxes=_boxes(answer, place),
        metadata=fields.extras(row, known),
    )


def _rl_record(example: Example, images: Sequence, keys: Keys) -> dict:
    question = PLACEHOLDER * len(images) + example.question
    facts = metadata_of(example, tuple(example.metadata))
    return {
        "id": example.id,
        keys.question: question,
        keys.answer: example.answer,
        keys.images: images,
        **facts,
    }


def write_rl_jsonl(examples: Sequence[Example], root: Path, file: str) -> None:
    """RL records with image paths that count from the root."""
    folder = f"{Path(file).parent.as_posix()}/images"
    write_jsonl(
        (_rl_record(example, save_images(example, root, folder), Keys()) for example in examples), root / file
    )


def parse_boxed_rl(row: Row, place: Place) -> Draft:
    """An RL record with one more column, `boxes`: a list of (x0, y0, x1, y1) in stored pixels."""
    boxes = tuple(fields.numbers(box, "boxes", 4) for box in fields.items(row, "boxes"))
    rest = {key: value for key, value in row.items() if key != "boxes"}
    return dataclasses.replace(parse_rl(rest, place), boxes=boxes)


def write_boxed_rl_jsonl(examples: Sequence[Example], root: Path, file: str) -> None:
    """As `write_rl_jsonl`, with the boxes."""
    folder = f"{Path(file).parent.as_posix()}/images"
    records = (
        {**_rl_record(example, save_images(example, root, folder), Keys()), "boxes": list(example.boxes)}
        for example in examples
    )
    write_jsonl(records, root / file)


def write_rl_parquet(examples: Sequence[Example], root: Path, file: str) -> None:
    """RL records with the encoded images in the table."""
    cells = ((example, [image_cell(data) for data in example.images]) for example in examples)
    write_parquet([_rl_record(example, images, Keys()) for example, images in cells], root / file)


def write_visualprobe(examples: Sequence[Example], root: Path, file: str) -> None:
    """A JSON list of RL records whose answer column is `solution`."""
    folder = f"{Path(file).parent.as_posix()}/data"
    keys = Keys(answer="solution")
    write_json(
        [_rl_record(example, save_images(example, root, folder), keys) for example in examples], root / file
    )


def parse_conversation(row: Row, place: Place) -> Draft:
    """`{id, image, conversations: [{from, value: question}, {from, value: answer}]}`; one or more images."""
    turns = fields.items(row, "conversations")
    if len(turns) < 2 or not all(isinstance(turn, Mapping) for turn in turns):
        raise RecordError("wrong_type", "'conversations' needs a question and an answer, each {from, value}.")
    images = place.images(fields.required(row, "image"))
    answer = fields.text(turns[1], "value")
    block = _ANSWER_BLOCK.fullmatch(answer.strip())
    answer = block[1] if block else answer
    return Draft(
        id=fields.identifier(row, "id"),
        question=without_placeholders(fields.text(turns[0], "value"), len(images)),
        answer=answer,
        images=images,
        boxes=_boxes(answer, place),
        metadata=fields.extras(row, ("id", "image", "conversations")),
    )


def write_conversations(examples: Sequence[Example], root: Path, file: str) -> None:
    """Conversation records; one image is a path, several are a list of paths."""
    folder = f"{Path(file).parent.as_posix()}/images"

    def record(example: Example) -> dict:
        images = save_images(example, root, folder)
        turns = [{"from": "human", "value": PLACEHOLDER * len(images) + example.question}]
        turns.append({"from": "gpt", "value": example.answer})
        image = images[0] if len(images) == 1 else images
        return {"id": example.id, "image": image, "conversations": turns, **example.metadata}

    write_jsonl(map(record, examples), root / file)


def parse_dialogue(row: Row, place: Place) -> Draft:
    """Sharegpt chat `{messages: [{role, content}], images, gt_answer?}`; the messages are kept whole as JSON
    text.

    The question is the first user message, the answer is `gt_answer`, else the last answer block of the chat.
    """
    messages = [_message(message) for message in fields.items(row, "messages")]
    images = place.images(fields.required(row, "images"))
    marks = sum(message["content"].count(PLACEHOLDER) for message in messages)
    if marks != len(images):
        raise RecordError("placeholder_mismatch", f"{marks} {PLACEHOLDER} marks for {len(images)} images.")
    asked = [message["content"] for message in messages if message["role"] == "user"]
    said = [message["content"] for message in messages if message["role"] == "assistant"]
    if not asked or not said:
        raise RecordError("wrong_type", "'messages' needs at least one user and one assistant message.")
    return Draft(
        id=fields.identifier(row, "id") if "id" in row else place.row_id(),
        question=without_placeholders(asked[0], asked[0].count(PLACEHOLDER)),
        answer=fields.text(row, "gt_answer") if row.get("gt_answer") else _last_answer(said),
        images=images,
        metadata={"messages": fields.json_text(messages)},
    )


def _message(message: object) -> dict[str, str]:
    if not isinstance(message, Mapping) or message.get("role") not in _ROLES:
        raise RecordError("wrong_type", f"a message is {{role, content}} with a role of {', '.join(_ROLES)}.")
    return {"role": message["role"], "content": fields.text(message, "content")}


def _last_answer(said: Sequence[str]) -> str:
    blocks = _ANSWER_BLOCK.findall(said[-1])
    if not blocks:
        raise RecordError("missing_key", "no 'gt_answer', and the last message has no <answer> block.")
    return blocks[-1]


def _dialogue_records(examples: Sequence[Example], root: Path, file: str) -> list[dict]:
    folder = f"{Path(file).parent.as_posix()}/images"
    return [
        {
            "id": example.id,
            "messages": json.loads(str(example.metadata["messages"])),
            "images": save_images(example, root, folder),
            "gt_answer": example.answer,
        }
        for example in examples
    ]


def write_dialogues(examples: Sequence[Example], root: Path, file: str) -> None:
    """Chat dialogues as one JSON list."""
    write_json(_dialogue_records(examples, root, file), root / file)


RL_JSONL = Layout("RL records (jsonl)", parse_rl, write_rl_jsonl)
BOXED_RL_JSONL = Layout("RL records with boxes (jsonl)", parse_boxed_rl, write_boxed_rl_jsonl)
RL_PARQUET = Layout("RL records (parquet)", parse_rl, write_rl_parquet)
VISUALPROBE = Layout("RL records (JSON list, answer in 'solution')", parse_rl, write_visualprobe)
CONVERSATIONS = Layout("conversations (jsonl)", parse_conversation, write_conversations)
DIALOGUES = Layout("chat dialogues (JSON list)", parse_dialogue, write_dialogues)
