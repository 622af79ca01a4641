"""Each loss term's share of the trunk's gradient: a term with hardly any share teaches nothing."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mug.run.processes import mean_over_processes

FAINT = 0.01
"""A term with a smaller share teaches next to nothing."""


def gradient_shares(terms: Mapping[str, Tensor], parameter: nn.Parameter) -> dict[str, Tensor]:
    """The norm of each term's gradient divided by the sum of these norms, by the term's name.

    Backpropagation runs only from the terms to `parameter`, which is cheap near the end of the network. The graph is
    kept for the backward pass of the step, and no random numbers are drawn.

    Args:
        terms: The weighted terms of one forward pass.
        parameter: Parameter that all terms depend on. Its gradients are averaged over all training processes.
    """
    norms = []
    with torch.autocast(parameter.device.type, enabled=False):  # as in any backward pass
        for term in terms.values():
            (gradient,) = torch.autograd.grad(term, parameter, retain_graph=True)
            norms.append(mean_over_processes(gradient).norm().float())
    total = torch.stack(norms).sum().clamp(min=torch.finfo(torch.float32).tiny)
    return {name: norm / total for name, norm in zip(terms, norms, strict=True)}
