"""MT trained as a distance of codes."""

import numpy as np
import torch

from gaitkeeper.models.gait.wu import MidTop, all_pairs
from gaitkeeper.training.codes import CodeSettings, code_loss, fresh_codes, train_codes
from gaitkeeper.training.sampler import IdentitySampler

SMALL = CodeSettings(widths=(4, 6), codes=8, iterations=12, identities=4, sequences=3, learning_rate=3e-3)


def sequences(count: int, takes: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Clips of people who are blocks of different widths, with noise of their own."""
    rng = np.random.default_rng(0)
    found = []
    for person in range(count):
        for _ in range(takes):
            clip = np.zeros((6, 64, 44), np.uint8)
            clip[:, 4:60, 22 - 3 - 3 * person : 22 + 3 + 3 * person] = 255
            found.append((clip * rng.uniform(0.7, 1, clip.shape)).astype(np.uint8))
    return found, np.repeat(np.arange(count), takes)


def trained(settings: CodeSettings = SMALL) -> tuple[MidTop, np.ndarray, np.ndarray]:
    clips, labels = sequences(4, 4)
    images = np.stack([clip.mean(0) / 255 for clip in clips]).astype(np.float32)
    network = fresh_codes(settings, images)
    batches = IdentitySampler(labels, identities=4, sequences=3, seed=settings.seed).batch
    train_codes(network, clips, batches, labels, settings)
    return network, images, labels


def test_trained_codes_are_compared_by_a_distance() -> None:
    network, images, _ = trained()
    assert not network.training
    scores = all_pairs(network, torch.from_numpy(images), torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(scores, scores.T, atol=1e-4)
    np.testing.assert_allclose(np.diag(scores), scores.max(), atol=1e-4)
    # A distance obeys the triangle inequality.
    apart = scores.max() - scores
    assert (apart[:, None, :] <= apart[:, :, None] + apart[None] + 1e-3).all()


def test_training_tells_people_apart_and_repeats_itself() -> None:
    network, images, labels = trained()
    scores = all_pairs(network, torch.from_numpy(images), torch.from_numpy(images)).numpy()
    np.fill_diagonal(scores, -np.inf)
    assert (labels[scores.argmax(1)] == labels).mean() == 1.0
    again, _, _ = trained()
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_trained_network_is_rebuilt_from_its_keys() -> None:
    network, images, _ = trained()
    other = MidTop(**MidTop.options(network.state_dict()))
    other.load_state_dict(network.state_dict())
    picture = torch.from_numpy(images[:3])
    assert torch.equal(other.eval()(picture, picture.flip(0)), network(picture, picture.flip(0)))


def test_the_loss_falls_when_codes_of_one_person_agree() -> None:
    who = torch.tensor([0, 0, 1, 1])
    heads, weight = torch.eye(2, 4), torch.ones(4)
    apart = torch.tensor([[3.0, 0, 0, 0], [3, 0, 0, 0], [0, 3, 0, 0], [0, 3, 0, 0]])
    mixed = apart[[0, 2, 1, 3]]
    # Labels are smoothed to 0.95 and 0.05, cosines of 1 and 0 scaled by 16; no triplet is violated.
    assert abs(float(code_loss(apart, weight, heads, who, SMALL)) - 0.05 * 16) < 1e-5
    # Two of four now point to the other person, and strangers are nearer than the same person.
    assert float(code_loss(mixed, weight, heads, who, SMALL)) > (2 * 0.05 + 2 * 0.95) * 16 / 4
