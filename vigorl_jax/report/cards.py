"""What the viewer shows of one episode: every number and string, ready to be laid out, nothing of it trusted."""

import base64
import dataclasses
import io
import re
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from vigorl_jax.processing.decode import decode_image
from vigorl_jax.processing.frames import Frame, Point, map_point
from vigorl_jax.processing.patches import to_images
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.reasoning.episode import Episode, Kind, Mark, Segment, ZoomMark
from vigorl_jax.reasoning.episode_rewards import reference
from vigorl_jax.reasoning.turns import Answer, Malformed
from vigorl_jax.reasoning.zoom import View
from vigorl_jax.tasks import answers, tags

MAX_SIDE = 1280
_JPEG_QUALITY = 85
_COLOURS = 6
_NEAR = 3.0  # percent of the image, about the radius of a spot
_NUMBER = r"-?[0-9]{1,9}(?:\.[0-9]{0,9})?"
_POINT = re.compile(rf"[(\[]\s*({_NUMBER})\s*,\s*({_NUMBER})\s*[)\]]")


@dataclasses.dataclass(frozen=True)
class Spot:
    """A numbered point on an image; x and y in percent of its width and height.

    `beside` counts the earlier points in nearly the same place, so that it can be drawn next to them.
    """

    number: int
    colour: int
    x: float
    y: float
    beside: int = 0


