"""An audit as one self-contained page of HTML."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from toykit.audit.figures import figures
from toykit.audit.findings import VERDICTS
from toykit.audit.problems import problem
from toykit.audit.report import Audit
from toykit.plots.images import png
from toykit.plots.style import alt_text

STYLE = """
body { font-family: system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.6rem; border-bottom: 1px solid #e4e4e4; }
td:first-child, td:nth-child(4) { font-family: ui-monospace, monospace; font-size: 0.82rem; white-space: nowrap; }
.v { display: inline-block; min-width: 3.6rem; padding: 0 0.4rem; border-radius: 0.3rem; text-align: center; }
.exact { background: #d9efe6; } .biased { background: #fbeccb; } .fault { background: #f6d5c3; font-weight: bold; }
.note { background: #e8edf3; } .none { color: #777; }
.bugs { border-left: 4px solid #d55e00; padding: 0.2rem 1rem; background: #fdf5f0; }
.bugs td:first-child { font-weight: bold; }
img { max-width: 100%; height: auto; } p { max-width: 50rem; line-height: 1.45; }
"""


def page(found: Audit) -> str:
    """The tables, the figures and the problems of an audit, without anything from elsewhere."""
    name = html.escape(found.objective)
    parts = [f"<h1>What does {name} really do?</h1>", f"<p>{html.escape(found.caption())}.</p>", _bugs(found)]
    if (made := figures(found)) is not None:
        picture = base64.b64encode(png(made)).decode()
        alt = html.escape(alt_text(made), quote=True)
        parts.append(f'<h2>Over ranges</h2><img src="data:image/png;base64,{picture}" alt="{alt}">')
    parts += ["<h2>Properties</h2>", _properties(found), "<h2>Problems</h2>", _problems(found)]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Audit of {name}</title>'
        f"<style>{STYLE}</style></head><body>{''.join(part for part in parts if part)}</body></html>\n"
    )


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Cells of the rows are HTML."""
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _properties(found: Audit) -> str:
    rows = []
    for one in found.properties:
        kind = "none" if one.verdict == "-" else one.verdict
        verdict = f'<span class="v {kind}" title="{VERDICTS[one.verdict]}">{one.verdict}</span>'
        rows.append((one.name, verdict, html.escape(one.detail), html.escape(one.problem)))
    return _table(("property", "verdict", "what was measured", "problem"), rows)


def _bugs(found: Audit) -> str:
    if not found.diagnosis:
        return ""
    rows = [tuple(map(html.escape, (one.bug, one.words, one.evidence, one.problem))) for one in found.diagnosis]
    return f'<div class="bugs"><h2>Likely bugs</h2>{_table(("bug", "what it is", "evidence", "problem"), rows)}</div>'


def _problems(found: Audit) -> str:
    """What each problem is that a property was measured on; variants and group sizes share a line."""
    names = dict.fromkeys(one.problem.partition("@")[0].partition("/")[0] for one in found.properties if one.problem)
    rows = [(html.escape(name), html.escape(problem(name).about)) for name in names]
    said = "A name rebuilds its problem: <code>toykit.audit.problem(name)</code>; "
    return f"<p>{said}variants follow after a slash, a group size after @.</p>" + _table(("name", "what it is"), rows)
