"""The attack with generated frames, its controls, and the goals that it descends on."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from gaitkeeper.attacks.goals import SLACK, Accepted, Cosine, Nontargeted, Rejected, Targeted
from gaitkeeper.attacks.splice import Slots, Spliced, place
from gaitkeeper.attacks.temporal_sparse import TemporalSparse, neighbor_overlap, published
from gaitkeeper.errors import DataError
from gaitkeeper.models.generators.gan import ScoredCritic, SilhouetteGAN
from gaitkeeper.models.victim import Gallery, Identifier, Outputs
from gaitkeeper.motion.motion import Motion
from gaitkeeper.seeding import SampleStreams
from tests.attacks.victims import CASES, gait_identifier, silhouette_gan, silhouettes, skeletons

LABELS = torch.arange(4)


@pytest.fixture(scope="module")
def gan():
    return silhouette_gan()


@pytest.fixture(scope="module")
def identifier():
    return gait_identifier()


def streams(keys=range(4), seed=0):
    return SampleStreams(seed, keys)


def away(identifier, motion):
    """A goal that is never reached, so that all steps are taken."""
    with torch.no_grad():
        own = identifier(motion.with_data(identifier.domain.harden(motion.data))).embedding
    return Cosine(reference=own, toward=False, reached=Rejected(reference=own, threshold=1e9))


class Recording(SilhouetteGAN):
    """Keeps the latents that it makes silhouettes of."""

    @classmethod
    def of(cls, gan):
        made = cls(gan.generator, gan.critic, gan.judge)
        made.asked = []
        return made

    def silhouettes(self, latents):
        self.asked.append(latents.detach().clone())
        return super().silhouettes(latents)


def test_only_so_many_frames_differ_and_success_is_that_of_what_is_stored(gan, identifier):
    for mode in ("alter", "insert"):
        for goal in (Nontargeted(labels=LABELS, kind="relative"), Targeted(targets=(LABELS + 1) % 4)):
            motion = silhouettes()
            before = motion.data.clone()
            done = TemporalSparse(gan=gan, sparsity=1 / 3, mode=mode, where="spread", steps=4)(
                identifier, motion, goal, streams=streams()
            )
            assert torch.equal(motion.data, before)
            hard = identifier.domain.harden
            assert torch.equal(hard(done.motion.data), done.motion.data)
            slots = place(motion, 1 / 3, mode=mode, where="spread", streams=streams())
            changed = (done.motion.data != hard(slots.motion.data)).flatten(2).any(2)
            assert torch.equal(changed, slots.mask())
            assert done.distances["frames"].tolist() == [2, 1, 2, 2]
            with torch.no_grad():
                fresh = identifier(done.motion)
            assert torch.equal(goal.success(fresh), done.success)
            torch.testing.assert_close(goal.loss(fresh), done.loss)
            assert (done.backwards <= done.steps + 1).all()
            assert (done.steps <= 4).all()
            assert done.motion.lengths.tolist() == ([6, 4, 6, 5] if mode == "alter" else [8, 5, 8, 7])


def test_no_steps_from_normal_latents_is_the_papers_random_control(gan, identifier):
    motion, asked = silhouettes(), Recording.of(gan)
    attack = TemporalSparse(gan=asked, sparsity=1 / 3, steps=0, begin="normal", realism=0.0)
    done = attack(identifier, motion, Nontargeted(labels=LABELS), streams=streams())
    draws = torch.as_tensor(streams().within([2, 1, 2, 2], 0).normal((2, 6))).float()
    torch.testing.assert_close(asked.asked[0].unflatten(0, (4, 2)), draws)
    assert (draws.norm(dim=2) - 6**0.5).abs().max() > 0.3
    with torch.no_grad():
        frames = gan.silhouettes(draws.flatten(0, 1)).unflatten(0, (4, 2)).double()
    counts = [2, 1, 2, 2]
    for row, wanted, count in zip(done.motion.data, frames, counts, strict=True):
        torch.testing.assert_close(row[:count], identifier.domain.harden(wanted[:count]), rtol=0, atol=1.1 / 255)
    assert (done.backwards == 0).all()
    assert (done.steps == 0).all()


def test_seeds_repeat_bytes(gan, identifier):
    motion, goal = silhouettes(), Nontargeted(labels=LABELS)
    attack = TemporalSparse(gan=gan, sparsity=1 / 3, where="random", steps=3)
    first, again, other = (attack(identifier, motion, goal, streams=streams(seed=s)) for s in (0, 0, 1))
    assert torch.equal(first.motion.data, again.motion.data)
    assert not torch.equal(first.motion.data, other.motion.data)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"where": "random", "coherence": 1.0},
        {"mode": "insert", "where": "spread"},
        {"begin": "clip", "fit": 2},
        {"directions": "random", "sphere": False},
    ],
    ids=str,
)
def test_batching_and_order_change_nothing(gan, identifier, options):
    motion = silhouettes()
    goal = away(identifier, motion)
    attack = TemporalSparse(gan=gan, sparsity=1 / 3, steps=4, **options)
    whole = attack(identifier, motion, goal, streams=streams())
    for rows in ([2, 0], [3]):
        part = attack(identifier, motion.select(rows), goal.select(torch.tensor(rows)), streams=streams(rows))
        frames = part.motion.data.shape[1]
        torch.testing.assert_close(part.motion.data, whole.motion.data[rows][:, :frames], rtol=0, atol=1.1 / 255)
        torch.testing.assert_close(part.loss, whole.loss[rows], rtol=0, atol=1e-4)
        assert torch.equal(part.success, whole.success[rows])
        assert torch.equal(part.steps, whole.steps[rows])


@pytest.mark.parametrize(
    "options",
    [{"where": "random"}, {"where": "random", "mode": "insert"}, {"restarts": 2}, {"directions": "random"}],
    ids=str,
)
def test_longer_batch_mates_change_nothing(gan, identifier, options):
    motion = silhouettes()
    goal = away(identifier, motion)
    attack = TemporalSparse(gan=gan, sparsity=1 / 3, steps=3, coherence=1.0, **options)
    whole = attack(identifier, motion, goal, streams=streams())
    row, last = motion.select([1]), torch.tensor([1])
    alone = attack(identifier, Motion(data=row.data[:, :4], extras=row.extras), goal.select(last), streams=streams([1]))
    frames = alone.motion.data.shape[1]
    assert alone.motion.lengths is None
    torch.testing.assert_close(alone.motion.data[0], whole.motion.data[1, :frames], rtol=0, atol=1.1 / 255)
    torch.testing.assert_close(alone.loss, whole.loss[1:2], rtol=0, atol=1e-4)
    if "mode" not in options:
        assert torch.equal(whole.motion.data[1, 4:], identifier.domain.harden(motion.data[1, 4:]))


@pytest.mark.parametrize("begin", ["sphere", "clip"])
def test_more_steps_never_do_worse(gan, identifier, begin):
    motion = silhouettes()
    attack = TemporalSparse(gan=gan, sparsity=1 / 3, realism=0.0, begin=begin)
    losses = []
    for steps in (0, 1, 3, 8):
        done = replace(attack, steps=steps)(identifier, motion, away(identifier, motion), streams=streams())
        assert done.steps.tolist() == [steps] * 4
        assert done.forwards.tolist() == [steps + 3] * 4
        losses.append(done.loss)
    for shorter, longer in pairwise(losses):
        assert (longer <= shorter + 1e-6).all()
    assert (losses[-1] < losses[0]).all()


def test_successes_stay_and_the_others_get_further_starts(gan, identifier):
    motion, goal = silhouettes(), Nontargeted(labels=LABELS)
    attack = TemporalSparse(gan=gan, sparsity=1 / 3, steps=3)
    one, more = (replace(attack, restarts=r)(identifier, motion, goal, streams=streams()) for r in (1, 3))
    assert (one.success <= more.success).all()
    assert one.success.any()
    assert torch.equal(one.motion.data[one.success], more.motion.data[one.success])
    assert torch.equal(one.forwards[one.success], more.forwards[one.success])
    assert (more.steps[~more.success] == 9).all()
    assert (one.steps[~one.success] == 3).all()


@pytest.mark.parametrize("sphere", [True, False])
def test_the_control_starts_alike_and_steps_as_far(gan, identifier, sphere):
    motion = silhouettes()
    goal, seen, losses = away(identifier, motion), {}, {}
    for directions in ("gradient", "random"):
        asked = Recording.of(gan)
        attack = TemporalSparse(gan=asked, sparsity=1 / 3, steps=5, sphere=sphere, directions=directions, realism=0.0)
        done = attack(identifier, motion, goal, streams=streams())
        assert done.steps.tolist() == [5] * 4
        assert done.backwards.tolist() == [5 * (directions == "gradient")] * 4
        losses[directions] = done.loss
        # Entries of shorter sequences beyond their own frames are padding, which never moves.
        latents = torch.stack(asked.asked).unflatten(1, (4, 2))
        valid = torch.tensor([[True, True], [True, False], [True, True], [True, True]])
        seen[directions] = latents[:, valid]
    assert torch.equal(seen["gradient"][0], seen["random"][0])
    for directions, latents in seen.items():
        lengths, moves = latents.norm(dim=2), latents.diff(dim=0)
        if sphere:
            torch.testing.assert_close(lengths, torch.full_like(lengths, 6**0.5))
        else:
            torch.testing.assert_close(moves.abs(), torch.full_like(moves, 0.1), rtol=0, atol=1e-5)
            if directions == "random":
                torch.testing.assert_close(moves, moves[:1].expand_as(moves), rtol=0, atol=1e-5)
    assert losses["gradient"].mean() < losses["random"].mean()


def test_the_control_ends_where_its_direction_leads_and_asks_nothing_on_the_way(gan, identifier):
    motion, asked = silhouettes(), Recording.of(gan)
    goal = away(identifier, motion)
    walk = TemporalSparse(gan=asked, sparsity=1 / 3, steps=5, directions="random", realism=0.0)
    searched = walk(identifier, motion, goal, streams=streams())
    path, asked.asked = asked.asked, []
    ended = replace(walk, keep="last")(identifier, motion, goal, streams=streams())
    assert len(path) == 6
    assert len(asked.asked) == 1
    torch.testing.assert_close(asked.asked[0], path[-1])
    assert ended.forwards.tolist() == [3] * 4
    assert ended.steps.tolist() == [5] * 4
    assert (searched.loss <= ended.loss).all()
    assert (searched.loss < ended.loss).any()
    with pytest.raises(ValueError, match="last point unseen"):
        replace(walk, directions="gradient", keep="last")(identifier, motion, goal, streams=streams())


def with_quantiles(gan, low, high):
    quantiles = tuple(np.linspace(low, high, 101).tolist())
    scored = (ScoredCritic(critic.module, quantiles) for critic in (gan.critic, gan.judge))
    return SilhouetteGAN(gan.generator, *scored)


def scores(gan, done):
    return float(gan.critic.scores(done.motion.data[:, :1].flatten(0, 1)).detach().mean())


def test_the_critic_pulls_toward_recorded_frames(gan, identifier):
    motion = silhouettes()
    goal = away(identifier, motion)
    # All generated frames score above the range of recorded ones, or all below it.
    easy, hard = with_quantiles(gan, -9, -8), with_quantiles(gan, 8, 9)
    attack = TemporalSparse(gan=easy, sparsity=1 / 6, steps=8, realism=0.0)
    free = attack(identifier, motion, goal, streams=streams())
    typical = replace(attack, realism=1000.0)(identifier, motion, goal, streams=streams())
    assert torch.equal(free.motion.data, typical.motion.data)
    for kind in ("typical", "bce"):
        real = replace(attack, gan=hard, realism=1000.0, realism_kind=kind)
        assert scores(gan, real(identifier, motion, goal, streams=streams())) > scores(gan, free) + 0.02


def test_the_judge_is_never_asked(gan, identifier):
    def refuse(*args):
        raise AssertionError("an attack asked the judge")

    motion, scored = silhouettes(), []
    asked = with_quantiles(gan, -2, 2)
    hooks = [
        asked.judge.module.register_forward_pre_hook(refuse),
        asked.critic.module.register_forward_pre_hook(lambda *args: scored.append(args)),
    ]
    done = published(asked, sparsity=1 / 3)
    replace(done, steps=2, coherence=1.0)(identifier, motion, away(identifier, motion), streams=streams())
    for hook in hooks:
        hook.remove()
    assert scored


def overlap(motion, done):
    slots = place(motion, 1 / 3, where="spread", streams=streams())
    rows = torch.arange(4)
    return neighbor_overlap(done.motion.data[rows[:, None], slots.index], slots, rows)


def test_coherence_brings_frames_nearer_to_their_neighbors(gan, identifier):
    motion = silhouettes()
    attack = TemporalSparse(gan=gan, sparsity=1 / 3, where="spread", steps=10, realism=0.0)
    free, coherent = (
        replace(attack, coherence=c)(identifier, motion, away(identifier, motion), streams=streams())
        for c in (0.0, 100.0)
    )
    assert overlap(motion, coherent).mean() > overlap(motion, free).mean() + 0.01


def test_from_the_clip_frames_start_near_those_they_replace(gan, identifier):
    motion = silhouettes()
    slots = place(motion, 1 / 6, streams=streams())
    spliced = Spliced(identifier, slots)
    found = {}
    for name, options in {
        "sphere": {},
        "clip": {"begin": "clip"},
        "fit": {"begin": "clip", "fit": 10},
    }.items():
        attack = TemporalSparse(gan=gan, steps=0, realism=0.0, straight_through=False, **options)
        done = attack.on(spliced, away(identifier, motion), streams=streams())
        found[name] = (done.motion.data - spliced.whole(spliced.frames).data)[:, 0].square().mean((1, 2))
    assert (found["clip"] < found["sphere"]).all()
    assert found["fit"].mean() < found["clip"].mean() - 1e-3


def test_straight_through_shows_the_victim_what_is_stored(gan):
    identifier = gait_identifier()
    identifier = Identifier(identifier.victim.storing("binary"), identifier.gallery)
    motion = silhouettes()
    seen = []
    attack = TemporalSparse(gan=gan, sparsity=1 / 3, steps=2)
    for through in (True, False):
        seen.clear()
        handle = identifier.victim.module.set_block1.register_forward_pre_hook(lambda _, x: seen.append(x[0].detach()))
        done = replace(attack, straight_through=through)(
            identifier, motion, away(identifier, motion), streams=streams()
        )
        handle.remove()
        assert ((done.motion.data == 0) | (done.motion.data == 1)).all()
        soft = [((x > 1e-6) & (x < 1 - 1e-6)).any().item() for x in seen]
        assert any(soft) != through


def test_published_hyper_parameters(gan, identifier):
    attack = published(gan)
    assert (attack.sparsity, attack.mode, attack.where) == (1 / 40, "alter", "first")
    assert (attack.steps, attack.step_size, attack.decay) == (100, 0.1, 1.0)
    assert (attack.realism, attack.realism_kind, attack.begin) == (1000.0, "bce", "sphere")
    assert (attack.coherence, attack.fit, attack.restarts, attack.directions) == (0.0, 0, 1, "gradient")
    assert not attack.straight_through
    assert published(gan, sparsity=0.1, mode="insert") == replace(attack, sparsity=0.1, mode="insert")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_of_victim_generator_or_random_state_changes(gan, identifier, dtype):
    modules = [identifier.victim.module, gan.generator, gan.critic.module, gan.judge.module]
    identifier = gait_identifier()
    identifier.victim.module.to(dtype)
    gallery = replace(identifier.gallery, embedding=identifier.gallery.embedding.to(dtype))
    identifier = Identifier(identifier.victim, gallery)
    modules[0] = identifier.victim.module
    motion = silhouettes()
    motion = motion.with_data(motion.data.to(dtype))
    try:
        for module in modules:
            module.train()
        modules[1].bn.eval()
        modules[1].conv1.requires_grad_(False)
        flags = [(part.training, [w.requires_grad for w in part.parameters()]) for m in modules for part in m.modules()]
        values = [v.clone() for m in modules for v in m.state_dict().values()]
        random_state = torch.get_rng_state()
        attack = TemporalSparse(gan=gan, sparsity=1 / 3, steps=2, coherence=1.0, begin="clip", fit=1)
        done = attack(identifier, motion, away(identifier, motion), streams=streams())
        assert done.motion.data.dtype == dtype
        after = [(part.training, [w.requires_grad for w in part.parameters()]) for m in modules for part in m.modules()]
        assert flags == after
        assert all(
            torch.equal(a, b)
            for a, b in zip(values, (v for m in modules for v in m.state_dict().values()), strict=True)
        )
        assert all(weight.grad is None for m in modules for weight in m.parameters())
        assert torch.equal(random_state, torch.get_rng_state())
    finally:
        modules[1].conv1.requires_grad_(True)
        for module in modules:
            module.eval()


def test_a_generator_that_does_not_fit_is_refused_with_both_sizes(identifier):
    goal = Nontargeted(labels=LABELS)
    for options, message in (
        ({"size": (32, 48)}, "32x44 .*h=64 w=44"),
        ({"columns": 40}, "64x40 .*h=64 w=44"),
        ({"channels": 3}, r"64x44 .*\(3 channels\).*h=64 w=44"),
    ):
        attack = TemporalSparse(gan=silhouette_gan(**options), sparsity=1 / 3)
        with pytest.raises(DataError, match=message):
            attack(identifier, silhouettes(), goal, streams=streams())


def test_what_cannot_be_attacked_is_refused(gan, identifier):
    goal = Nontargeted(labels=LABELS)
    with pytest.raises(DataError, match="frames on the first axis"):
        TemporalSparse(gan=gan)(CASES["linear skeleton"].victim(), skeletons(), goal, streams=streams())
    with pytest.raises(DataError, match="sparsity in"):
        TemporalSparse(gan=gan, sparsity=0)(identifier, silhouettes(), goal, streams=streams())
    with pytest.raises(DataError, match="needs view"):
        TemporalSparse(gan=gan)(identifier, replace(silhouettes(), extras={}), goal, streams=streams())


def slots_of(frames, index, *, lengths=None, counts=None):
    index = torch.tensor(index)
    motion = Motion(data=frames, lengths=None if lengths is None else torch.tensor(lengths))
    counts = torch.full((len(index),), index.shape[1]) if counts is None else torch.tensor(counts)
    return Slots(motion, index, counts, inserted=False)


LEFT, RIGHT, ALL = torch.tensor([1.0, 1, 0, 0]), torch.tensor([0.0, 0, 1, 1]), torch.ones(4)


def clip(*frames):
    return torch.stack(frames).reshape(1, -1, 2, 2)


@pytest.mark.parametrize(
    ("frames", "index", "own", "wanted"),
    [
        ([LEFT] * 4, [[2]], [LEFT], 1),
        ([RIGHT] * 4, [[2]], [LEFT], 0),
        ([RIGHT] * 4, [[2]], [ALL], 0.5),
        ([RIGHT, LEFT, LEFT], [[1]], [LEFT], 0.5),
        ([LEFT, ALL, RIGHT], [[0]], [LEFT], 0.5),
        ([LEFT, ALL, RIGHT], [[2]], [RIGHT], 0.5),
        ([RIGHT] * 4, [[0, 1]], [LEFT, LEFT], 2 / 3),
        ([RIGHT] * 4, [[0, 2]], [LEFT, RIGHT], 2 / 3),
        ([RIGHT] * 2, [[0, 1]], [LEFT, ALL], 0.5),
        ([RIGHT], [[0]], [LEFT], 0),
    ],
)
def test_overlap_with_neighbors(frames, index, own, wanted):
    got = neighbor_overlap(clip(*own), slots_of(clip(*frames), index), torch.tensor([0]))
    torch.testing.assert_close(got, torch.tensor([float(wanted)]))


def test_overlap_is_that_of_chosen_rows_and_valid_frames():
    frames = torch.cat([clip(RIGHT, RIGHT, RIGHT), clip(LEFT, LEFT, RIGHT)])
    slots = slots_of(frames, [[0, 2], [1, 1]], lengths=[3, 2], counts=[2, 1])
    own = torch.cat([clip(LEFT, RIGHT), clip(LEFT, RIGHT)])
    torch.testing.assert_close(neighbor_overlap(own, slots, torch.tensor([0, 1])), torch.tensor([0.5, 1.0]))
    torch.testing.assert_close(neighbor_overlap(own[1:], slots, torch.tensor([1])), torch.tensor([1.0]))
    soft = torch.full((1, 1, 2, 2), 0.5)
    got = neighbor_overlap(soft, slots_of(clip(ALL, ALL, ALL), [[1]]), torch.tensor([0]))
    torch.testing.assert_close(got, torch.tensor([0.5]))


def test_overlap_of_empty_frames_has_a_finite_gradient():
    own = torch.zeros(1, 1, 2, 2, requires_grad=True)
    got = neighbor_overlap(own, slots_of(torch.zeros(1, 3, 2, 2), [[1]]), torch.tensor([0]))
    (gradient,) = torch.autograd.grad(got.sum(), own)
    assert gradient.isfinite().all()


def logits_of(*rows):
    return Outputs(logits=torch.tensor(rows, dtype=torch.float64))


NONE = float("-inf")


@pytest.mark.parametrize(
    ("row", "label", "wanted"),
    [
        ((1, 3, 5), 2, 2 / (8 / 3) ** 0.5),
        ((1, 3, 5), 0, -SLACK),
        ((1, 3, NONE), 1, 2),
        ((1, 3, NONE), 0, -SLACK),
        ((2, 2.1, 6, 6), 2, 0),
        ((4, 4.1, 0), 0, -0.1 / np.std([4, 4.1, 0])),
    ],
)
@pytest.mark.parametrize("scale", [1, 100])
def test_relative_margins_are_in_units_of_the_spread(row, label, wanted, scale):
    outputs, label = logits_of(tuple(scale * value - 7 for value in row)), torch.tensor([label])
    got = Nontargeted(labels=label, kind="relative").loss(outputs)
    torch.testing.assert_close(got, torch.tensor([wanted], dtype=torch.float64))
    margin = Nontargeted(labels=label).loss(outputs)
    assert torch.equal(got.sign(), margin.sign())
    against = Targeted(targets=label, kind="relative").loss(outputs)
    spread = np.std([scale * value for value in row if value > NONE])
    torch.testing.assert_close(against, (-margin / spread).clamp_min(-SLACK))
    for goal in (Nontargeted(labels=label, kind="relative"), Targeted(targets=label, kind="relative")):
        assert torch.equal(goal.success(outputs), replace(goal, kind="margin").success(outputs))


@pytest.mark.parametrize("goal", [Nontargeted(labels=torch.tensor([1])), Targeted(targets=torch.tensor([0]))])
def test_relative_margins_have_finite_gradients_that_stop_at_the_slack(goal):
    goal = replace(goal, kind="relative")
    logits = torch.tensor([[1.0, 3.0, NONE]], requires_grad=True)
    (gradient,) = torch.autograd.grad(goal.loss(Outputs(logits=logits)).sum(), logits)
    # The spread, 1 here, is a unit and is not descended on.
    torch.testing.assert_close(gradient, torch.tensor([[-1.0, 1.0, 0.0]]))
    won = torch.tensor([[3.0, 1.0, NONE]], requires_grad=True)
    (gradient,) = torch.autograd.grad(goal.loss(Outputs(logits=won)).sum(), won)
    assert torch.equal(gradient, torch.zeros(1, 3))


def test_relative_margins_are_averaged_over_decisions_that_count():
    logits = torch.tensor([[[1.0, 3.0], [2.0, 8.0], [5.0, 5.5]]])
    goal = Nontargeted(labels=torch.tensor([1]), kind="relative")
    torch.testing.assert_close(goal.loss(Outputs(logits=logits)), torch.tensor([2.0]))
    decided = torch.tensor([[True, False, True]])
    logits[0, 0] = torch.tensor([9.0, 3.0])
    torch.testing.assert_close(goal.loss(Outputs(logits=logits, decided=decided)), torch.tensor([(2 - SLACK) / 2]))


def test_identities_missing_from_a_gallery_leave_gradients_finite(gan):
    victim = gait_identifier().victim
    embedding = victim(silhouettes()).embedding.detach()[[0, 1, 2, 0, 1]]
    gallery = Gallery(
        embedding=embedding + 0.1,
        identities=torch.tensor([0, 1, 2, 0, 1]),
        names=("a", "b", "c"),
        views=torch.tensor([18, 18, 18, 54, 54]),
    )
    identifier = Identifier(victim, gallery)
    assert torch.isneginf(identifier(silhouettes()).logits).any()
    goal = Nontargeted(labels=torch.tensor([0, 1, 0, 1]), kind="relative")
    done = TemporalSparse(gan=gan, sparsity=1 / 3, steps=2)(identifier, silhouettes(), goal, streams=streams())
    assert done.loss.isfinite().all()
    assert (done.loss >= -SLACK).all()


def embedded(*rows):
    return torch.tensor(rows)[:, :, None]


def test_cosines_of_whole_embeddings():
    outputs = Outputs(embedding=embedded([2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [1.0, 1.0]))
    reference = embedded([1.0, 0.0]).expand(4, 2, 1)
    reached = Accepted(reference=reference, threshold=1.5, kind="whole")
    want = torch.tensor([1, 0, -1, 0.5**0.5])
    leave, approach = (Cosine(reference=reference, toward=toward, reached=reached) for toward in (False, True))
    torch.testing.assert_close(leave.loss(outputs), want)
    torch.testing.assert_close(approach.loss(outputs), 1 - want)
    assert leave.success(outputs).tolist() == reached.success(outputs).tolist() == [True, False, False, True]
    some = leave.select(torch.tensor([2, 0]))
    chosen = Outputs(embedding=outputs.embedding[[2, 0]])
    torch.testing.assert_close(some.loss(chosen), torch.tensor([-1.0, 1.0]))
    assert some.success(chosen).tolist() == [False, True]
    parts = torch.tensor([[[3.0, 0.0], [0.0, 4.0]]])
    turned = Cosine(reference=torch.tensor([[[3.0, 4.0], [0.0, 0.0]]]), toward=False, reached=reached)
    torch.testing.assert_close(turned.loss(Outputs(embedding=parts)), torch.tensor([9 / 25]))


def test_cosines_have_gradients_away_from_the_reference_and_none_at_it():
    reference = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    goal = Cosine(reference=reference, toward=False, reached=Accepted(reference=reference, threshold=0.0))
    for start, moves in ((reference.clone(), False), (reference.flip(1), True), (torch.zeros(2, 3, 4), None)):
        leaf = start.requires_grad_(True)
        (gradient,) = torch.autograd.grad(goal.loss(Outputs(embedding=leaf)).sum(), leaf)
        assert gradient.isfinite().all()
        if moves is not None:
            assert bool((gradient.abs().amax((1, 2)) > 1e-3).all()) == moves
    with pytest.raises(DataError, match="cosine goals need a victim that gives embeddings"):
        goal.loss(Outputs(logits=torch.zeros(2, 3)))


def test_the_papers_goals_are_descended_on(gan, identifier):
    motion = silhouettes()
    targets = (LABELS + 1) % 4
    toward = Cosine(reference=identifier.gallery.embedding[targets], toward=True, reached=Targeted(targets=targets))
    attack = TemporalSparse(gan=gan, sparsity=1 / 2, realism=0.0)
    start, end = (replace(attack, steps=s)(identifier, motion, toward, streams=streams()) for s in (0, 8))
    still = ~start.success
    assert still.any()
    assert (end.loss[still & ~end.success] < start.loss[still & ~end.success]).all()
    assert (end.success >= start.success).all()
