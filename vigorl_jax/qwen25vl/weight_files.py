"""The files of a model directory: which hold weights, which travel along, how all are replaced.

A directory is untrusted input. Only safetensors is read, never a pickle, and only from inside the directory.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import safetensors

from vigorl_jax.qwen25vl.config import FILE_NAME as CONFIG

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

# Tokenizer, processor and generation settings: everything but the weights that a model directory needs.
COMPANIONS = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
    "vocab.json",
)

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_WRITTEN = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?(\.partial)?")
_PARTIAL = ".partial"


class WeightsError(ValueError):
    """Weights that are absent, unsafe, damaged, or not those of the configuration."""


@contextlib.contextmanager
def open_tensors(model_dir: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Opens the weight files of a directory and yields {stored name: safetensors slice}, without reading.

    Raises:
      WeightsError: no weights, pickled weights, an index that names a file outside the directory or one that
        is absent, a damaged file, a tensor stored twice or not where the index says.
    """
    placed = _read_index(model_dir)
    tensors: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        for file in sorted(set(placed.values())) or [SINGLE]:
            opened = stack.enter_context(_open(inside(model_dir, file)))
            names = set(opened.keys())
            absent = sorted(name for name, place in placed.items() if place == file and name not in names)
            if absent:
                raise WeightsError(
                    f"{model_dir / file} lacks {listed(absent)}, named by {INDEX}; restore both files"
                )
            if twice := sorted(names & tensors.keys()):
                raise WeightsError(
                    f"{model_dir / file} repeats {listed(twice)} of another file; keep one of them"
                )
            tensors.update({name: opened.get_slice(name) for name in names})
        yield tensors


def inside(model_dir: pathlib.Path, name: str) -> pathlib.Path:
    """The path of a file that must lie in `model_dir` itself.

    Symbolic links may point within the directory, or, in a Hugging Face cache (`snapshots/REVISION/`), to the
    `blobs` of the same model, which is where that cache keeps every file.

    Raises:
      WeightsError: a name with a folder in it, or a link that leads elsewhere.
    """
    if pathlib.PurePosixPath(name).name != name or pathlib.PureWindowsPath(name).name != name:
        raise WeightsError(
            f"{model_dir} names the file {name!r}; wanted a file name without a folder; do not trust it"
        )
    root = model_dir.resolve()
    roots = [root, root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [root]
    target = (root / name).resolve()
    if not any(target.is_relative_to(folder) for folder in roots):
        raise WeightsError(
            f"{model_dir / name} is a link to {target}, outside the directory; put the file itself there"
        )
    return root / name


def shard_name(number: int, count: int) -> str:
    """The file of one shard, counted from 1: "model-00002-of-00004.safetensors"; one shard is `SINGLE`."""
    return SINGLE if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"


def listed(items: Iterable[str], limit: int = 8) -> str:
    """At most `limit` items, and how many more there are."""
    items = list(items)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def copy_companions(source: pathlib.Path, place: Callable[[str], pathlib.Path]) -> None:
    """Copies what `source` has of `COMPANIONS`, the file NAME to `place(NAME)`.

    Raises:
      WeightsError: `source` is no directory, or a file in it is a link to elsewhere.
    """
    if not source.is_dir():
        raise WeightsError(
            f"{source} is not a directory; give the one that holds the tokenizer and processor files"
        )
    for name in COMPANIONS:
        if (source / name).is_file():
            shutil.copyfile(inside(source, name), place(name))


def write_json(path: pathlib.Path, mapping: Mapping[str, Any]) -> None:
    """Writes a JSON object, indented, in UTF-8."""
    path.write_text(json.dumps(mapping, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def replacing_model(model_dir: pathlib.Path) -> Iterator[Callable[[str], pathlib.Path]]:
    """Yields `place`: file name -> temporary path to write to. At the end all files get their names at once.

    A directory without `config.json` loads nowhere. So the old one is removed first, then the old weights,
    then the new files come in the order of their `place`; the caller places `config.json` last. A failure
    before that leaves the old model as it was, a crash in between leaves a directory that does not load.
    """
    names: list[str] = []

    def place(name: str) -> pathlib.Path:
        names.append(name)
        return model_dir / (name + _PARTIAL)

    model_dir.mkdir(parents=True, exist_ok=True)
    try:
        yield place
        partials = [model_dir / (name + _PARTIAL) for name in names]
        for path in partials:
            _flush(path)
            # safetensors makes files for their owner alone; these are as readable as the directory.
            path.chmod(model_dir.stat().st_mode & 0o666)
        (model_dir / CONFIG).unlink(missing_ok=True)
        for path in model_dir.iterdir():
            if _WRITTEN.fullmatch(path.name) and path not in partials:
                path.unlink()
        for path, name in zip(partials, names, strict=True):
            os.replace(path, model_dir / name)
    finally:
        for name in names:
            (model_dir / (name + _PARTIAL)).unlink(missing_ok=True)


def _read_index(model_dir: pathlib.Path) -> dict[str, str]:
    """{stored name: file name} of a sharded checkpoint, empty for a single file."""
    # Where both exist transformers reads the single file.
    if (model_dir / SINGLE).exists():
        return {}
    if not (model_dir / INDEX).exists():
        raise _no_weights(model_dir)
    try:
        placed = json.loads(inside(model_dir, INDEX).read_text(encoding="utf-8"))["weight_map"]
        files = set(placed.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, WeightsError):
            raise
        wanted = 'wanted JSON with "weight_map": {tensor: file}; restore it'
        raise WeightsError(f"{model_dir / INDEX} is not an index ({error!r}); {wanted}") from error
    for file in files:
        if not isinstance(file, str) or not file.endswith(".safetensors"):
            raise WeightsError(
                f"{model_dir / INDEX} names {file!r}; only .safetensors is read, as a pickle can run code; "
                "save the model again with safetensors"
            )
        if not inside(model_dir, file).is_file():
            raise WeightsError(f"{model_dir / file} is absent but named by {INDEX}; download it again")
    return placed


def _no_weights(model_dir: pathlib.Path) -> WeightsError:
    files = sorted(path.name for path in model_dir.iterdir() if path.is_file())
    pickles = [name for name in files if name.endswith((*_PICKLES, ".bin.index.json"))]
    if pickles:
        return WeightsError(
            f"{model_dir} holds pickled weights ({listed(pickles)}), which can run code and are not read; "
            "save the model again with safetensors"
        )
    found = listed(files) or "nothing"
    return WeightsError(
        f"{model_dir} has neither {SINGLE} nor {INDEX}; found {found}; give a model directory"
    )


def _open(path: pathlib.Path) -> Any:
    try:
        return safetensors.safe_open(path, framework="numpy")
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is no readable safetensors file ({error}); download or save it again"
        ) from error


def _flush(path: pathlib.Path) -> None:
    """Puts a file on the disk, so that a power cut cannot leave its name without its content."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
