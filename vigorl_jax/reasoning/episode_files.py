"""Episodes in folders: `episode.json`, the original images as they came, and each crop as a PNG file."""

import dataclasses
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from immutabledict import immutabledict
from PIL import Image

from vigorl_jax.processing import images
from vigorl_jax.processing.decode import FORMATS, decode_image
from vigorl_jax.processing.frames import Frame
from vigorl_jax.processing.patches import to_images
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.reasoning.episode import Episode, Kind, Mark, Segment, Status, ZoomMark
from vigorl_jax.reasoning.turns import Answer, Malformed, MalformedKind, Turn, Zoom
from vigorl_jax.reasoning.zoom import View, make_view
from vigorl_jax.tasks.example import Example

FILE_NAME = "episode.json"


def save_episode(episode: Episode, folder: str | Path, settings: ImageSettings | None = None) -> Path:
    """Writes an episode: `episode.json`, `image_0.jpg` and so on as they came, `crop_1.png` and so on as seen.

    The JSON file is written last and at once, so that a folder that has one is complete.

    Args:
      episode: What to write.
      folder: Made if absent.
      settings: The model's image settings.

    Returns:
      Path of the JSON file.
    """
    folder, settings = Path(folder), settings or ImageSettings()
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, data in enumerate(episode.example.images):
        names.append(f"image_{number}.{_suffix(data)}")
        (folder / names[-1]).write_bytes(data)
    for number, view in enumerate(episode.crops, start=1):
        names.append(f"crop_{number}.png")
        Image.fromarray(to_images(view.patches, settings)[0]).save(folder / names[-1])
    text = json.dumps(to_json(episode, names), indent=1, ensure_ascii=False)
    partial = folder / f".{FILE_NAME}.{os.getpid()}.partial"
    partial.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    os.replace(partial, folder / FILE_NAME)
    return folder / FILE_NAME


def _suffix(data: bytes) -> str:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}.get(image.format, image.format.lower())


def to_json(episode: Episode, names: list[str]) -> dict[str, Any]:
    """The episode as JSON values; `names` are the files of its images, those of the example first.

    Points and windows are in pixels of the original; `written` is what the model wrote, in pixels of what it saw.
    """
    example = episode.example
    remaining = iter(names)
    return {
        "example": {
            "id": example.id,
            "question": example.question,
            "answer": example.answer,
            "task": example.task,
            "choices": list(example.choices),
            "boxes": [list(box) for box in example.boxes],
            "metadata": dict(example.metadata),
        },
        "number": episode.number,
        "status": str(episode.status),
        "answer": episode.answer,
        "num_tokens": episode.num_tokens,
        "reward_parts": dict(episode.reward),
        "points": [_mark_json(mark) for mark in episode.points],
        "zooms": [_mark_json(mark) for mark in episode.zooms],
        "frames": {
            name: dataclasses.asdict(view.frame) for name, view in zip(names, episode.views, strict=True)
        },
        "segments": [_segment_json(segment, remaining) for segment in episode.segments],
    }


def _mark_json(mark: Mark | ZoomMark) -> dict[str, Any]:
    return dataclasses.asdict(mark)


def _segment_json(segment: Segment, names: Iterator[str]) -> dict[str, Any]:
    values: dict[str, Any] = {
        "kind": str(segment.kind),
        "text": segment.text,
        "num_tokens": segment.num_tokens,
        "images": [next(names) for _ in segment.images],
        "token_ids": list(segment.token_ids),
    }
    if segment.kind is Kind.SAMPLED:
        values["log_probs"] = list(segment.log_probs)
        values["action"] = _action_json(segment.action)
    return values


def _action_json(action: Turn) -> dict[str, Any]:
    match action:
        case Zoom():
            return {"zoom": dataclasses.asdict(action)}
        case Answer():
            return {"answer": action.text}
        case Malformed():
            call = dataclasses.asdict(action.zoom) if action.zoom else None
            return {"malformed": str(action.kind), "reason": action.reason, "call": call}


def load_episode(folder: str | Path, settings: ImageSettings | None = None) -> Episode:
    """Reads an episode that `save_episode` wrote: equal in every field, and with equal pixels.

    Args:
      folder: The folder, or the JSON file in it.
      settings: The model's image settings.

    Raises:
      ValueError: not an episode, or an image name that leads out of the folder.
      OSError: a file that cannot be read.
    """
    path = Path(folder)
    path = path / FILE_NAME if path.is_dir() else path
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return _episode(record, path.parent, settings or ImageSettings())
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not an episode ({type(error).__name__}: {error}); save it anew"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not an episode: {error}") from error


def from_json(record: Mapping[str, Any], images: Sequence[bytes], views: Mapping[str, View]) -> Episode:
    """The episode that `to_json` described.

    Args:
      record: What `to_json` returned.
      images: The encoded images of its example.
      views: What the model saw, by the names that were given to `to_json`.

    Raises:
      KeyError, TypeError, AttributeError, ValueError: not such a record.
    """
    return Episode(
        example=Example(images=tuple(images), **record["example"]),
        segments=tuple(_segment(segment, views) for segment in record["segments"]),
        status=Status(record["status"]),
        number=record["number"],
        reward=immutabledict(record["reward_parts"]),
    )


def frame_from_json(record: Mapping[str, Any]) -> Frame:
    """The frame of a view, from the "frames" of the record."""
    return Frame(tuple(record["window"]), record["width"], record["height"])


def _episode(record: Mapping[str, Any], folder: Path, settings: ImageSettings) -> Episode:
    names = [name for segment in record["segments"] for name in segment["images"]]
    num_originals = len(record["segments"][0]["images"])
    files = {name: _inside(folder, name).read_bytes() for name in names}
    views = {
        name: view_of_file(files[name], frame_from_json(record["frames"][name]), settings) for name in names
    }
    return from_json(record, [files[name] for name in names[:num_originals]], views)


def _inside(folder: Path, name: str) -> Path:
    if not isinstance(name, str) or Path(name).name != name or (folder / name).is_symlink():
        raise ValueError(f"the image {name!r} does not name a file beside the JSON file")
    return folder / name


def view_of_file(data: bytes, frame: Frame, settings: ImageSettings) -> View:
    """The view of this frame, from the encoded original or crop."""
    image = Image.fromarray(decode_image(data))
    if image.size != (frame.width, frame.height):
        image = image.resize((frame.width, frame.height), Image.Resampling.BICUBIC)
    area = frame.width * frame.height
    exact = dataclasses.replace(settings, min_pixels=area, max_pixels=area)
    return make_view(frame, images.image_patches(images.to_device(np.asarray(image)), exact), settings)


def _segment(record: Mapping[str, Any], views: Mapping[str, View]) -> Segment:
    return Segment(
        kind=Kind(record["kind"]),
        token_ids=tuple(map(int, record["token_ids"])),
        text=record["text"],
        images=tuple(views[name] for name in record["images"]),
        log_probs=tuple(map(float, record.get("log_probs", ()))),
        action=_action(record["action"]) if "action" in record else None,
    )


def _action(record: Mapping[str, Any]) -> Turn:
    if "zoom" in record:
        return _zoom(record["zoom"])
    if "answer" in record:
        return Answer(record["answer"])
    call = _zoom(record["call"]) if record["call"] else None
    return Malformed(record["reason"], MalformedKind(record["malformed"]), call)


def _zoom(record: Mapping[str, Any]) -> Zoom:
    box = tuple(record["box"]) if record["box"] else None
    return Zoom(tuple(record["point"]), box, record["image"])
