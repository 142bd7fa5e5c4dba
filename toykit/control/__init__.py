"""What does RL look like with states in place of tokens? The import makes `gymnasium.make("toykit/Tree-v0")` work."""

from __future__ import annotations

from toykit.control.average import Average, average_reward, diameter, optimal_average
from toykit.control.backups import Aggregator, Expectile, LogSumExp, Max, Mean, Quantile
from toykit.control.batched import policy_values, q_values, sweep
from toykit.control.counts import Counts, bonus
from toykit.control.distractors import Distractors
from toykit.control.drifting_env import DriftingEnv
from toykit.control.effective_horizon import Lookahead, lookahead
from toykit.control.envs import TreeEnv
from toykit.control.evaluation import action_values, advantages, evaluate, expected_return
from toykit.control.experience import Transitions, collect
from toykit.control.gym import MDPEnv, from_gymnasium, to_gymnasium
from toykit.control.horizon import HorizonSolution, backward_induction
from toykit.control.implicit_maximum import Chi2Maximum
from toykit.control.linear_gaussian import ModelLosses, expected_losses
from toykit.control.lqr import LQR, LQRSolution, Quadratic, lyapunov, solve_lqr, value_of_gain
from toykit.control.mdp import TabularMDP
from toykit.control.model_losses import (
    clip_norms,
    gaussian_nll,
    squared_error,
    taylor,
    unit_mean,
    value_aware,
    value_gradient_weighted,
)
from toykit.control.networks import MLP, DynamicsModel, Prediction, ValueNetwork
from toykit.control.occupancy import flow_residual, occupancy, policy_of, visits
from toykit.control.offline import TabularData
from toykit.control.offline.lcb import empirical_best, lcb, most_played
from toykit.control.offline.pessimism import Pessimistic, concentrability, vi_lcb
from toykit.control.online import UCRL2, ChangePoints, QLearning, Watch, detect, regret_curves
from toykit.control.planning import Solution, modified_policy_iteration, policy_iteration, value_iteration
from toykit.control.policies import as_policy, uniform_policy
from toykit.control.random_policy import (
    greedy_actions,
    softmax_bound,
    softmax_policy,
    uniform_values,
    worst_greedy_value,
)
from toykit.control.reduced_rank import fit_low_rank
from toykit.control.registration import register
from toykit.control.simulation import simulate
from toykit.control.soft_td import soft_td
from toykit.control.stacked import Stacked
from toykit.control.termination import proper_policy
from toykit.control.value_gradients import StaleGradients, ValueGradients, gradient_at
from toykit.control.world_models import fit_model, r_squared, value_error
from toykit.control.worlds.examples import dice_tree, garnet, river_swim

__all__ = [
    "LQR",
    "MLP",
    "UCRL2",
    "Aggregator",
    "Average",
    "ChangePoints",
    "Chi2Maximum",
    "Counts",
    "Distractors",
    "DriftingEnv",
    "DynamicsModel",
    "Expectile",
    "HorizonSolution",
    "LQRSolution",
    "LogSumExp",
    "Lookahead",
    "MDPEnv",
    "Max",
    "Mean",
    "ModelLosses",
    "Pessimistic",
    "Prediction",
    "QLearning",
    "Quadratic",
    "Quantile",
    "Solution",
    "Stacked",
    "StaleGradients",
    "TabularData",
    "TabularMDP",
    "Transitions",
    "TreeEnv",
    "ValueGradients",
    "ValueNetwork",
    "Watch",
    "action_values",
    "advantages",
    "as_policy",
    "average_reward",
    "backward_induction",
    "bonus",
    "clip_norms",
    "collect",
    "concentrability",
    "detect",
    "diameter",
    "dice_tree",
    "empirical_best",
    "evaluate",
    "expected_losses",
    "expected_return",
    "fit_low_rank",
    "fit_model",
    "flow_residual",
    "from_gymnasium",
    "garnet",
    "gaussian_nll",
    "gradient_at",
    "greedy_actions",
    "lcb",
    "lookahead",
    "lyapunov",
    "modified_policy_iteration",
    "most_played",
    "occupancy",
    "optimal_average",
    "policy_iteration",
    "policy_of",
    "policy_values",
    "proper_policy",
    "q_values",
    "r_squared",
    "register",
    "regret_curves",
    "river_swim",
    "simulate",
    "soft_td",
    "softmax_bound",
    "softmax_policy",
    "solve_lqr",
    "squared_error",
    "sweep",
    "taylor",
    "to_gymnasium",
    "uniform_policy",
    "uniform_values",
    "unit_mean",
    "value_aware",
    "value_error",
    "value_gradient_weighted",
    "value_iteration",
    "value_of_gain",
    "vi_lcb",
    "visits",
    "worst_greedy_value",
]

register()
