"""Tar and zip files as read-only trees: every member is checked once, then read where it lies.

Refused by name, before anything is read: members that leave the archive's root, links, devices, sparse files,
two members of one name, too many members, and archives that expand beyond reason.
"""

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import weakref
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from vigorl_jax.datasets.paths import matches, safe_name
from vigorl_jax.datasets.refusals import RecordError, SourceError
from vigorl_jax.datasets.sources import MIB, Limits, read_bounded

_OPENERS = {"gz": gzip.open, "tgz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a pipe",
}
# A central directory entry takes at least 46 bytes; names and extra fields come on top.
_ZIP_ENTRY_BYTES = 1024


class TarTree:
    """An uncompressed tar, read by offset: any number of threads may read at once."""

    def __init__(self, path: Path, limits: Limits, source: Path | None = None):
        self._source = source or path
        self.label = self._source.name.split(".")[0]
        self._limits = limits
        with path.open("rb") as stream:
            self._members = _scan_tar(stream, self._source, limits)
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def match(self, pattern: str) -> list[str]:
        return sorted(name for name in self._members if matches(name, pattern))

    def has(self, name: str) -> bool:
        return name in self._members

    def open(self, name: str) -> BinaryIO:
        if name not in self._members:
            raise RecordError("file_missing", f"{self._source} has no member {name!r}.")
        return io.BufferedReader(_Window(self._descriptor, *self._members[name]), MIB)

    def read(self, name: str) -> bytes:
        with self.open(name) as stream:
            return read_bounded(stream, name, self._limits)

    def fingerprint(self) -> str:
        return _file_fingerprint(self._source)


