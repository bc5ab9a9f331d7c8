"""Read-only trees of files: a folder, a hub snapshot, one file, an archive, or several of these at once.

Nothing is ever extracted: members are listed once, checked, and read where they lie.
"""

import dataclasses
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from vigorl_jax.datasets.paths import matches, safe_name
from vigorl_jax.datasets.refusals import RecordError, SourceError

MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much of a source is believed before it is refused.

    Attributes:
      max_members: Most files and folders in one archive.
      max_file_bytes: Largest single image or small file that is read at once.
      max_line_bytes: Longest line of a jsonl or TSV file, longest element of a JSON list.
      max_expansion: Most bytes per compressed byte, for anything that expands to more than `bomb_bytes`.
      bomb_bytes: Expansion below this size is never called a bomb.
    """

    max_members: int = 99_999
    max_file_bytes: int = 256 * MIB
    max_line_bytes: int = 16 * MIB
    max_expansion: int = 200
    bomb_bytes: int = 64 * MIB


class Tree(Protocol):
    """A read-only set of named files. Names are relative, with forward slashes."""

    label: str

    def match(self, pattern: str) -> list[str]:
        """Names whose last steps match the pattern (see `paths.matches`), sorted."""

    def has(self, name: str) -> bool:
        """Whether a file of this (safe) name exists."""

    def open(self, name: str) -> BinaryIO:
        """A seekable stream of one file."""

    def read(self, name: str) -> bytes:
        """All bytes of one file, refused above `Limits.max_file_bytes`."""

    def fingerprint(self) -> str:
        """Changes when the source changes: paths, sizes and times, not contents."""


class Folder:
    """A folder, or one file in it (`only`). Symbolic links may lead to `roots` and nowhere else."""

    def __init__(self, root: Path, limits: Limits, only: str | None = None):
        self.label = root.name
        self._root = root
        self._limits = limits
        self._only = only
        self._roots = [os.path.realpath(root)]
        if root.parent.name == "snapshots":  # The hub's cache: snapshots/REVISION/file -> ../../blobs/HASH.
            self._roots.append(os.path.realpath(root.parent.parent / "blobs"))

    def _names(self) -> Iterator[str]:
        if self._only is not None:
            yield self._only
            return
        for folder, folders, files in os.walk(self._root, followlinks=False):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                yield os.path.relpath(os.path.join(folder, name), self._root).replace(os.sep, "/")

    def match(self, pattern: str) -> list[str]:
        return sorted(name for name in self._names() if matches(name, pattern))

    def has(self, name: str) -> bool:
        return (self._root / name).is_file()

    def open(self, name: str) -> BinaryIO:
        real = os.path.realpath(self._root / safe_name(name))
        if not any(os.path.commonpath([real, root]) == root for root in self._roots):
            raise RecordError(
                "path_leaves_root", f"{name!r} is a link to {real!r}, outside {str(self._root)!r}."
            )
        try:
            if not stat.S_ISREG(os.stat(real).st_mode):
                raise RecordError("file_missing", f"{name!r} is not a regular file.")
            return open(real, "rb")
        except OSError as error:
            raise RecordError("file_missing", f"{name!r}: {error.strerror}.") from error

    def read(self, name: str) -> bytes:
        with self.open(name) as stream:
            return read_bounded(stream, name, self._limits)

    def fingerprint(self) -> str:
        status = os.stat(self._root / self._only if self._only else self._root)
        return f"{self._root / (self._only or '')}:{status.st_size}:{status.st_mtime_ns}"


class Union:
    """Several trees seen as one; the first that has a name wins."""

    def __init__(self, trees: Sequence[Tree]):
        self.label = trees[0].label
        self._trees = trees

    def _owner(self, name: str) -> Tree:
        for tree in self._trees:
            if tree.has(name):
                return tree
        raise RecordError("file_missing", f"no part of the source has a file {name!r}.")

    def match(self, pattern: str) -> list[str]:
        return sorted({name for tree in self._trees for name in tree.match(pattern)})

    def has(self, name: str) -> bool:
        return any(tree.has(name) for tree in self._trees)

    def open(self, name: str) -> BinaryIO:
        return self._owner(name).open(name)

    def read(self, name: str) -> bytes:
        return self._owner(name).read(name)

    def fingerprint(self) -> str:
        return "|".join(tree.fingerprint() for tree in self._trees)


def read_bounded(stream: BinaryIO, name: str, limits: Limits) -> bytes:
    """Reads a whole small file, refusing one above `Limits.max_file_bytes` without reading the rest of it."""
    data = stream.read(limits.max_file_bytes + 1)
    if len(data) > limits.max_file_bytes:
        raise RecordError("file_too_large", f"{name!r} has more than {limits.max_file_bytes} bytes.")
    return data


def open_source(paths: Sequence[Path], scratch: Path, limits: Limits | None = None) -> Tree:
    """Opens what a user points at: folders, tar or zip archives, hub snapshots, single data files.

    Args:
      paths: One or more paths; several are seen as one tree.
      scratch: Folder for the plain copy of a compressed tar, which has no random access of its own.
      limits: Bounds on sizes and counts; the defaults of `Limits` when not given.

    Raises:
      SourceError: a path that does not exist, or an archive with anything but plain files inside its root.
    """
    if not paths:
        raise SourceError("No source given: point --source at a folder, an archive, or a data file.")
    trees = [_open_one(Path(path), scratch, limits or Limits()) for path in paths]
    return trees[0] if len(trees) == 1 else Union(trees)


def _open_one(path: Path, scratch: Path, limits: Limits) -> Tree:
    from vigorl_jax.datasets import archives

    if not path.exists():
        raise SourceError(f"{path} does not exist: point --source at what you downloaded (see --list).")
    name = path.name.lower()
    if path.is_dir():
        return Folder(_snapshot(path), limits)
    if name.endswith(".tar"):
        return archives.TarTree(path, limits)
    if name.endswith(archives.COMPRESSED_TARS):
        return archives.TarTree(archives.decompress(path, scratch, limits), limits, source=path)
    if name.endswith(".zip"):
        return archives.ZipTree(path, limits)
    if name.endswith((".json", ".jsonl", ".parquet", ".tsv")):
        return Folder(path.parent, limits, only=path.name)
    raise SourceError(
        f"{path} has an unknown ending; wanted a folder, .tar[.gz|.bz2|.xz], .zip, .json[l], .parquet, .tsv."
    )


def _snapshot(path: Path) -> Path:
    """The revision folder of a hub cache entry (`datasets--owner--name`), or the folder itself."""
    snapshots = path / "snapshots"
    if not snapshots.is_dir():
        return path
    main = path / "refs" / "main"
    if main.is_file():
        revision = snapshots / main.read_text().strip()
        if revision.parent == snapshots and revision.is_dir():
            return revision
    revisions = sorted(folder for folder in snapshots.iterdir() if folder.is_dir())
    if len(revisions) != 1:
        raise SourceError(f"{snapshots} holds {len(revisions)} revisions: point --source at one of them.")
    return revisions[0]
