"""Tar and zip files: members are read exactly, hostile archives are refused by name and write nothing."""

import gzip
import io
import os
import struct
import tarfile
import threading
import zipfile

import pytest

from vigorl_jax.datasets.refusals import RecordError, SourceError
from vigorl_jax.datasets.sources import Limits, open_source

_SPECIAL = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a pipe",
}


def _tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _zip(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def _open(path, scratch, **limits):
    return open_source([path], scratch / "scratch", Limits(**limits))


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz", "a.zip"])
def test_members_come_back_byte_for_byte(tmp_path, name):
    members = [("d/x.png", os.urandom(3000)), ("y.jsonl", b"{}\n"), ("d/" + "n" * 150, b"long name")]
    if name.endswith("zip"):
        path = _zip(tmp_path / name, members)
    else:
        kind = {"a.tar": "w", "a.tgz": "w:gz"}.get(name, "w:" + name.rsplit(".", 1)[-1])
        path = _tar(tmp_path / name, members, kind)
    tree = _open(path, tmp_path)
    assert {member: tree.read(member) for member, _ in members} == dict(members)
    assert tree.match("*.jsonl") == ["y.jsonl"]
    assert not tree.has("z")
    with pytest.raises(RecordError, match="no member 'z'"):
        tree.read("z")


def test_a_stream_of_a_tar_member_seeks_inside_the_member_only(tmp_path):
    tree = _open(_tar(tmp_path / "a.tar", [("a", b"xxxx"), ("b", b"0123456789")]), tmp_path)
    with tree.open("b") as stream:
        stream.seek(-3, io.SEEK_END)
        assert stream.read() == b"789"
        stream.seek(2)
        assert stream.read(2) == b"23"
        assert stream.tell() == 4


def test_many_threads_read_one_tar(tmp_path):
    members = [(f"m{number}", bytes([number]) * 5000) for number in range(50)]
    tree = _open(_tar(tmp_path / "a.tar", members), tmp_path)
    wrong = []

    def check():
        wrong.extend(name for name, data in members if tree.read(name) != data)

    threads = [threading.Thread(target=check) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    "name", ["../evil.txt", "d/../../evil.txt", "/tmp/evil.txt", "C:/evil.txt", "d\\..\\evil.txt"]
)
@pytest.mark.parametrize("make", [_tar, _zip])
def test_members_outside_the_root_are_refused_by_name(tmp_path, make, name):
    path = make(tmp_path / ("a.tar" if make is _tar else "a.zip"), [("good.txt", b""), (name, b"evil")])
    with pytest.raises(SourceError, match="evil"):
        _open(path, tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize("kind", _SPECIAL)
def test_tar_links_and_devices_are_refused_by_name(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("evil")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(SourceError, match=f"'evil' is {_SPECIAL[kind]}"):
        _open(tmp_path / "a.tar", tmp_path)


def test_zip_links_and_encrypted_members_are_refused_by_name(tmp_path):
    link = zipfile.ZipInfo("evil")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(SourceError, match="'evil' is a symbolic link"):
        _open(tmp_path / "a.zip", tmp_path)
    path = _zip(tmp_path / "b.zip", [("locked", b"data")])
    content = bytearray(path.read_bytes())
    content[content.rfind(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(SourceError, match="'locked' is encrypted"):
        _open(path, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("make", [_tar, _zip])
def test_100_000_members_are_too_many_by_default(tmp_path, make):
    members = [(f"m{number}", b"") for number in range(100_000)]
    with pytest.raises(SourceError, match="more than 99999 members"):
        _open(make(tmp_path / ("a.tar" if make is _tar else "a.zip"), members), tmp_path)


def test_the_number_of_members_is_a_setting(tmp_path):
    path = _tar(tmp_path / "a.tar", [("a", b""), ("b", b""), ("c", b"")])
    with pytest.raises(SourceError, match="more than 2 members"):
        _open(path, tmp_path, max_members=2)
    assert _open(path, tmp_path, max_members=3).has("c")
    assert Limits().max_members == 99_999


def test_two_members_of_one_name_are_refused(tmp_path):
    with pytest.raises(SourceError, match="'a' appears twice"):
        _open(_tar(tmp_path / "a.tar", [("a", b"1"), ("./a", b"2")]), tmp_path)


def test_a_compressed_tar_that_expands_beyond_reason_is_refused_and_removed(tmp_path):
    with gzip.open(tmp_path / "bomb.tar.gz", "wb") as stream:
        stream.write(bytes(3 << 20))
    with pytest.raises(SourceError, match="compression bomb: it expands beyond 1048576 bytes"):
        _open(tmp_path / "bomb.tar.gz", tmp_path, bomb_bytes=1 << 20)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_zip_member_that_expands_beyond_reason_is_refused(tmp_path):
    path = _zip(tmp_path / "bomb.zip", [("zeros", bytes(3 << 20))])
    with pytest.raises(SourceError, match="'zeros' is a compression bomb"):
        _open(path, tmp_path, bomb_bytes=1 << 20)


def test_zip_members_that_share_one_compressed_region_are_refused_together(tmp_path):
    path = _zip(tmp_path / "bomb.zip", [(f"m{number}", bytes(1 << 20)) for number in range(4)])
    with pytest.raises(SourceError, match=r"bomb\.zip is a compression bomb"):
        _open(path, tmp_path, bomb_bytes=2 << 20)


def test_a_zip_directory_that_claims_millions_of_members_is_not_loaded(tmp_path):
    path = _zip(tmp_path / "a.zip", [("a", b"")])
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.rfind(b"PK\x05\x06") + 12, 0x7FFFFFFF)
    path.write_bytes(content)
    with pytest.raises(SourceError, match="a directory of 2147483647 bytes"):
        _open(path, tmp_path)


def test_a_tar_header_that_claims_gigabytes_is_not_read(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 5 << 30
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(SourceError, match="a header claims 5368709120 bytes"):
        _open(tmp_path / "a.tar", tmp_path)


def test_a_cut_off_archive_is_named(tmp_path):
    path = _tar(tmp_path / "a.tar", [("big", bytes(50_000))])
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(SourceError, match="'big' is cut off"):
        _open(path, tmp_path)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.xz", "a.zip"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"this is not an archive" * 100)
    with pytest.raises(SourceError, match=r"is not a readable|cannot be decompressed"):
        _open(tmp_path / name, tmp_path)


def test_a_damaged_zip_member_is_a_dropped_record(tmp_path):
    path = _zip(tmp_path / "a.zip", [("a.png", b"0123456789" * 10)], zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.find(b"0123456789")] ^= 1
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"a\.png.*CRC") as refusal:
        _open(path, tmp_path).read("a.png")
    assert refusal.value.reason == "file_damaged"
