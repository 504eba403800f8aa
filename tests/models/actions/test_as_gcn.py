"""AS-GCN and its inference module: official outputs, links and predictions."""

import pytest
import torch

from gaitkeeper.errors import DataError, WeightsError
from gaitkeeper.models.actions.as_gcn import ASGCN, ActionalASGCN
from gaitkeeper.models.actions.as_gcn_inference import ActionalInference
from gaitkeeper.models.actions.graphs import NTU25_TIPS_AT_HANDS
from gaitkeeper.models.states import load_strictly
from tests.models.actions import parameters, settled, skeletons

NARROW = {"classes": 5, "widths": (4, 4, 6), "strides": (1, 1, 2), "recon_width": 4}
SMALL = {"frames": 6, "width": 8}


def test_official_keys_outputs_and_gradients(packs):
    def call(module, x, target, last, actional):
        return (*module.predict(x, last, actional), target[..., 0])

    assert packs.check("as_gcn", ASGCN, call)


def test_inference_module_has_official_keys_outputs_and_gradients(packs):
    assert packs.check("as_gcn_aim", ActionalInference)


def test_published_sizes():
    with torch.device("meta"):
        assert parameters(ASGCN()) == 6_987_478
        assert parameters(ActionalInference()) == 417_798


@pytest.fixture
def inference():
    x = skeletons(3, 6)
    return settled(lambda: ActionalInference(**SMALL), x)


def test_links_are_one_hot_forward_and_soft_backward(inference):
    x = skeletons(2, 6).requires_grad_(True)
    found = inference(x)
    assert found.adjacency.shape == (4, 2, 25, 25)
    assert found.prediction.shape == (4, 25, 5, 3)
    torch.testing.assert_close(found.adjacency, inference.adjacency(x))
    torch.testing.assert_close(found.probability.sum(-1), torch.ones(4, 600))
    torch.testing.assert_close(found.adjacency.sum(2), torch.full((4, 2, 25), 0.1))
    pairs = [(i, j) for i in range(25) for j in range(25) if i != j]
    linked = found.adjacency.detach() > 1e-4
    for pair in (0, 24, 25, 311, 599):
        chosen = found.logits[:, pair].argmax(-1)
        for kind in (1, 2):
            assert torch.equal(linked[:, kind - 1][:, *pairs[pair]], chosen == kind)
    (gradient,) = torch.autograd.grad(found.adjacency.square().sum(), x)
    assert (gradient.flatten(1).abs().sum(1) > 0).all()


def test_evaluation_is_deterministic_and_training_is_not(inference):
    x = skeletons(2, 6)
    state = torch.get_rng_state()
    assert torch.equal(inference.adjacency(x), inference.adjacency(x))
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inference.train()
        assert not torch.equal(inference.adjacency(x), inference.adjacency(x))


def test_loss_is_zero_where_all_is_known(inference):
    x = skeletons(2, 6)
    found = inference(x)
    truth = x.permute(0, 4, 3, 2, 1).flatten(0, 1)[:, :, 1:]
    prior = (0.5, 0.25, 0.25)
    certain = found._replace(prediction=truth, probability=torch.tensor(prior).expand_as(found.probability))
    assert inference.loss(x, certain, prior=prior).item() == pytest.approx(0, abs=1e-5)
    moved = inference.loss(x, certain._replace(prediction=truth + 0.1), prior=prior).item()
    assert moved == pytest.approx(0.01 * 5 * 3 / (2 * 5e-4), rel=1e-4)
    other = inference.loss(x, certain, prior=(0.25, 0.5, 0.25)).item()
    assert other == pytest.approx(24 * 0.25 * 0.6931472, rel=1e-4)


def test_links_reach_the_network():
    network = settled(lambda: _Given(ASGCN(**NARROW)), skeletons()).network
    x = skeletons()
    none, some = torch.zeros(4, 2, 25, 25), torch.rand(4, 2, 25, 25)
    with torch.no_grad():
        assert not torch.allclose(network(x, none), network(x, some))
        strong = ASGCN(**NARROW, actional_weight=1.0).eval()
        strong.load_state_dict(network.state_dict())
        torch.testing.assert_close(strong(x, some / 2), network(x, some))


