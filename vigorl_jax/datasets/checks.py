"""From a draft to an Example: every image is decoded once, every box is placed and checked."""

import io
import json

from vigorl_jax.datasets.boxes import CONVENTIONS, SHOWN, Size, box_text, inside, oriented
from vigorl_jax.datasets.layouts.layout import Draft
from vigorl_jax.datasets.refusals import RecordError
from vigorl_jax.processing.decode import FORMATS, ImageError, decode_image
from vigorl_jax.tasks.example import Example

_ORIENTATION = 0x0112


def check(draft: Draft, task: str, box_convention: str) -> Example:
    """The Example that a draft stands for.

    Args:
      draft: A record as its file states it.
      task: The task of the data set.
      box_convention: A key of `boxes.CONVENTIONS`.

    Raises:
      RecordError: `image_unreadable` (not an image, cut off, too large, too thin), a `box_...` refusal,
        `not_unicode`, or `invalid_example`.
    """
    sizes = [_shown_size(data, index) for index, data in enumerate(draft.images)]
    boxes = ()
    if draft.boxes:
        if not sizes:
            raise RecordError("image_missing", "a record with a box needs an image.")
        stored, orientation = _stored(draft.images[0])
        if box_convention in SHOWN:
            stored, orientation = sizes[0], 1
        placed = (CONVENTIONS[box_convention](box, stored) for box in draft.boxes)
        boxes = tuple(inside(oriented(box, stored, orientation), sizes[0]) for box in placed)
    answer = draft.answer
    if answer is None:
        answer = box_text(boxes[0])
    try:
        example = Example(
            id=draft.id, task=task, question=draft.question, answer=answer, images=draft.images,
            choices=draft.choices, boxes=boxes, metadata=draft.metadata,
        )  # fmt: skip
        _check_unicode(example)
    except UnicodeEncodeError as error:
        raise RecordError("not_unicode", f"a text holds half a character: {error.reason}.") from error
    except (TypeError, ValueError) as error:
        raise RecordError("invalid_example", str(error)) from error
    return example


def _check_unicode(example: Example) -> None:
    """Raises UnicodeEncodeError for lone surrogates, which JSON can spell and no file can hold."""
    texts = (example.id, example.question, example.answer, *example.choices)
    facts = json.dumps(dict(example.metadata), ensure_ascii=False)
    "".join((*texts, facts)).encode()


def _shown_size(data: bytes, index: int) -> Size:
    """(width, height) of an image as shown, after decoding all of it."""
    try:
        height, width = decode_image(data).shape[:2]
    except ImageError as error:
        raise RecordError("image_unreadable", f"images[{index}]: {error}") from error
    return width, height


def _stored(data: bytes) -> tuple[Size, int]:
    """Size of the stored pixels and the EXIF orientation, from the header of an image that decodes."""
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        orientation = image.getexif().get(_ORIENTATION, 1)
        return image.size, orientation if orientation in range(1, 9) else 1
