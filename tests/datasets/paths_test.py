"""Names inside a source: what is safe, what a pattern means."""

import pytest

from vigorl_jax.datasets.paths import matches, parents, safe_name
from vigorl_jax.datasets.refusals import RecordError


@pytest.mark.parametrize(
    ("name", "normal"),
    [("a.png", "a.png"), ("./a//b.png", "a/b.png"), ("a/12:30.png", "a/12:30.png"), ("..a/b", "..a/b")],
)
def test_relative_names_are_normalised(name, normal):
    assert safe_name(name) == normal


@pytest.mark.parametrize(
    "name",
    ["../a.png", "a/../../b", "a/..", "/etc/passwd", "a\\..\\b", "", "  ", ".", "a\0b", "x" * 5000],
)
def test_names_that_leave_the_root_are_refused(name):
    with pytest.raises(RecordError) as refusal:
        safe_name(name)
    assert refusal.value.reason == "path_leaves_root"


@pytest.mark.parametrize(
    "name", ["https://host/a.png", "file:///etc/passwd", "data:image/png;base64,AA", "C:/a.png"]
)
def test_addresses_are_refused(name):
    with pytest.raises(RecordError) as refusal:
        safe_name(name)
    assert refusal.value.reason == "image_is_url"


def test_patterns_match_the_last_steps_of_a_name():
    assert matches("data/blink/val-0.parquet", "val-*.parquet")
    assert matches("data/blink/val-0.parquet", "*/val-*.parquet")
    assert not matches("data/blink/val-0.parquet", "data/val-*.parquet")
    assert not matches("val-0.parquet", "*/val-*.parquet")


def test_parents_run_from_the_root_inwards():
    assert parents("a/b/c.json") == ["", "a", "a/b"]
    assert parents("c.json") == [""]