class _Given(torch.nn.Module):
    """The network with the same links each time."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x, torch.full((len(x) * x.shape[-1], 2, 25, 25), 0.01))


def test_prediction_adds_the_last_pose_and_needs_the_published_frames():
    network = settled(lambda: _Given(ASGCN(**NARROW, horizon=2)), skeletons()).network
    x, last, links = skeletons(2, 130), skeletons(2, 1, seed=1), torch.rand(4, 2, 25, 25)
    with torch.no_grad():
        logits, poses = network.predict(x, last, links)
        assert poses.shape == (2, 3, 2, 25)
        torch.testing.assert_close(logits, network(x, links))
        network.recon_layer_6.tcn_recon[3].weight.zero_()
        network.recon_layer_6.tcn_recon[3].bias.zero_()
        _, poses = network.predict(x, last, links)
    order = [0, 1, 2, 0, 1, 2]
    torch.testing.assert_close(poses, last[:, order, 0, :, 0].unflatten(1, (3, 2)))
    for frames in (128, 161):
        with pytest.raises(DataError, match=f"129 to 160 frames and 1 last pose, got {frames} and 1"):
            network.predict(skeletons(2, frames), last, links)


def test_every_weight_learns_from_labels_and_the_future():
    network, inference = ASGCN(**NARROW), ActionalInference(**SMALL)
    x = skeletons(2, 130)
    found = inference.train()(x[:, :, :6])
    logits, poses = network.train().predict(x, x[:, :, -1:], found.adjacency)
    (logits.square().sum() + poses.square().sum() + inference.loss(x[:, :, :6], found)).backward()
    idle = [name for part in (network, inference) for name, weight in part.named_parameters() if weight.grad is None]
    # Links of type 0 carry no messages.
    assert idle == [f"decoder.msg_fc{i}.0.{kind}" for i in (1, 2) for kind in ("weight", "bias")]


def test_second_unit_runs_twice_in_training_only():
    module = _Given(ASGCN(**NARROW))
    module.train()(skeletons())
    counts = [module.network.get_submodule(f"class_layer_{i}.tcn.0").num_batches_tracked.item() for i in range(3)]
    assert counts == [1, 2, 1]


def test_frames_for_the_links_are_spread_over_the_clip(inference):
    module = ActionalASGCN(ASGCN(**NARROW), inference).eval()
    x = skeletons(1, 13)
    with torch.no_grad():
        wanted = module.network(x, inference.adjacency(x[:, :, [0, 2, 4, 6, 8, 10]]))
        assert torch.equal(module(x), wanted)
        assert module(skeletons(1, 2)).isfinite().all()


def test_misfits_are_named(inference):
    network = ASGCN(**NARROW, graph=NTU25_TIPS_AT_HANDS)
    with pytest.raises(DataError, match="expected 6 frames to infer links from, got 9"):
        inference(skeletons())
    with pytest.raises(DataError, match=r"links of shape \(4, 2, 25, 25\), got \(2, 2, 25, 25\)"):
        network(skeletons(), torch.zeros(2, 2, 25, 25))
    with pytest.raises(ValueError, match="2 types of links between 25 joints, the inference module gives 3 between 25"):
        ActionalASGCN(network, ActionalInference(**SMALL, types=4))
    with pytest.raises(WeightsError, match="expected ntu-25, found ntu-25-hands, with the bones 21-7"):
        load_strictly(ASGCN(**NARROW), network.state_dict(), "file")


def test_options_follow_from_state_dicts(inference):
    network = ASGCN(**NARROW, graph=NTU25_TIPS_AT_HANDS, max_hop=3, horizon=4)
    with torch.device("meta"):
        again = ASGCN(**ASGCN.options(network.state_dict()))
    load_strictly(again, network.state_dict(), "saved")
    assert again.graph == NTU25_TIPS_AT_HANDS
    x, links = skeletons(), torch.rand(4, 2, 25, 25)
    assert torch.equal(again.eval()(x, links), network.eval()(x, links))
    same = ActionalInference(**ActionalInference.options(inference.state_dict()))
    load_strictly(same, inference.state_dict(), "saved")
    assert torch.equal(same.eval().adjacency(x[:, :, :6]), inference.adjacency(x[:, :, :6]))
