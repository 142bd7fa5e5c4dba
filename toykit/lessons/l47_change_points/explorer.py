"""The explorer of lesson 47: one stream, all its forecasters, and what restarts are worth in a chain of states."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.control.online import UCRL2, Regret, forecasters, regret_curves
from toykit.control.worlds import Drifting, swapped_chain
from toykit.lessons.l47_change_points.exact import BEFORE, SCALE, kl
from toykit.lessons.l47_change_points.figures import LOOKS
from toykit.plots import Slider, explore, figure, wipe
from toykit.plots.explorer import Explorer
from toykit.plots.style import CYCLE

SYMBOLS, STEPS, SEEDS = 240, 800, (0, 1)
FAR = (0.02, 0.08, 0.9)  # the new law goes from BEFORE towards it
KL = Slider.at((0.05, 0.1, 0.2, 0.5, 1.0), 0.5, label="KL between phases")
ETA = Slider.at((1e-6, 1e-3, 0.1), 1e-3, label="prior η")
WINDOW = Slider.at((75, 200, 600), 200, label="window")
CHANGES = Slider(1, 3, default=2, step=1, label="changes")
LEAST = -12.0  # scores below it look alike
BLUES = np.array([[0.94, 0.95, 0.97], [0.10, 0.28, 0.55]])


@cache
def law_at(divergence: float) -> tuple[float, ...]:
    """The law on the way to FAR with this KL from BEFORE, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        law = tuple((1 - middle) * a + middle * b for a, b in zip(BEFORE, FAR, strict=True))
        low, high = (middle, high) if kl(law, BEFORE) < divergence else (low, middle)
    return law


