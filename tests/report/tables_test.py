"""Tables as text."""

import pytest

from vigorl_jax.report import tables


def test_columns_are_as_wide_as_their_widest_cell():
    text = tables.as_text(("", "right"), [("a long name", "1"), ("b", "0.25")])
    assert text.splitlines() == [
        "             right",
        "-----------  -----",
        "a long name      1",
        "b             0.25",
    ]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"a row of 1 cells in a table of 2 columns: \['a'\]"):
        tables.as_text(("", "x"), [("a",)])
