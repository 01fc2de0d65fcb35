"""Implicit posteriors whose density a discriminator estimates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hypnettorch.examples.hypercl.learners.learner import Settings, adam
from hypnettorch.examples.hypercl.learners.posterior import PosteriorLearner
from hypnettorch.examples.hypercl.posterior_model import Implicit
from hypnettorch.utils.misc import parse_numbers
from hypnettorch.utils.posteriors.density_ratio import Discriminator, moments


class AdversarialLearner(PosteriorLearner):
    """The hypernetwork makes the parameters of a network that turns noise into weights.

    Each task begins with a new discriminator, which makes a step before each step of the hypernetwork.

    References:
        L. Mescheder, S. Nowozin, A. Geiger, "Adversarial variational Bayes", ICML 2017,
        https://arxiv.org/abs/1701.04722.
    """

    def __init__(self, make_model: Callable[[], Any], settings: Settings) -> None:
        super().__init__(make_model, settings)
        self._new_discriminator()

    def _new_discriminator(self) -> None:
        layers = parse_numbers("--dis_arch", self._settings.dis_arch, int)
        like = next(self._model.parameters())
        self._discriminator = Discriminator(self._mnet.num_params, layers).to(like.device)
        self._discriminator_optimizer = adam(self._discriminator.parameters(), self._settings)

    def begin(self, stage: int) -> None:
        """The same with a new discriminator."""
        super().begin(stage)
        self._new_discriminator()

    def divergence(self, posterior: Implicit, samples: Tensor) -> Tensor:
        """The estimate of the discriminator, after it learned from other samples."""
        others = posterior.sample(self._settings.implicit_samples).detach()
        reference = moments(others)
        self._discriminator_optimizer.zero_grad()
        with torch.enable_grad():
            self._discriminator.loss(others, reference).backward()
        self._discriminator_optimizer.step()
        return self._discriminator.kl(samples, reference, self.prior(samples))

    def state_dict(self) -> dict[str, Any]:
        """The same with the discriminator."""
        return {
            **super().state_dict(),
            "discriminator": self._discriminator.state_dict(),
            "discriminator_optimizer": self._discriminator_optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the learner was whose state this is."""
        super().load_state_dict(state)
        self._new_discriminator()
        self._discriminator.load_state_dict(state["discriminator"])
        self._discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