def changes_of(length: int, changes: int) -> tuple[int, ...]:
    return tuple(length * (i + 1) // (changes + 1) for i in range(changes))


@cache
def stream(divergence: float, changes: int) -> np.ndarray:
    """Symbols [SYMBOLS], of the two laws in turn; the same uniform numbers for every setting."""
    u = np.random.default_rng(3).random(SYMBOLS)
    phase = np.searchsorted(changes_of(SYMBOLS, changes), np.arange(SYMBOLS), side="right") % 2
    upto = np.cumsum([BEFORE, law_at(divergence)], 1)[phase]
    return (upto[:, :2] <= u[:, None]).sum(-1)


@cache
def scores(divergence: float, eta: float, changes: int) -> tuple[np.ndarray, np.ndarray]:
    """Log weights of all forecasters over the oldest's [SYMBOLS, SYMBOLS], and after which symbols it restarts."""
    weights, restarted = forecasters(stream(divergence, changes), 3, eta)
    oldest = np.array([column[~np.isnan(column)][0] for column in weights.T])
    return weights - oldest, restarted


@cache
def regrets() -> dict[tuple[str, float, int], Regret]:
    """{(algorithm, its setting, changes): regret} of the chain, at every setting."""
    first, second = swapped_chain().phases[:2]
    found: dict[tuple[str, float, int], Regret] = {}
    for changes in (int(c) for c in CHANGES.values):
        at = changes_of(STEPS, changes)
        world = Drifting([(first, second)[i % 2] for i in range(changes + 1)], at)
        made: dict[tuple[str, float], UCRL2] = {
            ("UCRL2", 0.0): UCRL2(scale=SCALE),
            ("oracle", 0.0): UCRL2(scale=SCALE, restarts=at),
        }
        made |= {("window", w): UCRL2(scale=SCALE, window=int(w)) for w in WINDOW.values}
        made |= {("R-BOCPD-UCRL2", eta): UCRL2(scale=SCALE, prior=eta) for eta in ETA.values}
        found |= {(*name, changes): regret_curves(how, world, SEEDS, STEPS) for name, how in made.items()}
    return found


def of(eta: float, window: float, changes: int) -> dict[str, Regret]:
    """The four algorithms at a setting."""
    settings = {"UCRL2": 0.0, "window": window, "R-BOCPD-UCRL2": eta, "oracle": 0.0}
    return {name: regrets()[name, setting, changes] for name, setting in settings.items()}


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(1, 3, height=1.9, width=8.6, height_ratios=(0.45, 1.2, 1.35))


def change_figure(divergence: float = 0.5, eta: float = 1e-3, window: float = 200, changes: int = 2) -> Figure:
    """A stream of symbols, the scores of its forecasters, and regret in the chain."""
    made, _ = _frame()
    top, middle, bottom = wipe(made)
    _draw_stream(top, divergence, changes)
    _draw_scores(middle, *scores(divergence, eta, changes), changes_of(SYMBOLS, changes))
    _draw_regret(bottom, eta, window, changes)
    return made


def _draw_stream(ax: Axes, divergence: float, changes: int) -> None:
    x = stream(divergence, changes)
    phase = np.searchsorted(changes_of(SYMBOLS, changes), np.arange(SYMBOLS), side="right") % 2
    for i, (how, marker) in enumerate(((CYCLE[0], "o"), (CYCLE[1], "x"))):
        at = np.flatnonzero(phase == i)
        ax.plot(at, x[at], marker, color=how.color, markersize=3.5, linestyle="none")
    ax.set(title="symbols (circles: first law, crosses: second law)", yticks=[0, 1, 2], ylim=(-0.6, 2.6))
    ax.set(xlim=(0, SYMBOLS), xticks=[])
    ax.grid(False)


def _draw_scores(ax: Axes, found: np.ndarray, restarted: np.ndarray, changes: tuple[int, ...]) -> None:
    share = np.clip(1 - found / LEAST, 0, 1)[..., None]
    colours = np.where(np.isnan(share), 1.0, (1 - share) * BLUES[0] + share * BLUES[1])
    ax.imshow(colours, origin="lower", aspect="auto", extent=(0, SYMBOLS, 0, SYMBOLS), interpolation="nearest")
    for t in np.flatnonzero(restarted) + 1:
        ax.plot([float(t)] * 2, [0.0, float(t)], "-", color=CYCLE[3].color, linewidth=1.8)
    for change in changes:
        ax.plot([change, change], [0, SYMBOLS], "--", color="#777777", linewidth=0.9)
    ax.set(title="forecasters: dark where one is about to beat the oldest", ylabel="start", xlabel="symbols read")
    ax.set(xlim=(0, SYMBOLS), ylim=(0, SYMBOLS))
    ax.grid(False)


def _draw_regret(ax: Axes, eta: float, window: float, changes: int) -> None:
    for name, one in of(eta, window, changes).items():
        how = LOOKS[name]
        curve = one.regret.mean(0)[::8].numpy()
        ax.plot(np.arange(len(curve)) * 8, curve, linestyle=how.linestyle, color=how.color, label=name)
        if name == "R-BOCPD-UCRL2":
            marks = [r for run in one.restarts for r in run]
            ax.plot(marks, np.full(len(marks), 18.0), "|", color=how.color, markersize=11, markeredgewidth=1.6)
    for change in changes_of(STEPS, changes):
        ax.axvline(change, color="#777777", linewidth=0.9, linestyle="--")
    ax.set(title="regret in the chain (ticks: restarts)", xlabel="steps", ylabel="reward lost")
    ax.set(xlim=(0, STEPS), ylim=(0, 460))
    ax.legend(loc="upper left", fontsize=8)


def change_words(divergence: float = 0.5, eta: float = 1e-3, window: float = 200, changes: int = 2) -> str:
    """What `change_figure` shows, in words."""
    restarts = np.flatnonzero(scores(divergence, eta, changes)[1]) + 1
    at = ", ".join(map(str, changes_of(SYMBOLS, changes)))
    ends = ", ".join(f"{name} {float(one.regret[:, -1].mean()):.0f}" for name, one in of(eta, window, changes).items())
    seen = f"after {', '.join(map(str, restarts))} symbols" if len(restarts) else "never"
    return (
        f"The law of the symbols changes after {at} of {SYMBOLS} symbols, by a KL of {divergence:g} from the first law "
        f"to the second; with η = {eta:g} the detector restarts {seen}. Regret in the chain after {STEPS} steps with "
        f"{changes} {'change' if changes == 1 else 'changes'}, mean of {len(SEEDS)} runs, window {window:g}: {ends}."
    )


def change_explorer(live: bool | None = None) -> Explorer:
    """How far the laws are apart, how eager the detector is, how long the window, and how many changes there are."""
    regrets()
    controls: dict[str, Any] = {"divergence": KL, "eta": ETA, "window": WINDOW, "changes": CHANGES}
    presets: dict[str, dict[str, Any]] = {
        "a clear change": {},
        "hard to see": {"divergence": 0.1},
        "too eager": {"eta": 0.1},
        "too patient": {"eta": 1e-6, "divergence": 0.2},
        "many changes": {"changes": 3, "window": 75},
    }
    return explore(change_figure, controls, presets, change_words, live)
