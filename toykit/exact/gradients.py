"""Exact gradients of a tabular softmax policy over a completion tree, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit._checks import shape
from toykit.tasks.tree import FORBIDDEN, Tree


def node_log_probs(tree: Tree, logits: Tensor) -> Tensor:
    """Log-probabilities [..., N, V] of each token at each node from `logits` [..., N, V]; forbidden ones are -inf."""
    shape("logits", logits, (*logits.shape[:-2], *tree.child.shape))
    return logits.masked_fill((tree.child == FORBIDDEN).to(logits.device), -torch.inf).log_softmax(-1)


def leaf_log_probs(tree: Tree, logits: Tensor) -> Tensor:
    """Log-probabilities [..., L] of every completion from node `logits` [..., N, V]; differentiable."""
    return _leaves(tree, node_log_probs(tree, logits))


def scores(tree: Tree, logits: Tensor) -> Tensor:
    """grad log pi(y) [..., L, N, V] of every completion with respect to the node logits [..., N, V].

    The token taken minus the node's probabilities, at the nodes that the completion visits. Its size is L N V:
    for small trees.
    """
    prob = node_log_probs(tree, logits).exp()
    n, v = tree.child.shape
    rows, places = tree.mask.nonzero(as_tuple=True)
    node = tree.nodes[rows, places]
    taken = torch.zeros(tree.n_leaves, n, v, dtype=logits.dtype)
    taken[rows, node, tree.tokens[rows, places]] = 1.0
    return taken.to(logits.device) - taken.sum(-1, keepdim=True).to(logits.device) * prob[..., None, :, :]


def policy_gradient(tree: Tree, logits: Tensor, leaf_values: Tensor) -> Tensor:
    """E_pi[f grad log pi] [..., N, V] with respect to node `logits` [..., N, V], for `leaf_values` f [..., L].

    It is the gradient of E_pi[f] with f held fixed: at node s and token a, P(s, a) (Q(s, a) - V(s)), where P(s, a)
    is the probability of passing through s by a, Q and V the mean of f there. A completion of probability 0
    counts 0 whatever its value. Source: the policy gradient theorem on a tree MDP.
    """
    log_prob = node_log_probs(tree, logits)
    through = _mass(tree, log_prob, leaf_values)
    return through - log_prob.exp() * through.sum(-1, keepdim=True)


def likelihood_gradient(tree: Tree, logits: Tensor, weights: Tensor) -> Tensor:
    """The sum of q(y) grad log pi(y) over all completions, [..., N, V], for `weights` q [..., L].

    For a law q it is the gradient of -KL(q || pi), the expected step of supervised learning on samples of q
    (cross-entropy). q may be any weights, also negative: with pi times f it is `policy_gradient`, so that several
    terms can be summed before one gradient is taken. At each node it is q's mass through it by each token, minus
    that through the node times pi.
    """
    log_prob = node_log_probs(tree, logits)
    through = _through(tree, weights)
    return through - log_prob.exp() * through.sum(-1, keepdim=True)


def reverse_kl_gradient(tree: Tree, logits: Tensor, log_base: Tensor) -> Tensor:
    """The gradient of KL(pi || base) [..., N, V] with respect to node `logits` [..., N, V]; `log_base` is [..., L].

    It is E_pi[(log pi - log base) grad log pi]. Not finite where pi has mass and the base has none.
    """
    return policy_gradient(tree, logits, leaf_log_probs(tree, logits) - log_base)


def fisher(tree: Tree, logits: Tensor) -> Tensor:
    """The Fisher matrix E_pi[score score^T] as its diagonal blocks [..., N, V, V], one for each node.

    Scores of different nodes are uncorrelated, so all other entries are 0; a block is P(s) (diag(pi) - pi pi^T)
    with P(s) the probability of reaching node s.
    """
    log_prob = node_log_probs(tree, logits)
    prob = log_prob.exp()
    reach = _mass(tree, log_prob, log_prob.new_ones(tree.n_leaves)).sum(-1)
    return reach[..., None, None] * (torch.diag_embed(prob) - prob[..., :, None] * prob[..., None, :])


def natural_gradient(tree: Tree, logits: Tensor, leaf_values: Tensor) -> Tensor:
    """The pseudo-inverse of the Fisher matrix times `policy_gradient` [..., N, V], in closed form.

    At each node it is Q(s, a) minus its mean over the tokens that can be taken: the least step of all that change
    the policy alike. Nodes and tokens of probability 0 get 0. Shapes as for `policy_gradient`.
    """
    log_prob = node_log_probs(tree, logits)
    weight = _mass(tree, log_prob, log_prob.new_ones(tree.n_leaves))
    taken = weight > 0
    q = torch.where(taken, _mass(tree, log_prob, leaf_values) / torch.where(taken, weight, 1.0), 0.0)
    centre = q.sum(-1, keepdim=True) / taken.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(taken, q - centre, 0.0)


def _leaves(tree: Tree, log_prob: Tensor) -> Tensor:
    """Leaf log-probabilities [..., L] from node log-probabilities [..., N, V]."""
    at = _places(tree).to(log_prob.device)
    return torch.where(tree.mask.to(log_prob.device), log_prob.flatten(-2)[..., at], 0.0).sum(-1)


def _mass(tree: Tree, log_prob: Tensor, leaf_values: Tensor) -> Tensor:
    """Sum of pi(y) f(y) over the completions that pass through each node and token, [..., N, V]."""
    log_p = _leaves(tree, log_prob)
    return _through(tree, log_p.exp() * torch.where(log_p > -torch.inf, leaf_values, 0.0))


def _through(tree: Tree, on_leaves: Tensor) -> Tensor:
    """Sum of what lies on the completions [..., L] that pass through each node and token, [..., N, V]."""
    spread = torch.where(tree.mask.to(on_leaves.device), on_leaves[..., None], 0.0).flatten(-2)  # 0 goes to place 0
    at = _places(tree).to(spread.device).flatten().expand(spread.shape)
    total = spread.new_zeros(*on_leaves.shape[:-1], tree.child.numel())
    return total.scatter_add(-1, at, spread).unflatten(-1, tuple(tree.child.shape))


def _places(tree: Tree) -> Tensor:
    """int64 [L, T]: where each token's probability stands in the flattened [N, V] table (0 where masked)."""
    return tree.nodes * tree.n_actions + tree.tokens
