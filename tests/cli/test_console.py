"""Tables on narrow and wide terminals."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from fxsim.terminal import console

TABLE = pd.DataFrame(
    {
        "layer": ["conv1", "total"],
        "pass": ["forward", ""],
        **{f"number{i}": ["1,234,567", f"{i:,.2f}"] for i in range(12)},
    }
)


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_no_number_is_cut_at_any_width(columns, capsys, monkeypatch):
    """What has no room stands below, behind the columns that name the rows."""
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("COLUMNS", str(columns))
    console.print_table(TABLE, "a title [with] brackets")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    text = "\n".join(lines)
    assert max(map(len, lines)) <= columns
    assert "…" not in text
    assert text.count("1,234,567") == 12
    assert text.count("a title [with] brackets") == 1
    parts = text.count("conv1")
    assert parts == text.count("┏")
    assert (parts > 1) is (columns < 200)


def test_a_table_of_words_is_one_table():
    words = pd.DataFrame({"policy": ["uniform"], "summary": ["fixed bits"]})
    assert console._fitting(words, 20) == (["policy", "summary"], [["policy", "summary"]])
