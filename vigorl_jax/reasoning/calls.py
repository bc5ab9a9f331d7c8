"""The tool call: strict reading of its JSON into a zoom, and writing it.

    <tool_call>
    {"name": "search_coordinate", "arguments": {"coordinate": [310, 745]}}
    </tool_call>

Text from the model is data: it is read by a JSON reader with limits on size and depth, and never evaluated.
Every refusal has a kind, for metrics, and a sentence, for the model.
"""

import dataclasses
import enum
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from vigorl_jax.tasks import tags

MAX_CHARACTERS = 1000
MAX_DEPTH = 3
REPEAT_RADIUS = 10
# No image is this wide; larger numbers are outside every frame and are not handed on.
_LARGEST_COORDINATE = 1_000_000

Size = tuple[int, int]


class Coordinates(enum.StrEnum):
    """Units of the numbers in a call: pixels of the image, or fractions of its width and height (0 to 1)."""

    PIXELS = "pixels"
    FRACTIONS = "fractions"


@dataclasses.dataclass(frozen=True)
class CallForm:
    """The layout of a tool call.

    Attributes:
      tool: The only accepted value of `name`.
      region_key: The argument that holds the region.
      length: Numbers in the region: 2 for a point (x, y), 4 for a box (x0, y0, x1, y1).
      coordinates: Units of these numbers.
      image_key: The argument that says which image to zoom into (0 the original, k the k-th crop; 0 when left
        out); None when every zoom goes into the original.
      ignored_keys: Further arguments that are allowed and ignored.
    """

    tool: str = "search_coordinate"
    region_key: str = "coordinate"
    length: int = 2
    coordinates: Coordinates = Coordinates.PIXELS
    image_key: str | None = None
    ignored_keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks that the region is a point or a box."""
        if self.length not in (2, 4):
            raise ValueError(f"CallForm.length must be 2 (a point) or 4 (a box), got {self.length!r}.")


# ViGoRL's own call, the same with a choice of image, and the box calls of DeepEyes and of Pixel-Reasoner.
POINT_CALL = CallForm()
POINT_IN_ANY_IMAGE_CALL = CallForm(image_key="image")
BOX_CALL = CallForm(tool="image_zoom_in_tool", region_key="bbox_2d", length=4, ignored_keys=("label",))
FRACTIONAL_BOX_CALL = CallForm(
    tool="crop_image_normalized",
    region_key="bbox_2d",
    length=4,
    coordinates=Coordinates.FRACTIONS,
    image_key="target_image",
)


class MalformedKind(enum.StrEnum):
    """Why a turn is neither a zoom nor an answer; the values are metric names."""

    NO_ACTION = "no_action"
    UNCLOSED_CALL = "unclosed_call"
    UNCLOSED_ANSWER = "unclosed_answer"
    TOO_LONG = "too_long"
    TOO_DEEP = "too_deep"
    NOT_JSON = "not_json"
    NOT_FINITE = "not_finite"
    DUPLICATE_KEY = "duplicate_key"
    WRONG_KEYS = "wrong_keys"
    UNKNOWN_TOOL = "unknown_tool"
    NOT_A_POINT = "not_a_point"
    NOT_A_BOX = "not_a_box"
    UNKNOWN_IMAGE = "unknown_image"
    OUT_OF_FRAME = "out_of_frame"
    REPEATED_POINT = "repeated_point"


@dataclasses.dataclass(frozen=True)
class Zoom:
    """A call that can be carried out.

    Attributes:
      point: (x, y) in whole pixels of the image that is zoomed into; the centre of the box where there is
        one.
      box: (x0, y0, x1, y1), half-open, in the same pixels; None for point calls.
      image: 0 for the original image, k for the k-th crop.
    """

    point: tuple[int, int]
    box: tuple[int, int, int, int] | None = None
    image: int = 0


@dataclasses.dataclass(frozen=True)
class Malformed:
    """A turn that can be neither carried out nor taken as an answer.

    Attributes:
      reason: One sentence for the model. It never quotes the model's text, so it brings no tags into the
        dialogue.
      kind: The same for metrics.
      zoom: The call when it was read but refused (out of frame, repeated), for callers that carry such calls
        out as the official code does; else None.
    """

    reason: str
    kind: MalformedKind
    zoom: Zoom | None = None


class _Refusal(Exception):
    """Carries a Malformed out of the nested readers; it never leaves this module."""

    def __init__(self, kind: MalformedKind, reason: str, zoom: Zoom | None = None):
        super().__init__(reason)
        self.malformed = Malformed(reason, kind, zoom)


def parse_call(
    content: str,
    *,
    frame_size: Size | None = None,
    earlier_points: Iterable[Sequence[float]] = (),
    crop_sizes: Sequence[Size] = (),
    form: CallForm = POINT_CALL,
) -> Zoom | Malformed:
    """Reads what stands between the tool-call tags; arguments and errors as in `turns.parse`."""
    if form.coordinates is Coordinates.FRACTIONS and frame_size is None:
        raise ValueError("Coordinates in fractions need frame_size=(width, height) to become pixels.")
    try:
        region, image = _read_arguments(_read_json(content), form)
        sizes = (frame_size, *crop_sizes) if form.image_key else (frame_size,)
        if not 0 <= image < len(sizes):
            raise _Refusal(
                MalformedKind.UNKNOWN_IMAGE,
                f"There is no such image; they are numbered from 0 to {len(sizes) - 1}.",
            )
        zoom = _locate(region, image, sizes[image], form)
        if image == 0 and any(is_repeat(zoom.box or zoom.point, earlier) for earlier in earlier_points):
            reason = f"This place was looked at before: keep at least {REPEAT_RADIUS} pixels away from it."
            raise _Refusal(MalformedKind.REPEATED_POINT, reason, zoom)
    except _Refusal as refusal:
        return refusal.malformed
    return zoom


def _read_json(content: str) -> Any:
    if len(content) > MAX_CHARACTERS:
        raise _Refusal(MalformedKind.TOO_LONG, f"The tool call is longer than {MAX_CHARACTERS} characters.")
    if _depth(content) > MAX_DEPTH:
        raise _Refusal(MalformedKind.TOO_DEEP, "The tool call is nested too deeply.")
    try:
        return json.loads(content, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except json.JSONDecodeError:
        raise _Refusal(MalformedKind.NOT_JSON, "The tool call is not valid JSON.") from None


def _depth(content: str) -> int:
    """Deepest nesting of brackets and braces outside JSON strings."""
    depth = deepest = 0
    in_string = escaped = False
    for character in content:
        if in_string:
            in_string = escaped or character != '"'
            escaped = not escaped and character == "\\"
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise _Refusal(MalformedKind.DUPLICATE_KEY, "The tool call holds the same key twice.")
    return dict(pairs)


def _refuse_constant(name: str) -> None:
    raise _Refusal(MalformedKind.NOT_FINITE, f"{name} is not a coordinate.")


def _read_arguments(call: Any, form: CallForm) -> tuple[list[float], int]:
    """The region and the image index of a call with exactly the declared keys."""
    if not isinstance(call, dict) or call.keys() != {"name", "arguments"}:
        raise _Refusal(
            MalformedKind.WRONG_KEYS, 'The tool call must be an object with "name" and "arguments" only.'
        )
    if call["name"] != form.tool:
        raise _Refusal(MalformedKind.UNKNOWN_TOOL, f'There is no such tool; the only one is "{form.tool}".')
    arguments = call["arguments"]
    optional = {*form.ignored_keys, form.image_key} - {None}
    if (
        not isinstance(arguments, dict)
        or not {form.region_key} <= arguments.keys() <= {form.region_key} | optional
    ):
        raise _Refusal(
            MalformedKind.WRONG_KEYS, f'The arguments must hold "{form.region_key}" and nothing undeclared.'
        )
    image = arguments.get(form.image_key, 0) if form.image_key else 0
    if type(image) is not int:
        raise _Refusal(MalformedKind.UNKNOWN_IMAGE, "The image must be given as a whole number.")
    return _read_region(arguments[form.region_key], form), image


def _read_region(region: Any, form: CallForm) -> list[float]:
    # type() and not isinstance(): true and false are ints to Python, but not to JSON.
    if (
        not isinstance(region, list)
        or len(region) != form.length
        or any(type(v) not in (int, float) for v in region)
    ):
        if form.length == 2:
            raise _Refusal(MalformedKind.NOT_A_POINT, "The coordinate must be a list of two numbers, [x, y].")
        raise _Refusal(MalformedKind.NOT_A_BOX, "The box must be a list of four numbers, [x0, y0, x1, y1].")
    if any(isinstance(value, float) and not math.isfinite(value) for value in region):
        raise _Refusal(MalformedKind.NOT_FINITE, "The coordinates must be finite numbers.")
    if form.length == 4 and (region[0] >= region[2] or region[1] >= region[3]):
        raise _Refusal(MalformedKind.NOT_A_BOX, "The box needs x0 < x1 and y0 < y1.")
    return region


def _locate(region: Sequence[float], image: int, size: Size | None, form: CallForm) -> Zoom:
    """The zoom in whole pixels; refused when a corner is outside the image."""
    where = (
        "outside the image" if size is None else f"outside the image, which is {size[0]} x {size[1]} pixels"
    )
    if any(abs(value) >= _LARGEST_COORDINATE for value in region):
        raise _Refusal(MalformedKind.OUT_OF_FRAME, f"The coordinates lie {where}.")
    width, height = size or (_LARGEST_COORDINATE, _LARGEST_COORDINATE)
    sides = (width, height) * (form.length // 2)
    if form.coordinates is Coordinates.FRACTIONS:
        inside = all(0 <= value <= 1 for value in region)
        region = [value * side for value, side in zip(region, sides, strict=True)]
    elif form.length == 2:
        inside = all(0 <= value < side for value, side in zip(region, sides, strict=True))
    else:
        inside = all(0 <= value <= side for value, side in zip(region, sides, strict=True))
    zoom = _to_zoom([round(value) for value in region], image, sides if inside else None)
    if not inside:
        raise _Refusal(MalformedKind.OUT_OF_FRAME, f"The coordinates lie {where}.", zoom)
    return zoom


def _to_zoom(region: list[int], image: int, sides: tuple[int, ...] | None) -> Zoom:
    """Whole pixels; with `sides`, rounding cannot leave the image: 99.6 in a width of 100 is pixel 99."""
    first = (
        region[:2]
        if sides is None
        else [min(v, side - 1) for v, side in zip(region, sides[:2], strict=False)]
    )
    if len(region) == 2:
        return Zoom(point=(first[0], first[1]), image=image)
    x1, y1 = max(region[2], first[0] + 1), max(region[3], first[1] + 1)
    centre = ((first[0] + x1) // 2, (first[1] + y1) // 2)
    return Zoom(point=centre, box=(first[0], first[1], x1, y1), image=image)


def write_call(zoom: Zoom, form: CallForm = POINT_CALL, *, frame_size: Size | None = None) -> str:
    """The canonical text of a call, tags included; `turns.parse` reads the same zoom back.

    Args:
      zoom: What to zoom into.
      form: The layout.
      frame_size: (width, height) of the image that is zoomed into; needed for fractions.

    Raises:
      ValueError: a box form and a zoom without a box, or fractions without a frame size.
    """
    region = zoom.point if form.length == 2 else zoom.box
    if region is None:
        raise ValueError(f"The call {form.tool!r} needs a box, and {zoom!r} has none.")
    numbers: list[float] = list(region)
    if form.coordinates is Coordinates.FRACTIONS:
        if frame_size is None:
            raise ValueError("Coordinates in fractions need frame_size=(width, height) to be written.")
        sides = frame_size * (form.length // 2)
        numbers = [value / side for value, side in zip(region, sides, strict=True)]
    arguments: dict[str, Any] = {form.region_key: numbers}
    if form.image_key:
        arguments[form.image_key] = zoom.image
    return _in_tags(json.dumps({"name": form.tool, "arguments": arguments}))


def call_layout(form: CallForm = POINT_CALL) -> str:
    """The call with letters in place of numbers, as the prompts show it."""
    letters = "[x, y]" if form.length == 2 else "[x0, y0, x1, y1]"
    image = f', "{form.image_key}": k' if form.image_key else ""
    return _in_tags(f'{{"name": "{form.tool}", "arguments": {{"{form.region_key}": {letters}{image}}}}}')


def _in_tags(payload: str) -> str:
    return f"{tags.opening(tags.TOOL_CALL)}\n{payload}\n{tags.closing(tags.TOOL_CALL)}"


def is_repeat(region: Sequence[float], other: Sequence[float]) -> bool:
    """Whether each corner of one region is less than 10 px from the same corner of the other.

    (100, 100) and (107, 107) are repeats (9.9 px), (100, 100) and (110, 100) are not.
    """
    if len(region) != len(other):
        return False
    # Squares of differences, because they stay exact for integers of any size.
    squares = [(a - b) ** 2 for a, b in zip(region, other, strict=True)]
    return all(squares[i] + squares[i + 1] < REPEAT_RADIUS**2 for i in range(0, len(squares), 2))


def distinct(regions: Iterable[Sequence[float]]) -> list[Sequence[float]]:
    """The regions that repeat none of those kept before them, in order.

    Kept regions are filed by 10-pixel cells of their first corner, so only neighbours are compared: long
    lists stay cheap.
    """
    kept: list[Sequence[float]] = []
    cells: dict[tuple[float, float], list[Sequence[float]]] = {}
    for region in regions:
        column, row = (value // REPEAT_RADIUS for value in region[:2])
        near = [
            other for i in (-1, 0, 1) for j in (-1, 0, 1) for other in cells.get((column + i, row + j), ())
        ]
        if not any(is_repeat(region, other) for other in near):
            kept.append(region)
            cells.setdefault((column, row), []).append(region)
    return kept
