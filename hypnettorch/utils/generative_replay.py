"""Samples of earlier tasks from a generative model, in place of stored ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypnettorch.core import checks
from hypnettorch.utils.posteriors.gaussian import Gaussian, zero_mean


class ReplayVAE(nn.Module):
    """A variational autoencoder of images whose decoder has other weights for each task: a hypernetwork makes them.

    The decoder is the main network of the hypernetwork, so that a regulariser can hold its weights for earlier tasks.
    The encoder only serves to train it.

    Args:
        hnet: Hypernetwork, which knows one task.
        decoder: Main network from latent vectors to logits of pixels.
        encoder: Network from pixels to mean and logarithm of the deviation of the latent vector.

    References:
        D. P. Kingma, M. Welling, "Auto-encoding variational Bayes", ICLR 2014, https://arxiv.org/abs/1312.6114.
        J. von Oswald et al., "Continual learning with hypernetworks", ICLR 2020, https://arxiv.org/abs/1906.00695.

    Example:
        >>> from hypnettorch.hnets import HMLP
        >>> from hypnettorch.mnets import MLP
        >>> decoder = MLP(n_in=2, n_out=9, no_weights=True, verbose=False)
        >>> hnet = HMLP(decoder.hyper_shapes_learned, num_cond_embs=1, verbose=False)
        >>> vae = ReplayVAE(hnet, decoder, MLP(n_in=9, n_out=4, verbose=False))
        >>> vae.sample(task=0, count=5).shape
        torch.Size([5, 9])
    """

    def __init__(self, hnet: Any, decoder: Any, encoder: nn.Module) -> None:
        super().__init__()
        self.hnet = hnet
        self.mnet = decoder
        self.encoder = encoder

    @property
    def num_tasks(self) -> int:
        """Number of tasks that it knows."""
        number: int = self.hnet.num_known_conds
        return number

    def know_tasks(self, number: int) -> None:
        """Add embeddings until ``number`` tasks are known."""
        if number > self.num_tasks:
            self.hnet.add_conditions(number - self.num_tasks)

    def code(self, x: Tensor) -> Gaussian:
        """The distribution of the latent vectors of images ``[N, D]``."""
        mean, log_std = self.encoder(x).chunk(2, dim=1)
        return Gaussian(mean, log_std)

    def _decode(self, latent: Tensor, task: int) -> Tensor:
        """Logits ``[N, D]`` of the pixels for latent vectors."""
        logits: Tensor = self.mnet(latent, weights=self.hnet(cond_id=task))
        return logits

    def loss(self, x: Tensor, task: int) -> Tensor:
        """Negative evidence lower bound of images, per pixel: their cross entropy plus the divergence of the code.

        Args:
            x: Images ``[N, D]``, pixels in [0, 1].
            task: The task that they belong to.
        """
        code = self.code(x)
        logits = self._decode(code.sample(1)[0], task)
        divergence = code.kl(zero_mean(code.mean)).mean() / x.shape[1]
        return functional.binary_cross_entropy_with_logits(logits, x) + divergence

    def reconstruct(self, x: Tensor, task: int) -> Tensor:
        """Images ``[N, D]`` as they would be if they were replayed, without gradient.

        Args:
            x: Images ``[N, D]`` of the task.
            task: The task.
        """
        with torch.no_grad():
            return self._decode(self.code(x).sample(1)[0], task).sigmoid()

    def sample(self, task: int, count: int) -> Tensor:
        """Images ``[count, D]`` of a task, without gradient.

        Args:
            task: The task.
            count: How many.
        """
        checks.integer("count", count, 0)
        with torch.no_grad():
            latent = next(self.hnet.parameters()).new_empty(count, self.mnet.param_shapes[0][1]).normal_()
            return self._decode(latent, task).sigmoid()

    def sample_all(self, number: int, count: int) -> list[Tensor]:
        """Images of each of the first ``number`` tasks, about equally many, ``count`` in all."""
        sizes = [count * (j + 1) // number - count * j // number for j in range(number)]
        return [self.sample(task, size) for task, size in enumerate(sizes)]
