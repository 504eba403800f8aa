"""What the tests of the skeleton networks share: seeded motions and networks."""

import torch
from torch import nn


def skeletons(n=2, t=9, v=25, m=2, *, c=3, seed=0):
    return torch.randn(n, c, t, v, m, generator=torch.Generator().manual_seed(seed))


def settled(build, *inputs):
    """Build a network whose norms have seen data and every parameter of which matters."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        module = build()
        for weight in module.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        norms = [part for part in module.modules() if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d))]
        for norm in norms:
            norm.momentum = 1.0
        module.train()(*inputs)
        for norm in norms:
            norm.momentum = 0.1
    return module.eval()


def parameters(module):
    return sum(weight.numel() for weight in module.parameters())
