"""The table of data sets: names that others rely on, published counts, facts of every row."""

import pytest

from vigorl_jax.datasets.boxes import CONVENTIONS
from vigorl_jax.datasets.catalog import CATALOG, find, table_lines
from vigorl_jax.datasets.refusals import SourceError
from vigorl_jax.tasks.example import TASKS


def test_the_names_that_others_rely_on_exist():
    wanted = """vigorl_spatial vigorl_visual_search vigorl_web_grounding vigorl_web_action sat2 sat_real blink
        robospatial vstar hrbench_4k hrbench_8k screenspot_v1 screenspot_v2 screenspot_pro screenspot_pro_lr
        visualwebarena realworldqa mmmu visualprobe os_atlas"""
    assert set(wanted.split()) <= set(CATALOG)


def test_published_counts():
    counts = {name: sum(row.counts.values()) for name, row in CATALOG.items() if row.counts}
    assert counts == {
        "sat2": 4001, "sat_real": 150, "blink": 1901, "robospatial": 350, "vstar": 191, "hrbench_4k": 800,
        "hrbench_8k": 800, "visualprobe": 515, "realworldqa": 765, "mmmu": 900, "screenspot_v1": 1272,
        "screenspot_v2": 1272, "screenspot_pro": 1581, "screenspot_pro_lr": 1581,
    }  # fmt: skip


@pytest.mark.parametrize("row", [row for row in CATALOG.values() if row.categories], ids=lambda row: row.name)
def test_categories_add_up_to_the_published_count(row):
    assert sum(row.categories.values()) == sum(row.counts.values())


@pytest.mark.parametrize("row", CATALOG.values(), ids=lambda row: row.name)
def test_every_row_states_its_facts(row):
    assert row.task in (*TASKS, "")
    assert all([row.title, row.source, row.size, row.licence, row.citation, row.forms])
    assert all(form.box in CONVENTIONS and set(row.counts) <= set(form.files) for form in row.forms)
    assert bool(row.hub) == bool(row.hub_files)


def test_box_conventions_are_fixed_by_source():
    assert {
        name: CATALOG[name].forms[0].box
        for name in ("screenspot_v1", "screenspot_v2", "screenspot_pro", "os_atlas")
    } == {
        "screenspot_v1": "xywh_pixels",
        "screenspot_v2": "xywh_pixels",
        "screenspot_pro": "xyxy_pixels",
        "os_atlas": "xyxy_shares",
    }
    assert [form.box for form in CATALOG["vstar"].forms] == ["xyxy_pixels", "xywh_pixels", "xyxy_pixels"]


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(SourceError, match=r"No data set 'vstr'; there are .*vstar"):
        find("vstr")


def test_the_list_shows_counts_and_where_to_get_the_files():
    text = "\n".join(table_lines())
    assert "V*Bench: small objects in large photographs [test 191]" in text
    assert "get: Hugging Face gsarch/vigorl_datasets: web_action.tar; 203 MB; MIT" in text
