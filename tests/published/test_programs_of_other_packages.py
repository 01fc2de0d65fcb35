"""Programs for HyperLight 0.0.5, torchhyper and hyper-nn 0.2.2: the command changes their imports, then they run.

Each is compared with what it means in plain PyTorch.
"""

from __future__ import annotations

import copy
import runpy
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from hypnettorch.compat.check.command import main as check
from tests.published import plain

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture
def program(tmp_path):
    """Runs a program whose imports the command has changed; gives its names."""

    def run(name):
        path = tmp_path / f"{name}.py"
        path.write_text((PROGRAMS / f"{name}.txt").read_text())
        assert check([str(path), "--rewrite"]) == 0
        old = (PROGRAMS / f"{name}.txt").read_text().splitlines()
        changed = [line for line, before in zip(path.read_text().splitlines(), old, strict=True) if line != before]
        assert changed
        assert all("import" in line and "hypnettorch.compat" in line for line in changed)
        return SimpleNamespace(**runpy.run_path(str(path)))

    return run


def by_name(flat, module):
    """A flat vector as the parameters of a module."""
    shapes = {name: p.shape for name, p in module.named_parameters()}
    return dict(zip(shapes, plain.unflatten(flat, list(shapes.values())), strict=True))


class TestUNetOfHyperLight:
    def test_start_and_training_are_those_of_plain_pytorch(self, program):
        """With an initialisation of the program's own, which has to reach the output layer too."""
        p = program("hyperlight_unet")
        images = torch.rand(3, 1, 8, 8)
        torch.manual_seed(5)
        model = p.HyperUNet([8, 16], init=p.xavier_init)
        unet = p.UNet()
        num = sum(w.numel() for w in unet.parameters())
        layers = [m for pair in pairwise([2, 8, 16, num]) for m in (nn.Linear(*pair), nn.LeakyReLU())][:-1]
        hypernet = nn.Sequential(*layers)

        for module in (model, hypernet):
            torch.manual_seed(6)
            module.apply(p.xavier_init)
        assert not list(model.mainnet.parameters())

        class Plain(nn.Module):
            def __init__(self):
                super().__init__()
                self.hypernet = hypernet

            def forward(self, x, lam):
                z = torch.cat([torch.cos(lam * torch.pi / 2), torch.sin(lam * torch.pi / 2)])
                return functional_call(unet, by_name(self.hypernet(z), unet), (x,))

        losses = p.train(model, images, steps=12)
        assert losses == pytest.approx(p.train(Plain(), images, steps=12), rel=1e-3)

    def test_tuning_after_training(self, program):
        """One network for all weights of the smoothness term: a larger one gives smoother outputs."""
        p = program("hyperlight_unet")
        torch.manual_seed(0)
        images = torch.rand(4, 1, 8, 8)
        model = p.HyperUNet([16, 32])
        losses = p.train(model, images, steps=250)
        assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
        with torch.no_grad():
            rough, smooth = (p.smoothness(model(images, torch.tensor([lam]))) for lam in (0.0, 0.9))
        assert smooth < 0.7 * rough

    def test_weights_are_set_once_and_used_often(self, program):
        p = program("hyperlight_unet")
        model = p.HyperUNet([8])
        x = torch.rand(2, 1, 8, 8)
        weights = model.hypernet(lam=torch.tensor([0.3]))
        with model.mainnet.using_externals(weights):
            outputs = [model.mainnet(x[i : i + 1]) for i in range(2)]
        torch.testing.assert_close(torch.cat(outputs), model(x, torch.tensor([0.3])))
        torch.testing.assert_close(torch.cat(outputs), functional_call(p.UNet(), dict(weights), (x,)))
        with pytest.raises(AttributeError, match="weight"):
            model.mainnet(x)


