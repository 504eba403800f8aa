"""A few frames as the thing that is attacked: where they are, and that nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gaitkeeper.attacks.goals import Nontargeted
from gaitkeeper.attacks.gradient import PGD
from gaitkeeper.attacks.splice import ROW, Spliced, frame_count, place
from gaitkeeper.attacks.threats import Linf
from gaitkeeper.errors import DataError
from gaitkeeper.models.gait.gaitbase import GaitBase
from gaitkeeper.models.gait.gaitset import GaitSet
from gaitkeeper.models.victim import Gallery, Identifier, Victim
from gaitkeeper.motion.motion import SILHOUETTES, Motion
from gaitkeeper.seeding import SampleStreams
from tests.attacks.victims import SKELETON, LinearSkeleton, silhouettes, skeletons


def streams(count, seed=0):
    return SampleStreams(seed, range(count))


def numbered(lengths):
    """Sequences of 1 x 1 pictures that hold their frame's number, from 1 on; padding is 0."""
    data = torch.zeros(len(lengths), max(lengths), 1, 1, dtype=torch.float64)
    for row, length in zip(data, lengths, strict=True):
        row[:length, 0, 0] = torch.arange(1, length + 1)
    return Motion(data=data, lengths=torch.tensor(lengths) if min(lengths) < max(lengths) else None)


def places(slots):
    return [index[:count].tolist() for index, count in zip(slots.index, slots.counts.tolist(), strict=True)]


