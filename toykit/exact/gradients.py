"""Exact gradients of a tabular softmax policy over a completion tree, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit._checks import shape
from toykit.exact._laws import BLOCK
from toykit.tasks.levels import down, up_
from toykit.tasks.tree import Tree


def node_log_probs(tree: Tree, logits: Tensor) -> Tensor:
    """Log-probabilities [..., N, V] of each token at each node from `logits` [..., N, V]; forbidden ones are -inf."""
    shifted = _shifted(tree, logits)
    blocks = shifted.split(1 + BLOCK // tree.n_actions, -2)
    total = torch.cat([block.exp().sum(-1, keepdim=True) for block in blocks], -2)
    return shifted.sub_(total.log())  # torch's log_softmax takes 3 times as long on rows of few tokens


def _shifted(tree: Tree, logits: Tensor) -> Tensor:
    """Logits [..., N, V] of which the largest at each node is 0, and a forbidden token's -inf."""
    shape("logits", logits, (*logits.shape[:-2], *tree.child.shape))
    if tree.forbidden is not None:
        logits = logits.masked_fill(tree.forbidden.to(logits.device), -torch.inf)
    return logits - logits.detach().amax(-1, keepdim=True)


def leaf_log_probs(tree: Tree, logits: Tensor) -> Tensor:
    """Log-probabilities [..., L] of every completion from node `logits` [..., N, V]; differentiable."""
    log_prob = node_log_probs(tree, logits)
    return _at_ends(tree, log_prob.add_(down(tree.levels, log_prob)[..., None]))


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
    prob = _node_probs(tree, logits)
    return _centred(prob, _mass(tree, prob, leaf_values))


def mean_score(pi: Tensor, values: Tensor) -> Tensor:
    """E_pi[f grad log pi] [..., V] in the logits of one law pi [..., V], for values f [..., V]: pi (f - E_pi f).

    It is `policy_gradient` where all completions have one token.
    """
    return pi * (values - (pi * values).sum(-1, keepdim=True))


def likelihood_gradient(tree: Tree, logits: Tensor, weights: Tensor) -> Tensor:
    """The sum of q(y) grad log pi(y) over all completions, [..., N, V], for `weights` q [..., L].

    For a law q it is the gradient of -KL(q || pi), the expected step of supervised learning on samples of q
    (cross-entropy). q may be any weights, also negative: with pi times f it is `policy_gradient`, so that several
    terms can be summed before one gradient is taken. At each node it is q's mass through it by each token, minus
    that through the node times pi.
    """
    prob = _node_probs(tree, logits)
    return _centred(prob, up_(tree.levels, _placed(tree, prob, weights)))


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
    prob = _node_probs(tree, logits)
    reach = down(tree.levels, prob, torch.mul)
    return reach[..., None, None] * (torch.diag_embed(prob) - prob[..., :, None] * prob[..., None, :])


def natural_gradient(tree: Tree, logits: Tensor, leaf_values: Tensor) -> Tensor:
    """The pseudo-inverse of the Fisher matrix times `policy_gradient` [..., N, V], in closed form.

    At each node it is Q(s, a) minus its mean over the tokens that can be taken: the least step of all that change
    the policy alike. Nodes and tokens of probability 0 get 0. Shapes as for `policy_gradient`.
    """
    prob = _node_probs(tree, logits)
    weight = prob * down(tree.levels, prob, torch.mul)[..., None]
    taken = weight > 0
    q = torch.where(taken, _mass(tree, prob, leaf_values) / torch.where(taken, weight, 1.0), 0.0)
    centre = q.sum(-1, keepdim=True) / taken.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(taken, q - centre, 0.0)


def _node_probs(tree: Tree, logits: Tensor) -> Tensor:
    """Probabilities [..., N, V] of each token at each node."""
    odds = _shifted(tree, logits).exp_()
    return odds / odds.sum(-1, keepdim=True)


def _mass(tree: Tree, prob: Tensor, leaf_values: Tensor) -> Tensor:
    """Sum of pi(y) f(y) over the completions that pass through each node and token, [..., N, V]."""
    reach = down(tree.levels, prob, torch.mul)
    mass = _placed(tree, prob, leaf_values)
    if not bool((prob.flatten(-2).amin(-1) * reach.amin(-1) > 0).all()):
        mass.masked_fill_(prob * reach[..., None] == 0, 0.0)  # whatever the value, also where it is infinite
    return up_(tree.levels, mass.mul_(prob).mul_(reach[..., None]))


def _placed(tree: Tree, prob: Tensor, on_leaves: Tensor) -> Tensor:
    """A table [..., N, V] like `prob` with what lies on the completions [..., L] at their last tokens, 0 elsewhere."""
    lead = torch.broadcast_shapes(prob.shape[:-2], on_leaves.shape[:-1])
    table = prob.new_empty(*lead, *prob.shape[-2:], dtype=torch.result_type(prob, on_leaves))
    flat, ends = table.flatten(-2), tree.ends
    others = ends.start if isinstance(ends, slice) and ends.stop == flat.shape[-1] else None  # before the completions
    flat[..., :others] = 0.0
    flat[..., ends] = on_leaves.to(table)
    return table


def _centred(prob: Tensor, through: Tensor) -> Tensor:
    """What passes through each token, less the share of what passes through its node that is the policy's; in place."""
    return through.addcmul_(prob, through.sum(-1, keepdim=True), value=-1)


def _at_ends(tree: Tree, table: Tensor) -> Tensor:
    """What stands in `table` [..., N, V] at the last token of every completion, [..., L]."""
    return table.flatten(-2)[..., tree.ends]