def test_bayesian_network_of_hyperlight(program):
    p = program("hyperlight_bayes")
    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 30).unsqueeze(1)
    y = torch.sin(3 * x)
    net = p.make_regressor()
    p.pretrain(net, x, y)
    original = copy.deepcopy(net)
    model = p.BayesianRegressor(net)
    assert set(model.net.external_shapes()) == {"2.weight", "2.bias", "4.weight", "4.bias"}
    torch.testing.assert_close(net(x), original(x))

    weights = model.sample()
    expected = {**dict(original.named_parameters()), **weights}
    with model.net.using_externals(weights):
        torch.testing.assert_close(model.net(x), functional_call(original, expected, (x,)))
    base = model.hypernet.get_independent_weights()
    for name, value in base.items():
        torch.testing.assert_close(value, original.get_parameter(name))

    torch.manual_seed(1)
    by_hand = 0
    for _ in range(4):
        w = model.sample()
        output = functional_call(original, {**dict(original.named_parameters()), **w}, (x,))
        by_hand += (output - y).square().sum() / 0.02 / 4 + sum((v**2).sum() for v in w.values()) / 2 / 4
    torch.manual_seed(1)
    torch.testing.assert_close(p.elbo(model, x, y), by_hand)

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = p.elbo(model, x, y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    with torch.no_grad():
        samples = model(x, num_samples=30)
    assert F.mse_loss(samples.mean(dim=0), y) < 0.05
    assert samples.std(dim=0).mean() > 1e-3


class TestDiffusionOfTorchhyper:
    @pytest.mark.parametrize("use_outer_net", [False, True])
    def test_weights_are_those_of_plain_pytorch(self, program, use_outer_net):
        """With an initialisation of the program's own, which has to reach every layer."""
        p = program("torchhyper_diffusion")
        denoiser = p.Denoiser()
        hypernetwork = p.HyperNetwork(2, [12, 16], denoiser, use_outer_net=use_outer_net)
        outer = [(16, 16)] * (3 if use_outer_net else 0)
        targets = [(16, w.numel()) for w in denoiser.parameters()]
        layers = nn.ModuleList([nn.Linear(*sizes) for sizes in [(2, 12), (12, 16), *outer, *targets]])

        def normal_init(module):
            if type(module) is nn.Linear:
                nn.init.normal_(module.weight, std=0.2)
                nn.init.normal_(module.bias, std=0.1)

        for module in (hypernetwork, layers):
            torch.manual_seed(8)
            module.apply(normal_init)
        x = p.make_set(torch.tensor(0.7))
        hidden = torch.relu(layers[1](torch.relu(layers[0](x)))).mean(dim=0)
        for layer in layers[2 : 2 + len(outer)]:
            hidden = torch.relu(layer(hidden))
        weights = hypernetwork(x)
        assert list(weights) == [name for name, _ in denoiser.named_parameters()]
        for layer, (name, weight) in zip(layers[2 + len(outer) :], weights.items(), strict=True):
            torch.testing.assert_close(weight, layer(hidden).view_as(denoiser.get_parameter(name)))

    def test_training_and_sampling(self, program):
        p = program("torchhyper_diffusion")
        torch.manual_seed(0)
        denoiser = p.Denoiser()
        hypernetwork = p.HyperNetwork(2, [16, 32], denoiser)
        losses = p.train(hypernetwork, denoiser, steps=400)
        assert sum(losses[-50:]) < 0.8 * sum(losses[:20]) * 50 / 20
        assert all(w.grad is None for w in denoiser.parameters())
        for angle in (0.3, 1.8):
            direction = torch.tensor([torch.tensor(angle).cos(), torch.tensor(angle).sin()])
            weights = hypernetwork(p.make_set(torch.tensor(angle)))
            p.set_weights(denoiser, weights)
            t = torch.zeros(5, dtype=torch.long)
            expected = functional_call(denoiser, weights, (torch.ones(5, 2), t))
            torch.testing.assert_close(denoiser(torch.ones(5, 2), t), expected)
            samples = denoiser.sample(300)
            along = (samples @ direction).std()
            across = (samples @ torch.stack([-direction[1], direction[0]])).std()
            assert along > 1.3 * across

    def test_fixed_number_of_points(self, program):
        p = program("torchhyper_diffusion")
        denoiser = p.Denoiser()
        hypernetwork = p.NaiveHyperNetwork(64, 2, [16, 32], denoiser)
        losses = p.train(hypernetwork, denoiser, steps=30)
        assert len(losses) == 30
        with pytest.raises(ValueError, match="64"):
            hypernetwork(torch.randn(63, 2))


class TestIntroductionToHyperNN:
    def test_static(self, program):
        p = program("hypernn_introduction")
        net, target = p.make_static(), p.TargetNetwork()
        assert p.describe(net) == {name: tuple(w.shape) for name, w in target.named_parameters()}
        assert net.num_target_parameters == p.count_params(target) == 83
        x = torch.randn(7, 6)
        generated, _ = net.generate_params()
        by_hand = F.linear(net.embedding_module.weight, net.weight_generator.weight, net.weight_generator.bias)
        torch.testing.assert_close(generated, by_hand.flatten()[:83])
        expected = functional_call(target, by_name(generated, target), (x,), {"temperature": 2.0})
        torch.testing.assert_close(net(x, temperature=2.0), expected)
        for functional in (p.FunctionalParamVectorWrapper(target), p.create_functional_target_network(target)):
            torch.testing.assert_close(functional(generated, x, temperature=2.0), expected)
        y = torch.randint(3, (7,))
        losses = p.train(net, x, y, 60)
        assert losses[-1] < 0.5 * losses[0]

    def test_training_is_that_of_plain_pytorch(self, program):
        p = program("hypernn_introduction")
        net, target = p.make_static(), p.TargetNetwork()
        x, y = torch.randn(7, 6), torch.randint(3, (7,))
        embeddings, weight, bias = params = plain.copies(
            [net.embedding_module.weight, net.weight_generator.weight, net.weight_generator.bias]
        )
        losses = p.train(net, x, y, 15)
        optimizer = torch.optim.Adam(params, lr=0.02)
        by_hand = []
        for _ in range(15):
            optimizer.zero_grad()
            flat = F.linear(embeddings, weight, bias).flatten()[:83]
            loss = F.nll_loss(functional_call(target, by_name(flat, target), (x,)), y)
            loss.backward()
            optimizer.step()
            by_hand.append(loss.item())
        assert losses == pytest.approx(by_hand, rel=1e-4)

    def test_dynamic(self, program):
        p = program("hypernn_introduction")
        net, target = p.make_dynamic(), p.TargetNetwork()
        characters = torch.eye(6)[[2, 0, 5, 5]]
        outputs, hidden = p.read_name(net, characters)
        cell, generator = net.embedding_module.rnn_cell, net.weight_generator
        h, expected = torch.zeros(1, 5), []
        for x in characters:
            h = torch.tanh(x @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh)
            embedding = torch.diag(h[0]) @ net.embedding_module.embedding.weight
            flat = F.linear(embedding, generator.weight, generator.bias).flatten()[:83]
            expected.append(functional_call(target, by_name(flat, target), (x.unsqueeze(0),)))
        torch.testing.assert_close(outputs, torch.cat(expected))
        torch.testing.assert_close(hidden, h)

        optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
        losses = []
        for _ in range(60):
            optimizer.zero_grad()
            outputs, _ = p.read_name(net, characters)
            loss = F.nll_loss(outputs, torch.tensor([0, 1, 2, 1]))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.5 * losses[0]

    def test_custom(self, program, tmp_path):
        p = program("hypernn_introduction")
        target = p.TargetNetwork()
        net = p.ConvolutionalHyperNetwork.from_target(target, latent_dim=4)
        x, z = torch.randn(7, 6), torch.randn(4)
        row = F.linear(z, net.embedding_module.weight, net.embedding_module.bias).view(1, 1, -1)
        flat = F.conv1d(row, net.weight_generator.weight, net.weight_generator.bias, padding=2).flatten()[:83]
        expected = functional_call(target, by_name(flat, target), (x,))
        torch.testing.assert_close(net(x, generate_params_kwargs={"z": z}), expected)
        assert len(list(net.parameters())) == 4
        y = torch.randint(3, (7,))
        losses = p.train(net, x, y, 60, z=z)
        assert losses[-1] < 0.7 * losses[0]
        net.save(tmp_path / "net.pt")
        other = p.ConvolutionalHyperNetwork(p.TargetNetwork(), latent_dim=4)
        other.load(tmp_path / "net.pt")
        kwargs = {"generate_params_kwargs": {"z": z}}
        assert torch.equal(other(x, **kwargs), net(x, **kwargs))


class TestReinforcementWithHyperNN:
    @pytest.mark.parametrize(("kind", "seed"), [("static", 1), ("dynamic", 2)])
    def test_pole_stays_up_longer(self, program, kind, seed):
        p = program("hypernn_reinforcement")
        torch.manual_seed(seed)
        net = p.make_static() if kind == "static" else p.make_dynamic()
        rollout = p.rollout_static if kind == "static" else p.rollout_dynamic
        lengths = p.reinforce(net, rollout, 48, lr=0.05, seed=seed)
        assert sum(lengths[-12:]) > 1.4 * sum(lengths[:12])

    def test_rollout_is_that_of_plain_pytorch(self, program):
        p = program("hypernn_reinforcement")
        net = p.make_static()
        torch.manual_seed(4)
        log_probs, rewards = p.rollout_static(p.CartPole(1), net)
        policy, (flat, _) = p.make_policy(), net.generate_params()
        weights = by_name(flat, policy)
        torch.manual_seed(4)
        env, by_hand, done = p.CartPole(1), [], False
        obs = env.reset()
        while not done:
            log_prob = F.log_softmax(functional_call(policy, weights, (torch.tensor(obs),)), dim=0)
            action = torch.multinomial(log_prob.exp().unsqueeze(0), 1).item()
            by_hand.append(log_prob[action])
            obs, _, done, _ = env.step(action)
        torch.testing.assert_close(log_probs, torch.stack(by_hand))
        assert len(rewards) == len(by_hand)
        log_probs.sum().backward()
        grad = torch.autograd.grad(torch.stack(by_hand).sum(), net.weight_generator.weight)[0]
        torch.testing.assert_close(net.weight_generator.weight.grad, grad)