def shown(motion):
    """The numbers of the valid frames."""
    frames = motion.data[:, :, 0, 0].int().tolist()
    return frames if motion.lengths is None else [f[:n] for f, n in zip(frames, motion.lengths.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("frames", "sparsity", "count"), [(40, 1 / 40, 1), (10, 1 / 40, 1), (127, 1 / 40, 3), (10, 0.26, 3), (7, 1.0, 7)]
)
def test_sparsity_times_frames_is_rounded_and_at_least_one(frames, sparsity, count):
    assert frame_count(frames, sparsity) == count


@pytest.mark.parametrize("sparsity", [0.0, -0.1, 1.001, float("inf"), float("nan")])
def test_a_sparsity_outside_the_unit_interval_is_refused(sparsity):
    with pytest.raises(DataError, match=rf"expected a sparsity in \(0, 1\], got {sparsity:g}"):
        place(numbered([10, 6]), sparsity, streams=streams(2))


def test_a_sequence_needs_a_frame():
    with pytest.raises(DataError, match="expected a sequence of at least 1 frame, got 0"):
        frame_count(0, 0.5)


@pytest.mark.parametrize(
    ("mode", "where", "frames", "count", "wanted"),
    [
        ("alter", "first", 10, 3, [0, 1, 2]),
        ("alter", "spread", 10, 2, [2, 7]),
        ("alter", "spread", 9, 3, [1, 4, 7]),
        ("alter", "spread", 7, 1, [3]),
        ("alter", "spread", 4, 4, [0, 1, 2, 3]),
        ("insert", "first", 10, 3, [0, 1, 2]),
        ("insert", "spread", 8, 2, [2, 7]),
        ("insert", "spread", 12, 3, [2, 7, 12]),
        ("insert", "spread", 9, 3, [1, 5, 9]),
        ("insert", "spread", 3, 3, [0, 2, 4]),
    ],
)
def test_where_frames_are_set(mode, where, frames, count, wanted):
    slots = place(numbered([frames]), count / frames, mode=mode, where=where, streams=streams(1))
    assert places(slots) == [wanted]
    assert slots.inserted == (mode == "insert")


def test_inserted_frames_come_as_copies_of_the_frame_before():
    slots = place(numbered([4, 2]), 0.5, mode="insert", where="spread", streams=streams(2))
    assert shown(slots.motion) == [[1, 1, 2, 3, 3, 4], [1, 1, 2]]
    assert places(slots) == [[1, 4], [1]]
    assert slots.motion.lengths.tolist() == [6, 3]
    first = place(numbered([4, 2]), 0.5, mode="insert", where="first", streams=streams(2))
    assert shown(first.motion) == [[1, 1, 1, 2, 3, 4], [1, 1, 2]]


def test_random_frames_are_drawn_by_each_samples_stream():
    motion = numbered([50, 50])
    slots = place(motion, 0.2, where="random", streams=streams(2))
    first, second = places(slots)
    assert first != second
    assert places(place(motion, 0.2, where="random", streams=streams(2))) == [first, second]
    assert places(place(motion, 0.2, where="random", streams=streams(2, seed=1))) != [first, second]
    swapped = place(motion.select([1, 0]), 0.2, where="random", streams=SampleStreams(0, [1, 0]))
    assert places(swapped) == [second, first]
    padded = place(numbered([50, 90]), 0.2, where="random", streams=streams(2))
    assert places(padded)[0] == first


def test_random_frames_are_everywhere():
    motion = numbered([5] * 400)
    for mode, last in (("alter", 4), ("insert", 5)):
        slots = place(motion, 0.2, mode=mode, where="random", streams=streams(400))
        counted = np.bincount(slots.index[:, 0].numpy(), minlength=last + 1)
        assert len(counted) == last + 1
        assert counted.min() > 0.6 * counted.mean()


@given(
    lengths=st.lists(st.integers(1, 25), min_size=1, max_size=4),
    sparsity=st.floats(0.01, 1),
    mode=st.sampled_from(["alter", "insert"]),
    where=st.sampled_from(["first", "random", "spread"]),
)
def test_places_are_distinct_ascending_frames_and_the_others_stay(lengths, sparsity, mode, where):
    motion = numbered(lengths)
    slots = place(motion, sparsity, mode=mode, where=where, streams=streams(len(lengths)))
    whole = shown(slots.motion)
    for i, (length, at, frames) in enumerate(zip(lengths, places(slots), whole, strict=True)):
        count = max(1, round(sparsity * length))
        assert len(at) == count == int(slots.valid[i].sum())
        assert at == sorted(set(at))
        assert at[0] >= 0
        assert at[-1] < len(frames)
        assert slots.mask()[i].nonzero()[:, 0].tolist() == at
        others = [frame for j, frame in enumerate(frames) if j not in at]
        if mode == "alter":
            assert frames == list(range(1, length + 1))
        else:
            assert others == list(range(1, length + 1))
            assert all(frames[j] == (frames[j - 1] if j else 1) for j in at)
        if where == "spread":
            gaps = np.diff(at)
            assert gaps.max(initial=0) - gaps.min(initial=len(frames)) <= 1
            assert abs(at[0] - (len(frames) - 1 - at[-1])) <= 1
        if where == "first":
            assert at == list(range(count))
    assert (slots.motion.data >= 0).all()
    assert sum(map(len, whole)) == int((slots.motion.data > 0).sum())


class Moving(nn.Module):
    """Sees differences between neighbors, so that the order counts; takes no lengths and pools nothing."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Linear(64 * 44, 12)

    def forward(self, silhouettes):
        change = silhouettes.diff(dim=1, prepend=silhouettes[:, :1]).abs().mean(1)
        return self.matrix((change + silhouettes.mean(1)).flatten(1)).unflatten(1, (4, 3))


NETWORKS = {
    "gaitset": lambda: GaitSet(channels=(2, 2, 4), embedding=4),
    "gaitbase": lambda: GaitBase(channels=(2, 2, 2, 4), embedding=4, classes=2),
    "moving": Moving,
}


def victim_of(network, *, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        module = NETWORKS[network]().to(dtype)
    return Victim(module, SILHOUETTES)


def noise(n, frames, lengths=None, seed=0):
    """Frames without two equal values side by side, so that no maximum is shared and gradients are unique."""
    data = torch.rand(n, frames, 64, 44, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    motion = Motion(data=data, lengths=lengths, extras={"view": torch.arange(n)})
    return motion.with_data(data if lengths is None else data * SILHOUETTES.valid(motion))


def by_hand(motion, slots, frames, rows):
    """The whole sequences, put together frame by frame."""
    made = []
    for row, own in zip(rows, frames, strict=True):
        length = motion.data.shape[1] if motion.lengths is None else int(motion.lengths[row])
        original = iter(motion.data[row, :length])
        at = slots.index[row, : slots.counts[row]].tolist()
        total = length + len(at) if slots.inserted else length
        sequence = []
        for j in range(total):
            if j in at:
                sequence.append(own[at.index(j)])
                if not slots.inserted:
                    next(original)
            else:
                sequence.append(next(original))
        made.append(torch.stack(sequence))
    lengths = torch.tensor([len(sequence) for sequence in made])
    data = nn.utils.rnn.pad_sequence(made, batch_first=True)
    extras = {name: value[rows] for name, value in motion.extras.items()}
    return Motion(data=data, lengths=lengths if min(lengths) < max(lengths) else None, extras=extras)


LENGTHS = [None, torch.tensor([6, 3, 5])]


@pytest.mark.parametrize("lengths", LENGTHS, ids=["even", "padded"])
@pytest.mark.parametrize("where", ["first", "random", "spread"])
@pytest.mark.parametrize("mode", ["alter", "insert"])
@pytest.mark.parametrize("network", NETWORKS)
def test_spliced_frames_are_recognized_as_whole_sequences(network, mode, where, lengths):
    victim, motion = victim_of(network), noise(3, 6, lengths)
    motion = motion.with_data(SILHOUETTES.harden(motion.data))
    slots = place(motion, 0.5, mode=mode, where=where, streams=streams(3))
    spliced = Spliced(victim, slots)
    untouched = spliced.whole(spliced.frames)
    if mode == "alter":
        assert torch.equal(untouched.data, motion.data)
    torch.testing.assert_close(spliced(spliced.frames).embedding, victim(untouched).embedding, rtol=0, atol=1e-9)
    other = noise(3, spliced.frames.data.shape[1], spliced.frames.lengths, seed=5).data
    for rows in ([0, 1, 2], [2, 0], [1]):
        chosen = torch.tensor(rows)
        leaf = other[chosen].requires_grad_(True)
        own = spliced.frames.select(chosen).with_data(leaf)
        whole = by_hand(motion, slots, leaf, rows)
        got, want = spliced(own).embedding, victim(whole).embedding
        torch.testing.assert_close(got, want, rtol=0, atol=1e-9)
        weight = torch.randn(got.shape, dtype=got.dtype, generator=torch.Generator().manual_seed(1))
        (ours,) = torch.autograd.grad((got * weight).sum(), leaf)
        (theirs,) = torch.autograd.grad((want * weight).sum(), leaf)
        assert theirs.abs().sum() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)
        made = spliced.whole(own)
        lengths_made = [made.data.shape[1]] * len(rows) if made.lengths is None else made.lengths.tolist()
        for row, length, wanted in zip(made.data, lengths_made, whole.data, strict=True):
            assert torch.equal(row[:length], wanted[:length])
            assert (row[length:] == 0).all()


def test_pooled_frames_agree_in_single_precision_too():
    victim, motion = victim_of("gaitset", dtype=torch.float32), noise(3, 6)
    motion = motion.with_data(motion.data.float())
    spliced = Spliced(victim, place(motion, 0.3, where="spread", streams=streams(3)))
    other = spliced.frames.with_data(noise(3, 2, seed=5).data.float())
    torch.testing.assert_close(spliced(other).embedding, victim(spliced.whole(other)).embedding, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("network", ["gaitset", "moving"])
def test_all_frames_may_be_set(network):
    victim, motion = victim_of(network), noise(2, 3)
    spliced = Spliced(victim, place(motion, 1.0, streams=streams(2)))
    other = noise(2, 3, seed=5)
    torch.testing.assert_close(
        spliced(spliced.frames.with_data(other.data)).embedding, victim(other).embedding, rtol=0, atol=1e-9
    )


class Counting(GaitSet):
    """Counts the frames that it encodes."""

    frames = 0

    def encode(self, frames):
        self.frames += len(frames)
        return super().encode(frames)


def test_the_other_frames_are_encoded_once():
    module = Counting(channels=(2, 2, 4), embedding=4).double().train()
    spliced = Spliced(Victim(module, SILHOUETTES), place(noise(3, 8), 0.25, streams=streams(3)))
    assert module.training
    once = module.frames
    spliced(spliced.frames)
    spliced(spliced.frames.select([1]))
    assert module.frames - once == 8
    assert once == 24


@pytest.mark.parametrize("network", ["gaitset", "moving"])
def test_identifiers_name_spliced_sequences_as_they_do_whole_ones(network):
    victim, motion = victim_of(network), noise(3, 6)
    motion = replace(motion, extras={"view": torch.tensor([0, 90, 0])})
    gallery = Gallery(
        embedding=victim(noise(4, 6, seed=3)).embedding.detach(),
        identities=torch.tensor([0, 1, 0, 1]),
        names=("a", "b"),
        views=torch.tensor([0, 0, 90, 90]),
    )
    identifier = Identifier(victim, gallery)
    spliced = Spliced(identifier, place(motion, 0.3, mode="insert", where="spread", streams=streams(3)))
    assert set(spliced.domain.extras) == {"view", ROW}
    index = torch.tensor([2, 1])
    frames = spliced.frames.select(index)
    frames = frames.with_data(noise(2, 2, seed=5).data)
    got, want = spliced(frames), identifier(spliced.whole(frames))
    torch.testing.assert_close(got.logits, want.logits, rtol=0, atol=1e-9)
    torch.testing.assert_close(got.embedding, want.embedding, rtol=0, atol=1e-9)
    assert torch.equal(got.decided, want.decided)
    assert got.decided.tolist() == [[False, True], [True, False]]


def test_a_view_that_the_protocol_needs_is_asked_for():
    victim = victim_of("gaitset")
    embedding = victim(noise(1, 2)).embedding.detach()
    gallery = Gallery(embedding=embedding, identities=torch.tensor([0]), names=("a",), views=torch.tensor([0]))
    motion = replace(noise(2, 4), extras={})
    with pytest.raises(DataError, match="the victim needs view"):
        Spliced(Identifier(victim, gallery), place(motion, 0.5, streams=streams(2)))


@pytest.mark.parametrize("mode", ["alter", "insert"])
def test_what_is_concluded_is_stored_whole_and_differs_in_the_set_frames_only(mode):
    victim = victim_of("gaitset")
    motion = silhouettes(4, 6)
    slots = place(motion, 0.4, mode=mode, where="spread", streams=streams(4))
    spliced = Spliced(victim, slots)
    targets = victim(motion).embedding.detach()
    gallery = Gallery(embedding=targets, identities=torch.arange(4), names=("a", "b", "c", "d"))
    identifier = Identifier(victim, gallery)
    spliced = Spliced(identifier, slots)
    goal = Nontargeted(labels=torch.arange(4))
    found = PGD(steps=3)(spliced, spliced.frames, goal, threat=Linf(eps=1.0), streams=streams(4))
    done = spliced.conclude(found, goal)

    before = SILHOUETTES.harden(slots.motion.data)
    changed = (done.motion.data != before).flatten(2).any(2)
    assert not (changed & ~slots.mask()).any()
    assert changed.any(1).all()
    assert torch.equal(SILHOUETTES.harden(done.motion.data), done.motion.data)
    assert ROW not in done.motion.extras
    assert done.distances["frames"].tolist() == changed.sum(1).tolist()
    with torch.no_grad():
        fresh = identifier(done.motion)
    assert torch.equal(goal.success(fresh), done.success)
    torch.testing.assert_close(goal.loss(fresh), done.loss)
    torch.testing.assert_close(found.loss, done.loss)
    assert torch.equal(done.forwards, found.forwards + 1)
    if mode == "insert":
        assert done.motion.lengths.tolist() == [n + round(0.4 * n) for n in (6, 4, 6, 5)]


def test_movements_without_frames_first_are_refused():
    victim = Victim(LinearSkeleton(), SKELETON, output="logits")
    motion = skeletons()
    slots = place(replace(motion, data=motion.data.transpose(1, 2)), 0.5, streams=streams(4))
    with pytest.raises(DataError, match="frames on the first axis after the batch"):
        Spliced(victim, replace(slots, motion=motion))


def test_sequences_outside_the_victims_domain_are_refused():
    motion = noise(2, 4)
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        Spliced(victim_of("gaitset"), place(motion.with_data(motion.data + 1), 0.5, streams=streams(2)))
    with pytest.raises(DataError, match="w=44"):
        Spliced(victim_of("gaitset"), place(replace(motion, data=motion.data[..., :40]), 0.5, streams=streams(2)))
