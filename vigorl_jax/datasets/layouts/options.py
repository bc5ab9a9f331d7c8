"""Layouts of the benchmarks that are answered with an option, a word or a region."""

import ast
import base64
import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase

from vigorl_jax.datasets import fields
from vigorl_jax.datasets.layouts.layout import (
    Draft,
    Layout,
    Place,
    choice_draft,
    choice_index,
    image_cell,
    image_ending,
    metadata_of,
    save_images,
    write_json,
    write_jsonl,
    write_parquet,
)
from vigorl_jax.datasets.refusals import RecordError, SourceError
from vigorl_jax.datasets.rows import Row, Rows, jsonl_rows, object_row
from vigorl_jax.datasets.sources import Limits, Tree
from vigorl_jax.tasks.example import Example

_INLINE_OPTION = re.compile(r"^\s*(?:\(([A-Z])\)|([A-Z])[.:)])\s*(\S.*?)\s*$")
_MAX_LITERAL = 20_000


def split_options(text: str) -> tuple[str, tuple[str, ...]]:
    """Question and options of a text whose options stand on lines `(A) ...` or `A. ...`, in order from A.

    `What?\\n(A) red\\n(B) blue\\nAnswer with a letter.` gives `('What?', ('red', 'blue'))`: what follows the
    options is a request for an output format, which is the prompt's business. Fewer than two options give the
    text unchanged.
    """
    lines = text.strip().split("\n")
    found = [_INLINE_OPTION.match(line) for line in lines]
    start = next(
        (index for index, match in enumerate(found) if match and (match[1] or match[2]) == "A"), len(lines)
    )
    choices = []
    for letter, match in zip(ascii_uppercase, found[start:], strict=False):
        if not match or (match[1] or match[2]) != letter:
            break
        choices.append(match[3])
    if len(choices) < 2 or start == 0:
        return text.strip(), ()
    return "\n".join(lines[:start]).strip(), tuple(choices)


def _lettered(question: str, choices: Sequence[str], form: str) -> str:
    lines = [form.format(letter, choice) for letter, choice in zip(ascii_uppercase, choices, strict=False)]
    return "\n".join([question, *lines, "Reply with the letter of your option."])


def parse_blink(row: Row, place: Place) -> Draft:
    """`{idx, sub_task, question, image_1..image_4, choices, answer: '(A)'}`."""
    cells = [row.get(f"image_{number}") for number in range(1, 5)]
    images = place.images([cell for cell in cells if cell])
    choices = fields.texts(row, "choices")
    index = fields.letter_index(fields.text(row, "answer"), len(choices))
    category = fields.text(row, "sub_task")
    return choice_draft(
        fields.identifier(row, "idx"),
        fields.text(row, "question"),
        choices,
        index,
        images,
        {"category": category},
    )


def write_blink(examples: Sequence[Example], root: Path, file: str) -> None:
    """The hub's parquet; absent images are null."""

    def record(example: Example) -> dict:
        cells = [image_cell(data) for data in example.images]
        return {
            "idx": example.id,
            "sub_task": example.metadata["category"],
            "question": example.question,
            **{f"image_{number + 1}": cells[number] if number < len(cells) else None for number in range(4)},
            "choices": list(example.choices),
            "answer": f"({ascii_uppercase[choice_index(example)]})",
        }

    write_parquet([record(example) for example in examples], root / file)


def parse_hrbench(row: Row, place: Place) -> Draft:
    """`{index, question, A..D, answer: letter, category, cycle_category, image: base64}`.

    The id is `index_cycle`, because one question appears once for each rotation of its options.
    """
    choices = [fields.text(row, letter) for letter in "ABCD"]
    cycle = fields.identifier(row, "cycle_category") if row.get("cycle_category") is not None else "0"
    image = row.get("image")
    data = fields.from_base64(image, "image") if isinstance(image, str) else place.image(image)
    return choice_draft(
        f"{fields.identifier(row, 'index')}_{cycle}",
        fields.text(row, "question"),
        choices,
        fields.letter_index(fields.text(row, "answer"), 4),
        (data,),
        {"category": fields.text(row, "category"), "cycle_category": cycle},
    )


def _hrbench_record(example: Example) -> dict:
    return {
        "index": example.id.rsplit("_", 1)[0],
        "question": example.question,
        **dict(zip("ABCD", example.choices, strict=True)),
        "answer": ascii_uppercase[choice_index(example)],
        "category": example.metadata["category"],
        "cycle_category": example.metadata["cycle_category"],
        "image": base64.b64encode(example.images[0]).decode(),
    }


