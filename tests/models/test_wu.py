import pytest
import torch

from gaitkeeper.models.gait.wu import LocalBottom, MidTop, Pairwise, Siamese, all_pairs

NETWORKS = [LocalBottom, MidTop, Siamese]
SMALL = {"widths": (3, 4, 5), "kernel": 5, "size": (64, 44)}


def images(count, seed=0, size=(64, 44)):
    return torch.rand(count, *size, generator=torch.Generator().manual_seed(seed))


def small(network, **options):
    torch.manual_seed(0)
    made = network(**{**SMALL, **options}).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    return made


@pytest.mark.parametrize(("network", "parameters"), [(LocalBottom, 973_170), (MidTop, 1_775_202), (Siamese, 972_386)])
def test_the_published_size(network, parameters):
    made = network()
    assert sum(weight.numel() for weight in made.parameters()) == parameters
    assert made.cells == 21 * 11


@pytest.mark.parametrize("order", ["norm-pool-relu", "relu-norm-pool"])
def test_mt_compares_codes_as_a_convolution_of_both_images_would(order):
    made = small(MidTop, order=order)
    made.mean.copy_(images(1, seed=7)[0])
    first, second = images(3), images(3, seed=1)
    stems = []
    for picture in (first, second):
        x = (picture - made.mean)[:, None]
        for convolution in (made.conv1, made.conv2):
            x = convolution(x)
            norm = torch.nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)
            if order == "relu-norm-pool":
                x = torch.nn.functional.max_pool2d(norm(x.relu()), 2)
            else:
                x = torch.nn.functional.max_pool2d(norm(x), 2).relu()
        stems.append(x)
    direct = made.classify(made.conv3(torch.cat(stems, 1)).relu().flatten(1))
    torch.testing.assert_close(made(first, second), direct, rtol=1e-4, atol=1e-5)


def test_lb_sees_both_images_as_channels():
    made = small(LocalBottom)
    first, second = images(2), images(2, seed=1)
    x = made.stage1(made.conv1(torch.stack([first, second], 1)))
    direct = made.classify(made.conv3(made.stage2(made.conv2(x))).relu().flatten(1))
    torch.testing.assert_close(made(first, second), direct, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("normalize", [False, True])
def test_all_pairs_are_the_differences_of_logits_whatever_the_block(network, normalize):
    made = small(network, normalize=normalize)
    first, second = images(3), images(5, seed=1)
    with torch.no_grad():
        rows = [made(first[i].expand(5, -1, -1), second) for i in range(3)]
    wanted = torch.stack([row[:, 1] - row[:, 0] for row in rows])
    for block in (1, 2, 64):
        torch.testing.assert_close(all_pairs(made, first, second, block=block), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_an_untrained_network_finds_nothing_more_alike_than_an_image_itself(network):
    torch.manual_seed(0)
    made = network(**SMALL).eval()
    pictures = images(6)
    scores = all_pairs(made, pictures, pictures)
    assert (scores.argmax(1) == torch.arange(6)).all()
    assert (scores <= scores.diagonal()[:, None]).all()


def test_the_siamese_network_does_not_mind_the_order():
    made = small(Siamese)
    first, second = images(3), images(3, seed=1)
    torch.testing.assert_close(made(first, second), made(second, first))


@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_reach_every_weight(network):
    made = small(network, normalize=True).train()
    made(images(4), images(4, seed=1)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in made.parameters())
    assert made.conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("normalize", [False, True])
def test_options_follow_from_a_state(network, normalize):
    state = small(network, normalize=normalize).state_dict()
    assert network.options(state) == {**SMALL, "normalize": normalize, "last": (SMALL["kernel"], SMALL["kernel"])}


def test_small_images_and_mixed_kernels_are_refused():
    with pytest.raises(ValueError, match="images of 64x44 are too small for kernels of 9"):
        MidTop(size=(64, 44), kernel=9)
    state = dict(small(MidTop).state_dict())
    state["conv2.weight"] = torch.zeros(4, 3, 3, 3)
    with pytest.raises(ValueError, match=r"first kernels of one size, found \[\(3, 3\), \(5, 5\)\]"):
        Pairwise.options(state)
