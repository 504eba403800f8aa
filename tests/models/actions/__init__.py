"""What the tests of the skeleton networks share: seeded motions and networks, and the promises that all keep."""

import copy

import pytest
import torch

from gaitkeeper.errors import DataError
from gaitkeeper.models.victim import Victim
from gaitkeeper.motion.motion import Domain, Motion


def skeletons(n=2, t=9, v=25, m=2, *, c=3, seed=0):
    return torch.randn(n, c, t, v, m, generator=torch.Generator().manual_seed(seed))


def settled(build, x):
    """Build a network whose norms have seen data and whose learned graphs are not what they started as."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = build()
        with torch.no_grad():
            for name, weight in module.named_parameters():
                if name.endswith(("PA", "alpha")) or "edge_importance" in name or ".bn.weight" in name:
                    weight.add_(torch.rand_like(weight) * 0.3)
        module.train()(x)
    return module.eval()


def check_promises(build, *, t=9, v=25, m=2, classes=5):
    """Check shape, gradient, batching, float64, victims and errors of a network."""
    x = skeletons(3, t, v, m).requires_grad_(True)
    module = settled(build, x.detach())
    logits = module(x)
    assert logits.shape == (3, classes)
    (gradient,) = torch.autograd.grad(logits.square().sum(), x)
    assert gradient.isfinite().all()
    assert (gradient.abs().sum((1, 3)) > 0).all(), "every frame of every person counts"

    with torch.no_grad():
        one_by_one = torch.cat([module(one[None]) for one in x])
        torch.testing.assert_close(logits, one_by_one, rtol=1e-4, atol=1e-5)
        double = copy.deepcopy(module).double()(x.double())
        assert double.dtype == torch.float64
        torch.testing.assert_close(logits.double(), double, rtol=1e-3, atol=1e-4)

    domain = Domain(axes=("c", "t", "v", "m"), shape=(3, None, v, m), lower=-9, upper=9, stored="float32")
    victim = Victim(module.train(), domain, output="logits")
    said = victim(Motion(data=x.detach(), lengths=torch.tensor([t, t - 2, t]))).logits
    assert module.training
    torch.testing.assert_close(said[[0, 2]], logits[[0, 2]], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(said[1], module.eval()(x[1:2, :, : t - 2])[0], rtol=1e-4, atol=1e-5)

    for wrong in (x[..., :-1, :], x[:, :2], x[..., 0], x[:, :, :0]):
        with pytest.raises(DataError, match=rf"expected skeletons of shape .*v={v}.*got \("):
            module(wrong)


def parameters(module):
    return sum(weight.numel() for weight in module.parameters())


def check_training(module, x):
    """Check that every weight learns, from finite gradients."""
    module.train()(x).square().sum().backward()
    assert [name for name, weight in module.named_parameters() if weight.grad is None] == []
    assert all(weight.grad.isfinite().all() for weight in module.parameters())