def write_hrbench(examples: Sequence[Example], root: Path, file: str) -> None:
    """Parquet, or TSV when the file's name says so."""
    records = [_hrbench_record(example) for example in examples]
    if file.endswith(".parquet"):
        write_parquet(records, root / file)
        return
    lines = ["\t".join(records[0])] + ["\t".join(map(str, record.values())) for record in records]
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text("\n".join(lines) + "\n", encoding="utf-8")


def parse_sat(row: Row, place: Place) -> Draft:
    """`{image_bytes: [..], question, answers: [..], correct_answer, question_type}`; one or two frames."""
    choices = fields.texts(row, "answers")
    answer = fields.text(row, "correct_answer")
    if choices.count(answer) != 1:
        raise RecordError("answer_not_a_choice", f"{answer[:50]!r} is not exactly one of {choices}.")
    facts = {"category": fields.text(row, "question_type")}
    images = place.images(fields.items(row, "image_bytes"))
    return choice_draft(
        place.row_id(), fields.text(row, "question"), choices, choices.index(answer), images, facts
    )


def write_sat(examples: Sequence[Example], root: Path, file: str) -> None:
    """The hub's parquet. Rows have no id: it is the row's number."""
    records = [
        {
            "image_bytes": list(example.images),
            "question": example.question,
            "answers": list(example.choices),
            "correct_answer": example.answer,
            "question_type": example.metadata["category"],
        }
        for example in examples
    ]
    write_parquet(records, root / file)


def parse_robospatial(row: Row, place: Place) -> Draft:
    """`{category, question, answer, img}`: `yes` / `no`, or a polygon of points in 0-1, as text."""
    category = fields.text(row, "category")
    answer = fields.text(row, "answer")
    return Draft(
        id=f"{category}_{place.row_id()}",
        question=fields.text(row, "question"),
        answer=answer,
        images=(place.image(fields.required(row, "img")),),
        metadata={"category": category},
    )


def write_robospatial(examples: Sequence[Example], root: Path, file: str) -> None:
    """The hub's parquet, without the depth and mask columns."""
    records = [
        {
            "category": example.metadata["category"],
            "question": example.question,
            "answer": example.answer,
            "img": image_cell(example.images[0]),
        }
        for example in examples
    ]
    write_parquet(records, root / file)


def parse_realworldqa(row: Row, place: Place) -> Draft:
    """`{image, question, answer}`; options stand inside the question, the answer is then a letter."""
    images = (place.image(fields.required(row, "image")),)
    question, choices = split_options(fields.text(row, "question"))
    answer = fields.text(row, "answer")
    if not choices:
        return Draft(place.row_id(), question, answer, images)
    return choice_draft(
        place.row_id(), question, choices, fields.letter_index(answer, len(choices)), images, {}
    )


def write_realworldqa(examples: Sequence[Example], root: Path, file: str) -> None:
    """The hub's parquet, options on lines `A. ...`."""

    def record(example: Example) -> dict:
        if not example.choices:
            question, answer = example.question, example.answer
        else:
            question = _lettered(example.question, example.choices, "{}. {}")
            answer = ascii_uppercase[choice_index(example)]
        return {"image": image_cell(example.images[0]), "question": question, "answer": answer}

    write_parquet([record(example) for example in examples], root / file)


def parse_mmmu(row: Row, place: Place) -> Draft:
    """`{id, question, options: text of a list, answer, image_1..image_7, question_type, subfield, ...}`.

    The marks `<image 1>` stay in the question: they say which image is meant.
    """
    cells = [row.get(f"image_{number}") for number in range(1, 8)]
    images = place.images([cell for cell in cells if cell])
    facts = fields.scalars(row, ("question_type", "subfield", "topic_difficulty", "img_type"))
    choices = _literal_texts(fields.text(row, "options"))
    answer = fields.text(row, "answer")
    name, question = fields.identifier(row, "id"), fields.text(row, "question")
    if not choices:
        return Draft(name, question, answer, images, metadata=facts)
    return choice_draft(name, question, choices, fields.letter_index(answer, len(choices)), images, facts)


def _literal_texts(value: str) -> list[str]:
    """The strings of a list written as Python text, read as data: names and calls in it are refused."""
    if len(value) > _MAX_LITERAL:
        raise RecordError(
            "text_too_long", f"'options' has {len(value)} characters, at most {_MAX_LITERAL} are read."
        )
    try:
        values = ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise RecordError(
            "wrong_type", f"'options' is not the text of a list: {type(error).__name__}."
        ) from error
    return list(fields.texts({"options": values}, "options"))


