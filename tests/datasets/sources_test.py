"""Folders, single files, hub snapshots and several sources at once, as read-only trees."""

import os

import pytest

from vigorl_jax.datasets.refusals import RecordError, SourceError
from vigorl_jax.datasets.sources import Limits, open_source


def test_a_folder_gives_the_bytes_of_its_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.bin").write_bytes(b"\0\1\0")
    tree = open_source([tmp_path], tmp_path)
    assert tree.match("*.bin") == ["a/x.bin"]
    assert tree.read("a/x.bin") == b"\0\1\0"


def test_a_link_out_of_the_folder_is_refused_by_name(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.png").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(RecordError, match=r"'a\.png' is a link to .*secret\.txt.*outside") as refusal:
        open_source([tmp_path / "root"], tmp_path).read("a.png")
    assert refusal.value.reason == "path_leaves_root"


def test_a_linked_folder_is_not_entered(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.jsonl").write_text("{}")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "inner").symlink_to(tmp_path / "outside")
    assert open_source([tmp_path / "root"], tmp_path).match("*.jsonl") == []


def test_links_of_a_hub_snapshot_lead_to_its_blobs(tmp_path):
    entry = tmp_path / "datasets--owner--name"
    (entry / "blobs").mkdir(parents=True)
    (entry / "blobs" / "abc").write_bytes(b"blob")
    (entry / "snapshots" / "rev1").mkdir(parents=True)
    (entry / "snapshots" / "rev1" / "a.json").symlink_to("../../blobs/abc")
    assert open_source([entry], tmp_path).read("a.json") == b"blob"
    assert open_source([entry / "snapshots" / "rev1"], tmp_path).read("a.json") == b"blob"


def test_of_several_revisions_the_main_one_is_read_and_without_it_one_must_be_named(tmp_path):
    for revision in ("rev1", "rev2"):
        (tmp_path / "snapshots" / revision).mkdir(parents=True)
        (tmp_path / "snapshots" / revision / "a.txt").write_text(revision)
    with pytest.raises(SourceError, match="holds 2 revisions"):
        open_source([tmp_path], tmp_path)
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs" / "main").write_text("rev2")
    assert open_source([tmp_path], tmp_path).read("a.txt") == b"rev2"


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(RecordError, match="not a regular file"):
        open_source([tmp_path], tmp_path).read("a.png")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecordError, match=r"'a\.png': No such file"):
        open_source([tmp_path], tmp_path).read("a.png")


def test_a_file_above_the_limit_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"12345")
    with pytest.raises(RecordError, match="more than 4 bytes") as refusal:
        open_source([tmp_path], tmp_path, Limits(max_file_bytes=4)).read("a.png")
    assert refusal.value.reason == "file_too_large"


def test_a_data_file_stands_for_itself_and_its_folder_for_images(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}")
    (tmp_path / "b.jsonl").write_text("{}")
    (tmp_path / "x.png").write_bytes(b"x")
    tree = open_source([tmp_path / "a.jsonl"], tmp_path)
    assert tree.match("*.jsonl") == ["a.jsonl"]
    assert tree.read("x.png") == b"x"


def test_several_sources_are_seen_as_one(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(name)
    tree = open_source([tmp_path / "one", tmp_path / "two"], tmp_path)
    assert tree.match("*.txt") == ["one.txt", "two.txt"]
    assert tree.read("two.txt") == b"two"
    with pytest.raises(RecordError, match="no part of the source"):
        tree.read("three.txt")


def test_what_cannot_be_a_source_is_refused(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        open_source([tmp_path / "none"], tmp_path)
    (tmp_path / "a.exe").write_text("")
    with pytest.raises(SourceError, match="unknown ending"):
        open_source([tmp_path / "a.exe"], tmp_path)
    with pytest.raises(SourceError, match="No source given"):
        open_source([], tmp_path)
