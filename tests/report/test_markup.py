"""Names and titles are text: in no form of a report do they run, link or compute."""

from __future__ import annotations

import re

import pandas as pd
from support import ROOT, STUDY, fxsim, jit_only

from fxsim.report.html import _plain
from fxsim.report.write import inert

EVIL = '=HYPERLINK("http://evil","x")<script>alert(3)</script>'
TITLE = "<script>alert(1)</script> [x](javascript:alert(1)) | a `b` **c** &lt;"


def test_a_report_of_hostile_names(tmp_path):
    jit_only()
    machine = (ROOT / "accelerators" / "dynasty.yaml").read_text()
    machine = re.sub(r"(?m)^name: .*", f"name: '{EVIL}'", machine)
    (tmp_path / "m.yaml").write_text(re.sub(r"(?m)^source: >-$", "source: >-\n  <b>x</b>", machine))
    study = re.sub(r"(?m)^title: .*", f'title: "{TITLE}"', STUDY)
    study = re.sub(r"(?ms)^accelerators: .*?\n(?=\w)", "accelerators: [m.yaml]\n", study)
    (tmp_path / "s.yaml").write_text(study)
    fxsim("run", "s.yaml", at=tmp_path)
    (place,) = (tmp_path / "reports").iterdir()
    page = (place / "report.html").read_text()
    assert page.count("<script") == 1  # its own
    assert "<b>x" not in page
    assert not re.search(r"href=.javascript", page)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/]{43}='$", policy)
    text = (place / "report.md").read_text().split("```")[0]
    assert not re.search(r"<\w", text)
    assert not re.search(r"(?<!\\)\]\((?!figures/[\w.+=-]+\))", text)  # links to figures alone
    assert all(re.fullmatch(r"[\w.+=-]+", path.name) for path in place.rglob("*") if path.is_file())
    for path in (place / "tables").glob("*.csv"):
        cells = pd.read_csv(path, dtype=str).fillna("").to_numpy().ravel()
        assert not [cell for cell in cells if re.match(r"[=@]", cell)]
    summary = pd.read_csv(place / "tables" / "summary.csv")
    assert set(summary["accelerator"]) == {f"'{EVIL}"}
    assert set(pd.read_parquet(place / "tables" / "summary.parquet")["accelerator"]) == {EVIL}


def test_markdown_shows_text_as_it_is():
    assert _plain("a < b & [c](d) | `e` *f*") == r"a &lt; b &amp; \[c\](d) \| \`e\` \*f\*"


def test_only_formulas_are_quoted():
    table = pd.DataFrame(
        {"a": ["=1", "+0.5 %", "-", "-0.3", "@x", "-x", "+cmd", "1.2x", "-1.5x", "\tx"], "b": -1}
    )
    quoted = inert(table)
    assert quoted["a"].tolist() == [
        "'=1", "+0.5 %", "-", "-0.3", "'@x", "'-x", "'+cmd", "1.2x", "-1.5x", "'\tx",
    ]  # fmt: skip
    assert quoted["b"].tolist() == [-1] * 10
    assert table["a"][0] == "=1"