class _Window(io.RawIOBase):
    """A seekable view of `size` bytes of an open file from `start`; shares no position with other views."""

    def __init__(self, descriptor: int, start: int, size: int):
        super().__init__()
        self._descriptor, self._start, self._size, self._position = descriptor, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readinto(self, buffer) -> int:
        wanted = min(len(buffer), max(0, self._size - self._position))
        data = os.pread(self._descriptor, wanted, self._start + self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


class _HeaderReads:
    """The file as tarfile sees it while members are listed: small reads only.

    tarfile reads long-name and extended headers whole, so a header that claims 10 GB would fill the memory.
    """

    def __init__(self, stream: BinaryIO, path: Path):
        self._stream, self._path = stream, path
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if size > MIB:
            raise SourceError(
                f"{self._path}: a header claims {size} bytes; the archive is damaged or hostile."
            )
        return self._stream.read(size)


def _scan_tar(stream: BinaryIO, path: Path, limits: Limits) -> dict[str, tuple[int, int]]:
    """Lists a tar: name -> (offset, size) of every plain file."""
    total = os.fstat(stream.fileno()).st_size
    found: dict[str, tuple[int, int]] = {}
    count = 0
    try:
        with tarfile.open(fileobj=_HeaderReads(stream, path), mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # tarfile would keep about 1 KB for each member.
                count += 1
                _check_count(count, path, limits)
                name = _member_name(member.name, path)
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    kind = _KINDS.get(member.type, "a sparse or special file")
                    raise SourceError(f"{path}: member {member.name!r} is {kind}; only plain files are read.")
                if member.offset_data + member.size > total:
                    raise SourceError(
                        f"{path}: member {member.name!r} is cut off; download the archive again."
                    )
                _add(found, name, (member.offset_data, member.size), path)
    except (tarfile.TarError, ValueError) as error:
        raise SourceError(f"{path} is not a readable tar file: {error}.") from error
    return found


def decompress(path: Path, scratch: Path, limits: Limits) -> Path:
    """Writes the plain tar inside a compressed one to `scratch`; a bomb is refused and removed."""
    scratch.mkdir(parents=True, exist_ok=True)
    target = scratch / f"{path.name}.tar"
    most = max(limits.bomb_bytes, limits.max_expansion * path.stat().st_size)
    written = 0
    try:
        with (
            _OPENERS[path.name.lower().rsplit(".", 1)[-1]](path, "rb") as packed,
            open(target, "wb") as plain,
        ):
            while chunk := packed.read(MIB):
                written += len(chunk)
                if written > most:
                    raise SourceError(f"{path} is a compression bomb: it expands beyond {most} bytes.")
                plain.write(chunk)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        target.unlink(missing_ok=True)
        raise SourceError(f"{path} cannot be decompressed: {error}.") from error
    except SourceError:
        target.unlink(missing_ok=True)
        raise
    return target


class ZipTree:
    """A zip file. Members are decompressed when read, checked against their stated size and checksum."""

    def __init__(self, path: Path, limits: Limits):
        self.label = path.name.rsplit(".", 1)[0]
        self._path = path
        self._limits = limits
        try:
            _check_directory_size(path, limits)
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, struct.error) as error:
            raise SourceError(f"{path} is not a readable zip file: {error}.") from error
        self._members = _scan_zip(self._archive, path, limits)

    def match(self, pattern: str) -> list[str]:
        return sorted(name for name in self._members if matches(name, pattern))

    def has(self, name: str) -> bool:
        return name in self._members

    def open(self, name: str) -> BinaryIO:
        if name not in self._members:
            raise RecordError("file_missing", f"{self._path} has no member {name!r}.")
        return self._archive.open(self._members[name])

    def read(self, name: str) -> bytes:
        try:
            with self.open(name) as stream:
                return read_bounded(stream, name, self._limits)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise RecordError("file_damaged", f"{self._path}: member {name!r}: {error}.") from error

    def fingerprint(self) -> str:
        return _file_fingerprint(self._path)


def _check_directory_size(path: Path, limits: Limits) -> None:
    """Refuses a directory too large for the allowed number of members before zipfile loads it into memory."""
    total = path.stat().st_size
    with open(path, "rb") as stream:
        stream.seek(max(0, total - (1 << 16) - 64))
        tail = stream.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0:
        raise zipfile.BadZipFile("no end-of-directory record")
    size = struct.unpack_from("<I", tail, end + 12)[0]
    wide = tail.rfind(b"PK\x06\x06", 0, end)  # The 64-bit record, present when a count or size overflows.
    if size == 0xFFFFFFFF and wide >= 0:
        size = struct.unpack_from("<Q", tail, wide + 40)[0]
    if size > limits.max_members * _ZIP_ENTRY_BYTES:
        raise SourceError(
            f"{path}: a directory of {size} bytes means more than {limits.max_members} members."
        )


def _scan_zip(archive: zipfile.ZipFile, path: Path, limits: Limits) -> dict[str, zipfile.ZipInfo]:
    found: dict[str, zipfile.ZipInfo] = {}
    for count, member in enumerate(archive.infolist(), start=1):
        _check_count(count, path, limits)
        name = _member_name(member.filename, path)
        mode = member.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "a special file"
            raise SourceError(f"{path}: member {member.filename!r} is {kind}; only plain files are read.")
        if member.flag_bits & 1:
            raise SourceError(f"{path}: member {member.filename!r} is encrypted; decrypt the archive first.")
        if member.is_dir():
            continue
        _check_expansion(
            member.file_size, member.compress_size, f"{path}: member {member.filename!r}", limits
        )
        _add(found, name, member, path)
    # Members that share one compressed region look harmless one by one; their sum does not.
    _check_expansion(
        sum(member.file_size for member in found.values()), path.stat().st_size, str(path), limits
    )
    return found


def _check_expansion(expanded: int, packed: int, what: str, limits: Limits) -> None:
    if expanded > limits.bomb_bytes and expanded > limits.max_expansion * max(packed, 1):
        raise SourceError(f"{what} is a compression bomb: {packed} bytes expand to {expanded}.")


def _check_count(count: int, path: Path, limits: Limits) -> None:
    if count > limits.max_members:
        raise SourceError(
            f"{path} has more than {limits.max_members} members; raise --max_members if that is right."
        )


def _member_name(name: str, path: Path) -> str:
    if name.rstrip("/") in (".", ""):
        return "."
    try:
        return safe_name(name)
    except RecordError as error:
        raise SourceError(f"{path}: member {error.detail}") from error


def _add(found: dict, name: str, value, path: Path) -> None:
    if name in found:
        raise SourceError(f"{path}: member {name!r} appears twice.")
    found[name] = value


def _file_fingerprint(path: Path) -> str:
    status = path.stat()
    return f"{path}:{status.st_size}:{status.st_mtime_ns}"
