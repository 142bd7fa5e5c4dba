"""The atlas as one self-contained page of HTML."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.figure import Figure

from toykit.atlas.figures import measures, prediction
from toykit.atlas.tables import SIGNS, absences, figures_table, finding_table, sentence, sheets
from toykit.audit.findings import VERDICTS
from toykit.plots.images import png
from toykit.plots.style import alt_text

STYLE = """
body { font-family: system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } p, li { max-width: 52rem; line-height: 1.45; }
.first { border-left: 4px solid #0072b2; padding: 0.2rem 1rem; background: #eff5fa; }
.wide { overflow-x: auto; } img { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 0.85rem; margin: 0.6rem 0; } caption { text-align: left; color: #555; }
th, td { text-align: left; padding: 0.25rem 0.6rem; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
.matrix th, .matrix td { padding: 0.15rem 0.2rem; text-align: center; }
.matrix th[scope=row] { text-align: left; font-weight: normal; padding-right: 0.6rem; }
.matrix thead th { writing-mode: vertical-rl; transform: rotate(180deg); font-weight: normal; vertical-align: bottom; }
.v { display: inline-block; width: 1.2rem; border-radius: 0.2rem; }
.exact { background: #d9efe6; } .biased { background: #fbeccb; } .note { background: #e8edf3; }
.fault { background: #f6d5c3; font-weight: bold; }
"""

LIMITS = (
    "Methods that share most of their code are not independent: intervals that resample methods are too narrow. The "
    "last two columns hold one half of a rung's seeds against the other half; what they lack to 1 is noise."
)


def page(results: Mapping[str, Any]) -> str:
    """The finding, the figures, the verdicts, the problems and what is left out, with nothing from elsewhere."""
    s = results["settings"]
    parts = [
        "<h1>The atlas of objectives</h1>",
        f'<div class="first"><p>{html.escape(sentence(results))}</p></div>',
        _picture(prediction(results)),
        f'<div class="wide">{finding_table(results)._repr_html_()}</div><p>{LIMITS}</p>',
        f"<h2>What is done to the distribution</h2><p>{html.escape(_how(results))}</p>",
        _list(f"{name}: {what}" for name, what in s["measures"].items()),
        _picture(measures(results)),
        *(f'<div class="wide">{figures_table(results, rung)._repr_html_()}</div>' for rung in s["rungs"]),
        "<h2>What the objectives do, exactly</h2>",
        _matrix(results),
        "<h2>The problems</h2>",
        _list(f"{name}: {one['about']}" for name, one in results["problems"].items()),
        "<h2>What is not here</h2>",
        _list(absences(results)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>The atlas of objectives</title>'
        f"<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _how(results: Mapping[str, Any]) -> str:
    s, made = results["settings"], results["made"]
    return (
        f"Each method makes {s['steps']} steps of gradient descent on each problem, from its reference policy: a "
        "table on the exact rung, a GPT of one layer fitted to the same law on the gpt rung. An update on policy sees "
        f"{s['group_size']} completions of each prompt; offline there are {s['data']}, and an update sees as many. The "
        f"learning rate follows one rule, stated beforehand: {s['rate']}; a critic's is the same. The measures are "
        f"sums over all completions, with beta {s['beta']}. Made by {made['command']}, seeds {made['seeds'][0]} to "
        f"{made['seeds'][-1]}, in {made['seconds']:.0f} s on {made['workers']} workers, {made['cpu_seconds']:.0f} s "
        "of processor time."
    )


def _picture(made: Figure) -> str:
    alt = html.escape(alt_text(made), quote=True)
    return f'<img src="data:image/png;base64,{base64.b64encode(png(made)).decode()}" alt="{alt}">'


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"


def _matrix(results: Mapping[str, Any]) -> str:
    """The audits: a row a method, a column a property, a sign a verdict; what was measured is each cell's title."""
    columns, audited = sheets(results)
    if not audited:
        return "<p>No method of these results is audited.</p>"
    legend = "; ".join(f"{SIGNS[v] or 'empty'} {'does not apply' if v == '-' else v}: {w}" for v, w in VERDICTS.items())
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th>{"".join(_verdict(sheet.get(c)) for c in columns)}</tr>'
        for name, sheet in audited.items()
    )
    return (
        f"<p>{html.escape(legend)}. What was measured stands in the title of each cell, and in <code>toykit audit "
        f'NAME</code>.</p><div class="wide"><table class="matrix"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _verdict(found: Mapping[str, str] | None) -> str:
    if found is None:
        return "<td></td>"
    verdict, detail = found["verdict"], html.escape(f"{found['verdict']}: {found['detail']}", quote=True)
    kind = "none" if verdict == "-" else verdict
    return f'<td><span class="v {kind}" title="{detail}" aria-label="{verdict}">{SIGNS[verdict]}</span></td>'
