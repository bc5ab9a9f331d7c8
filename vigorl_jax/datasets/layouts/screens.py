"""Layouts of the screen-pointing data: ScreenSpot v1, V2 and Pro, OS-ATLAS."""

import posixpath
from collections.abc import Sequence
from pathlib import Path

from vigorl_jax.datasets import fields
from vigorl_jax.datasets.layouts.layout import (
    Draft,
    Layout,
    Place,
    metadata_of,
    save_images,
    write_json,
)
from vigorl_jax.datasets.refusals import RecordError
from vigorl_jax.datasets.rows import Row, Rows, json_rows
from vigorl_jax.datasets.sources import Limits, Tree
from vigorl_jax.processing.decode import decode_image
from vigorl_jax.tasks.example import Example

_FOLDERS = ("", "screenspot_imgs", "screenspotv2_image", "images")
_SPOT_FACTS = ("data_type", "data_source")
_PRO_FACTS = ("ui_type", "group", "platform", "application", "instruction_cn")


def _image(row: Row, place: Place) -> bytes:
    """The screenshot, which lies beside the annotation file or in the image folder of its release."""
    name = fields.text(row, "img_filename")
    refusal = RecordError("image_missing", f"no image {name!r}.")
    for folder in _FOLDERS:
        try:
            return place.image(posixpath.join(folder, name))
        except RecordError as error:
            if error.reason != "image_missing":
                raise
            refusal = error
    raise refusal


def _draft(name: str, row: Row, place: Place, facts: dict) -> Draft:
    """A pointing record: the answer is its box, in the data set's convention."""
    box = fields.numbers(row.get("bbox"), "bbox", 4)
    return Draft(
        id=name,
        question=fields.text(row, "instruction"),
        answer=None,
        images=(_image(row, place),),
        boxes=(box,),
        metadata=facts,
    )


def parse_screenspot(row: Row, place: Place) -> Draft:
    """`{img_filename, bbox: [x, y, w, h] in pixels, instruction, data_type, data_source}`.

    The category is `PLATFORM/TYPE`, such as `mobile/icon`; the platform is part of the file's name.
    """
    platform = (
        posixpath.basename(place.file).removesuffix(".json").removesuffix("_v2").removeprefix("screenspot_")
    )
    facts = fields.scalars(row, _SPOT_FACTS)
    return _draft(
        place.row_id(), row, place, {"category": f"{platform}/{fields.text(row, 'data_type')}", **facts}
    )


def write_screenspot(examples: Sequence[Example], root: Path, file: str) -> None:
    """The JSON list of one platform, which is named by the file."""
    records = []
    for example in examples:
        x0, y0, x1, y1 = example.boxes[0]
        name = posixpath.basename(save_images(example, root, _FOLDERS[1])[0])
        facts = metadata_of(example, _SPOT_FACTS)
        box = [x0, y0, x1 - x0, y1 - y0]
        records.append({"img_filename": name, "bbox": box, "instruction": example.question, **facts})
    write_json(records, root / file)


def parse_screenspot_pro(row: Row, place: Place) -> Draft:
    """`{id, img_filename, bbox: [x1, y1, x2, y2] in pixels, instruction, ui_type, group, ...}`."""
    facts = {"category": f"{fields.text(row, 'group')}/{fields.text(row, 'ui_type')}"}
    return _draft(fields.identifier(row, "id"), row, place, {**facts, **fields.scalars(row, _PRO_FACTS)})


def write_screenspot_pro(examples: Sequence[Example], root: Path, file: str) -> None:
    """One JSON list in the annotation folder, images in theirs."""
    records = [
        {
            "id": example.id,
            "img_filename": posixpath.relpath(save_images(example, root, "images/sample")[0], "images"),
            "bbox": list(example.boxes[0]),
            "instruction": example.question,
            **metadata_of(example, _PRO_FACTS),
        }
        for example in examples
    ]
    write_json(records, root / file)


def os_atlas_rows(tree: Tree, name: str, limits: Limits) -> Rows:
    """One row an element: some files hold a list of elements for each screenshot."""
    for location, row in json_rows(tree, name, limits):
        if isinstance(row, RecordError) or not isinstance(row.get("elements"), list):
            yield location, row
            continue
        for index, element in enumerate(row["elements"]):
            if isinstance(element, dict):
                yield f"{location}.{index}", {**element, "img_filename": row.get("img_filename")}
            else:
                yield f"{location}.{index}", RecordError("not_an_object", "an element is a JSON object.")


def parse_os_atlas(row: Row, place: Place) -> Draft:
    """`{img_filename, instruction, bbox: [x0, y0, x1, y1] as shares of the sides, data_type?}`."""
    domain = posixpath.basename(posixpath.dirname(place.file)) or place.tree.label
    return _draft(place.row_id(), row, place, {"category": domain, **fields.scalars(row, ("data_type",))})


def write_os_atlas(examples: Sequence[Example], root: Path, file: str) -> None:
    """One JSON list; each screenshot has a list with one element."""
    records = []
    for example in examples:
        height, width = decode_image(example.images[0]).shape[:2]
        x0, y0, x1, y1 = example.boxes[0]
        element = {
            "instruction": example.question,
            "bbox": [x0 / width, y0 / height, x1 / width, y1 / height],
        }
        element |= metadata_of(example, ("data_type",))
        name = posixpath.basename(save_images(example, root, f"{posixpath.dirname(file)}/images")[0])
        records.append({"img_filename": name, "elements": [element]})
    write_json(records, root / file)


SCREENSPOT = Layout("ScreenSpot v1 and V2 (JSON lists)", parse_screenspot, write_screenspot)
SCREENSPOT_PRO = Layout("ScreenSpot-Pro (JSON lists)", parse_screenspot_pro, write_screenspot_pro)
OS_ATLAS = Layout("OS-ATLAS (JSON lists)", parse_os_atlas, write_os_atlas, rows=os_atlas_rows)