@dataclasses.dataclass(frozen=True)
class Area:
    """A zoom window, or with colour None the reference, on an image; in percent of its width and height."""

    label: str
    colour: int | None
    x: float
    y: float
    width: float
    height: float


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image of the page.

    Attributes:
      key: Its name among the page's images, each of which is stored once.
      width, height: In pixels, as shown.
      caption: A line below it.
      spots: Points on it.
      areas: Zoom windows on it.
    """

    key: str
    width: int
    height: int
    caption: str
    spots: tuple[Spot, ...] = ()
    areas: tuple[Area, ...] = ()


@dataclasses.dataclass(frozen=True)
class Piece:
    """A piece of text; with the number of a point where it names one that lies in the image."""

    text: str
    number: int | None = None


@dataclasses.dataclass(frozen=True)
class TurnCard:
    """One turn.

    Attributes:
      number: From 1.
      colour: Which colour of the page its marks have.
      thought: Its think block, cut at points.
      answer: Its answer, cut at points; None when it gives none.
      fault: Why it could not be carried out; None when it could.
      raw: Its text as sampled.
      observation: The given text that follows it.
      num_tokens: Sampled tokens.
      crop: The crop that it brought, or None.
    """

    number: int
    colour: int
    thought: tuple[Piece, ...]
    answer: tuple[Piece, ...] | None
    fault: str | None
    raw: str
    observation: str
    num_tokens: int
    crop: Picture | None


@dataclasses.dataclass(frozen=True)
class Share:
    """A segment's part of the episode's tokens, in percent; colour None for given ones."""

    label: str
    percent: float
    colour: int | None


@dataclasses.dataclass(frozen=True)
class Card:
    """One episode; strings are untrusted text."""

    name: str
    task: str
    question: str
    choices: tuple[str, ...]
    reference: str
    answer: str | None
    status: str
    verdict: str
    reward: tuple[tuple[str, float], ...]
    opening: str
    num_tokens: int
    num_sampled: int
    shares: tuple[Share, ...]
    pictures: tuple[Picture, ...]
    turns: tuple[TurnCard, ...]
    num_zooms: int

    @property
    def overall(self) -> float | None:
        """The reward, where the episode has been scored."""
        return dict(self.reward).get("overall")


def make_card(episode: Episode, settings: ImageSettings, store: dict[str, str]) -> Card:
    """The card of an episode; its images are added to `store` as data URIs, those of one example once."""
    example = episode.example
    areas = [
        _area(f"zoom {n}", _colour(zoom), zoom.window, episode.original)
        for n, zoom in enumerate(episode.zooms, 1)
    ]
    pictures = [_original(data, store) for data in example.images]
    pictures[0] = dataclasses.replace(
        pictures[0], spots=tuple(_spots(episode)), areas=(*_references(episode), *areas)
    )
    sampled = int(episode.mask.sum())
    return Card(
        name=f"{example.id} \u00b7 {episode.number}",
        task=example.task.replace("_", " "),
        question=example.question,
        choices=example.choices,
        reference=reference(episode),
        answer=episode.answer,
        status=str(episode.status).replace("_", " "),
        verdict=_verdict(episode),
        reward=tuple(episode.reward.items()),
        opening=episode.segments[0].text,
        num_tokens=episode.num_tokens,
        num_sampled=sampled,
        shares=tuple(_shares(episode)),
        pictures=tuple(pictures),
        turns=tuple(_turns(episode, settings, store)),
        num_zooms=len(areas),
    )


def _verdict(episode: Episode) -> str:
    """right, partly or wrong for scored answers, answered for others, failed for none."""
    if episode.answer is None:
        return "failed"
    accuracy = episode.reward.get("accuracy")
    if accuracy is None:
        return "answered"
    return "right" if accuracy >= 1 else "partly" if accuracy > 0 else "wrong"


def _numbered(episode: Episode) -> Iterator[tuple[int, Mark]]:
    return enumerate(episode.points, start=1)


def _spots(episode: Episode) -> Iterator[Spot]:
    earlier: list[tuple[float, float]] = []
    for number, mark in _numbered(episode):
        x, y = _percent(mark.point, episode.original)
        beside = sum(abs(x - other) < _NEAR and abs(y - below) < _NEAR for other, below in earlier)
        earlier.append((x, y))
        yield Spot(number, _colour(mark), x, y, beside)


def _colour(mark: Mark) -> int:
    return mark.turn % _COLOURS


def _percent(point: Point, frame: Frame) -> tuple[float, float]:
    """The centre of a pixel."""
    return 100 * (point[0] + 0.5) / frame.width, 100 * (point[1] + 0.5) / frame.height


def _references(episode: Episode) -> Iterator[Area]:
    example = episode.example
    box = answers.box(example.answer)
    for found in example.boxes or ([box] if box else []):
        yield _area("reference", None, found, episode.original)


def _area(label: str, colour: int | None, box: Sequence[float], original: Frame) -> Area:
    x0, y0, x1, y1 = original.clamp_box(box)
    x, y = 100 * x0 / original.width, 100 * y0 / original.height
    return Area(label, colour, x, y, 100 * x1 / original.width - x, 100 * y1 / original.height - y)


def _original(data: bytes, store: dict[str, str]) -> Picture:
    pixels = decode_image(data)
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels)
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return Picture(_keep(image, store), image.width, image.height, f"{width} \u00d7 {height} pixels")


def _keep(image: Image.Image, store: dict[str, str]) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    known = {value: key for key, value in store.items()}
    key = known.get(uri, f"i{len(store)}")
    store[key] = uri
    return key


def _turns(episode: Episode, settings: ImageSettings, store: dict[str, str]) -> Iterator[TurnCard]:
    zooms = {zoom.turn: (number, zoom) for number, zoom in enumerate(episode.zooms, start=1)}
    following = [segment for segment in episode.segments[1:] if segment.kind is Kind.GIVEN]
    for number, turn in enumerate(episode.turns):
        names = [(n, mark) for n, mark in _numbered(episode) if mark.turn == number]
        thought, answer = _texts(turn)
        observation = following[number] if number < len(following) else None
        crop = None
        if number in zooms:
            crop = _crop(*zooms[number], observation.images[0], episode.original, settings, store)
        pieces = tuple(_pieces(thought, names))
        yield TurnCard(
            number=number + 1,
            colour=number % _COLOURS,
            thought=pieces,
            answer=None if answer is None else tuple(_pieces(answer, names[_count(pieces) :])),
            fault=turn.action.reason if isinstance(turn.action, Malformed) else None,
            raw=turn.text,
            observation=observation.text if observation else "",
            num_tokens=turn.num_tokens,
            crop=crop,
        )


def _texts(turn: Segment) -> tuple[str, str | None]:
    """What was thought, and what was answered; a turn without a think block is all thought unless it answers."""
    thoughts = [block.strip() for block in tags.blocks(turn.text, tags.THINK)]
    answer = turn.action.text if isinstance(turn.action, Answer) else None
    if not thoughts and isinstance(turn.action, Malformed):
        return turn.text.strip(), answer
    return "\n".join(thoughts), answer


def _pieces(text: str, names: Sequence[tuple[int, Mark]]) -> Iterator[Piece]:
    """Cuts a text at the points that have numbers, which come in the same order."""
    start, names = 0, list(names)
    for match in _POINT.finditer(text):
        written = int(float(match[1])), int(float(match[2]))
        if names and names[0][1].written == written:
            yield Piece(text[start : match.start()])
            yield Piece(match[0], names.pop(0)[0])
            start = match.end()
    yield Piece(text[start:])


def _count(pieces: Sequence[Piece]) -> int:
    return sum(piece.number is not None for piece in pieces)


def _crop(
    number: int, zoom: ZoomMark, view: View, original: Frame, settings: ImageSettings, store: dict[str, str]
) -> Picture:
    (pixels,) = to_images(view.patches, settings)
    x0, y0, x1, y1 = zoom.window
    frame = view.frame
    spot = Spot(number, _colour(zoom), *_percent(map_point(zoom.point, original, frame), frame))
    return Picture(
        key=_keep(Image.fromarray(np.asarray(pixels)), store),
        width=frame.width,
        height=frame.height,
        caption=f"zoom {number} at {zoom.written}: {x1 - x0} \u00d7 {y1 - y0} pixels of the original, "
        f"{view.num_tokens} tokens",
        spots=(spot,),
    )


def _shares(episode: Episode) -> Iterator[Share]:
    turn = 0
    for number, segment in enumerate(episode.segments):
        is_sampled = segment.kind is Kind.SAMPLED
        if is_sampled:
            label = f"turn {turn + 1}"
        elif number == 0:
            label = "prompt and image"
        else:
            label = "crop" if segment.images else "observation"
        percent = 100 * segment.num_tokens / episode.num_tokens
        yield Share(f"{label}: {segment.num_tokens} tokens", percent, turn % _COLOURS if is_sampled else None)
        turn += is_sampled