def write_mmmu(examples: Sequence[Example], root: Path, file: str) -> None:
    """The hub's parquet."""

    def record(example: Example) -> dict:
        cells = [image_cell(data) for data in example.images]
        return {
            "id": example.id,
            "question": example.question,
            "options": repr(list(example.choices)),
            "answer": ascii_uppercase[choice_index(example)] if example.choices else example.answer,
            **{f"image_{number + 1}": cells[number] if number < len(cells) else None for number in range(7)},
            **metadata_of(example, ("question_type", "subfield", "topic_difficulty", "img_type")),
        }

    write_parquet([record(example) for example in examples], root / file)


def vstar_rows(tree: Tree, name: str, limits: Limits) -> Rows:
    """The one record of an annotation file of V*Bench, with the path of the image of the same stem."""
    value, stem = object_row(tree, name), name.rsplit(".", 1)[0]
    if isinstance(value, RecordError):
        yield name, value
        return
    endings = [
        ending for ending in ("jpg", "jpeg", "png", "JPG", "PNG", "webp") if tree.has(f"{stem}.{ending}")
    ]
    yield name, {**value, "image": f"{posixpath.basename(stem)}.{endings[0] if endings else 'jpg'}"}


def parse_vstar(row: Row, place: Place) -> Draft:
    """`{target_object, bbox: [[x, y, w, h], ..], question, options}`: the first option is the right one.

    Questions keep that order; `choices.shuffle` gives a fair one.
    """
    boxes = fields.items(row, "bbox")
    boxes = boxes if boxes and isinstance(boxes[0], list) else [boxes]
    folder, stem = posixpath.split(place.file.rsplit(".", 1)[0])
    category = posixpath.basename(folder)
    draft = choice_draft(
        f"{category}/{stem}",
        fields.text(row, "question"),
        fields.texts(row, "options"),
        0,
        (place.image(fields.text(row, "image")),),
        {"category": category, **fields.scalars(row, ("target_object",))},
    )
    return _with_boxes(draft, boxes)


def _with_boxes(draft: Draft, boxes: Sequence) -> Draft:
    numbers = tuple(fields.numbers(box, f"bbox[{index}]", 4) for index, box in enumerate(boxes))
    return Draft(**{**vars(draft), "boxes": numbers})


def write_vstar(examples: Sequence[Example], root: Path, file: str) -> None:
    """One folder a type, an image and a JSON file a record."""
    for example in examples:
        if choice_index(example) != 0:
            raise SourceError(f"{example.id}: this layout lists the right option first.")
        path = root / f"{example.id}.json"
        boxes = [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in example.boxes]
        facts: Mapping = metadata_of(example, ("target_object",))
        write_json(
            {**facts, "bbox": boxes, "question": example.question, "options": list(example.choices)}, path
        )
        path.with_suffix("." + image_ending(example.images[0])).write_bytes(example.images[0])


def parse_vstar_hub(row: Row, place: Place) -> Draft:
    """`{image, text, category, label, question_id}`: options stand inside the text, the label is a letter."""
    question, choices = split_options(fields.text(row, "text"))
    index = fields.letter_index(fields.text(row, "label"), len(choices))
    facts = {"category": fields.text(row, "category")}
    images = (place.image(fields.text(row, "image")),)
    return choice_draft(fields.identifier(row, "question_id"), question, choices, index, images, facts)


def write_vstar_hub(examples: Sequence[Example], root: Path, file: str) -> None:
    """The hub's jsonl with images in one folder a category."""
    records = [
        {
            "image": save_images(example, root, str(example.metadata["category"]))[0],
            "text": _lettered(example.question, example.choices, "({}) {}"),
            "category": example.metadata["category"],
            "label": ascii_uppercase[choice_index(example)],
            "question_id": example.id,
        }
        for example in examples
    ]
    write_jsonl(records, root / file)


BLINK = Layout("BLINK (parquet)", parse_blink, write_blink)
HRBENCH = Layout("HR-Bench (parquet or TSV)", parse_hrbench, write_hrbench)
SAT = Layout("SAT (parquet)", parse_sat, write_sat)
ROBOSPATIAL = Layout("RoboSpatial-Home (parquet)", parse_robospatial, write_robospatial)
REALWORLDQA = Layout("RealWorldQA (parquet)", parse_realworldqa, write_realworldqa)
MMMU = Layout("MMMU (parquet)", parse_mmmu, write_mmmu)
VSTAR = Layout("V*Bench, original folders", parse_vstar, write_vstar, rows=vstar_rows)
VSTAR_HUB = Layout("V*Bench, hub (jsonl)", parse_vstar_hub, write_vstar_hub, rows=jsonl_rows)
