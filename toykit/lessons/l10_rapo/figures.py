"""Pictures of the results of lesson 10."""

from __future__ import annotations

from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_runs
from toykit.plots import Role, curve_with_interval, figure, legend_below, panel_labels, role
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = {
    "base": role("prior"),
    "RAPO": CYCLE[0],
    "GRPO": CYCLE[1],
    "forward": CYCLE[2],
    "reverse": CYCLE[4],
    "strong reverse": CYCLE[3],
}
SHARED = {  # the arms of the shared prompts: (label, look)
    "GRPO": ("GRPO", "GRPO"),
    "reverse KL 0.1": ("reverse KL, α = 0.1", "reverse"),
    "reverse KL 0.5": ("reverse KL, α = 0.5", "strong reverse"),
    "forward KL": ("forward KL, α = 0.3", "forward"),
    "RAPO": ("RAPO, α = 0.3", "RAPO"),
}
SAMPLED = {
    "GRPO": "GRPO",
    "GRPO + reverse KL": "reverse",
    "GRPO + reverse KL, beside": "strong reverse",
    "GRPO + forward KL": "forward",
    "RAPO": "RAPO",
}
FLOWS = {
    "reverse": "reverse KL",
    "literal": "read literally",
    "forward": "forward KL",
    "tempered": "and flattened by E r",
}
FLOW_LOOKS = {"reverse": "reverse", "literal": "strong reverse", "forward": "forward", "tempered": "RAPO"}


def optima_figure(results: Results) -> Figure:
    """Mass of the right answer at the optima against what the reference gave it, and on the way there."""
    made, (left, right) = figure(2, height=3.1, width=9.2)
    found = results["table"]
    places = range(len(found["eps"]))
    for way in ("forward", "reverse"):
        how = LOOKS[way]
        for i, alpha in enumerate(found["alphas"]):
            y = [row[i] for row in found[way]]
            label = f"{way} KL" if i == 0 else ""
            left.plot(places, y, color=how.color, linestyle=how.linestyle, marker=how.marker, label=label)
            at = 3 if way == "forward" else sum(mass > 0.5 for mass in y[1:])  # where it begins to fall
            name = f"α = {alpha:g}"
            left.annotate(name, (at, y[at]), (7, 4), textcoords="offset points", fontsize=8, color=how.color)
    left.set_xticks(places, ["0.01", "0.0001", "0.000001", "0"])
    left.set(
        title="at the optimum", xlabel="reference's mass on the right answer, ε", ylabel="mass of the right answer"
    )
    left.set(xlim=(-0.15, 4.5), ylim=(-0.04, 1.1))
    left.legend(loc="lower right", bbox_to_anchor=(1, 0.08))
    paths, middle = results["flow"]["path"], results["flow"]["eps"].index(1e-3)
    for name, label in FLOWS.items():
        how, path = LOOKS[FLOW_LOOKS[name]], paths[name]
        right.plot(path["steps"], path["mass"][middle], color=how.color, linestyle=how.linestyle, label=label)
    right.axhline(0.5, color="#888888", linewidth=0.8)
    right.set(title="on the way, ε = 0.001, α = 0.2", xlabel="steps of exact ascent", xscale="log", ylim=(-0.04, 1.06))
    right.legend(loc="center left")
    panel_labels((left, right))
    return made


def coverage_figure(results: Results) -> Figure:
    """Forty prompts that share logits: pass@k after training, and the ten rarest on the way."""
    made, (left, right) = figure(2, height=3.3, width=9.2)
    found = results["shared"]
    places = range(len(found["ks"]))
    curve_with_interval(left, places, found["base"], "base", LOOKS["base"], markers=6)
    for name, (label, look) in SHARED.items():
        curve_with_interval(left, places, found["pass"][name], label, LOOKS[look], markers=6)
        curve_with_interval(right, found["kept"], found["rare"][name], label, LOOKS[look], markers=6)
    left.set_xticks(places, [f"{k:,}" for k in found["ks"]])
    left.set(title="after training", xlabel="k", ylabel="pass@k", ylim=(0.55, 1.02))
    left.legend(loc="lower right", fontsize=8)
    right.set(title="the ten rarest prompts (base: 0.002)", xlabel="training steps", ylabel="mean success")
    panel_labels((left, right))
    return made


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """pass@k held out at the end, and success in training, over the seeds; `live` results are drawn as crosses."""
    made, axes = figure(3, height=3.3, width=9.6)
    first, runs, ks = axes[0], results["runs"], results["ks"]
    base = [[runs["GRPO"][f"test pass@{k}"][0][0] for k in ks]]
    curve_with_interval(first, range(len(ks)), base, "base", LOOKS["base"], markers=5)
    for name, look in SAMPLED.items():
        ends = [[runs[name][f"test pass@{k}"][seed][-1] for k in ks] for seed in range(len(runs[name]["test pass@1"]))]
        curve_with_interval(first, range(len(ks)), ends, name, LOOKS[look], markers=5)
    first.set_xticks(range(len(ks)), [str(k) for k in ks])
    first.set(title="held out, at the end", xlabel="k", ylabel="pass@k", ylim=(0, 1.04))
    for ax, panel in zip(axes[1:], ("test pass@256", "train hard pass@1"), strict=True):
        for name, look in SAMPLED.items():
            draw_runs(ax, results, name, panel, LOOKS[look], live)
    axes[1].set(title="held out, pass@256", xlabel="training steps")
    axes[2].set(title="hardest quarter, pass@1", xlabel="training steps")
    legend_below(made, first, ncols=6, fontsize=8, columnspacing=1.2)
    panel_labels(axes)
    return made
