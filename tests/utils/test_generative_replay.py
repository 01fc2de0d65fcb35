"""A variational autoencoder whose decoder has generated weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, distributions
from torch.nn import functional

from hypnettorch.hnets import HMLP
from hypnettorch.mnets import MLP
from hypnettorch.utils.generative_replay import ReplayVAE


def make_vae(pixels: int = 9, latent: int = 2) -> ReplayVAE:
    torch.manual_seed(0)
    decoder = MLP(latent, pixels, [20], no_weights=True, verbose=False)
    hnet = HMLP(decoder.param_shapes, cond_in_size=4, layers=(10,), num_cond_embs=1, verbose=False)
    hnet.apply_calibrated_init(decoder)
    return ReplayVAE(hnet, decoder, MLP(pixels, 2 * latent, [20], verbose=False))


def code_and_logits(vae: ReplayVAE, x: Tensor, seed: int) -> tuple[distributions.Normal, Tensor]:
    """The code of images of the first task, and what the decoder makes of a draw from it."""
    torch.manual_seed(seed)
    mean, log_std = vae.encoder(x).chunk(2, dim=1)
    latent = mean + log_std.exp() * torch.randn(1, *mean.shape)[0]
    return distributions.Normal(mean, log_std.exp()), vae.mnet(latent, weights=vae.hnet(cond_id=0))


def test_loss_is_the_negative_evidence_lower_bound() -> None:
    vae, x = make_vae(), torch.rand(5, 9)
    torch.manual_seed(1)
    found = vae.loss(x, task=0)
    code, logits = code_and_logits(vae, x, seed=1)
    likelihood = -functional.binary_cross_entropy(logits.sigmoid(), x, reduction="none").sum(1)
    divergence = distributions.kl_divergence(code, distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(found, (divergence - likelihood).mean() / 9)


def test_reconstructions_are_what_the_decoder_makes_of_codes() -> None:
    vae, x = make_vae(), torch.rand(5, 9)
    torch.manual_seed(1)
    found = vae.reconstruct(x, task=0)
    _, logits = code_and_logits(vae, x, seed=1)
    torch.testing.assert_close(found, logits.sigmoid())
    assert not found.requires_grad


def test_samples_are_like_the_images_of_their_task() -> None:
    vae = make_vae()
    vae.know_tasks(2)
    assert vae.num_tasks == 2
    patterns = torch.tensor([[1.0] * 4 + [0.0] * 5, [0.0] * 4 + [1.0] * 5])
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        sum(vae.loss(pattern.expand(8, 9), task) for task, pattern in enumerate(patterns)).backward()
        optimizer.step()
    drawn = vae.sample_all(2, 31)
    assert [len(x) for x in drawn] == [15, 16]
    for x, pattern in zip(drawn, patterns, strict=True):
        assert not x.requires_grad
        assert (x - pattern).abs().mean() < 0.1
    assert vae.sample(0, 0).shape == (0, 9)
    with pytest.raises(ValueError, match="count: expected an integer"):
        vae.sample(0, -1)
