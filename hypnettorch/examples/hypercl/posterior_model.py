"""A hypernetwork that makes distributions over the weights of a main network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hypnettorch.core import formats
from hypnettorch.utils.posteriors.gaussian import Gaussian
from hypnettorch.utils.posteriors.radial import Radial


class Posterior(Protocol):
    """A distribution over weight vectors."""

    def sample(self, count: int) -> Tensor:
        """Weights ``[count, D]``, differentiable in its parameters."""
        ...


class PosteriorModel(nn.Module, ABC):
    """``f(x; w)`` with ``w ~ q_t``, whose parameters the hypernetwork makes for task ``t``.

    Args:
        hnet: Hypernetwork.
        mnet: Main network without weights of its own.
    """

    def __init__(self, hnet: Any, mnet: Any) -> None:
        super().__init__()
        self.hnet = hnet
        self.mnet = mnet

    @property
    def num_tasks(self) -> int:
        """Number of tasks that the model knows."""
        number: int = self.hnet.num_known_conds
        return number

    def know_tasks(self, number: int) -> None:
        """Add embeddings until the model knows ``number`` tasks."""
        if number > self.num_tasks:
            self.hnet.add_conditions(number - self.num_tasks)

    def posterior(self, task: int) -> Any:
        """The distribution of a task, a :class:`Posterior`."""
        return self.described_by(self.hnet(cond_id=task, ret_format="flattened")[0])

    @abstractmethod
    def described_by(self, produced: Tensor) -> Any:
        """The distribution that numbers ``[num_outputs]`` of the hypernetwork stand for."""

    def unflattened(self, samples: Tensor) -> list[Tensor]:
        """Weights ``[S, D]`` as tensors ``[S, *shape]`` of the main network."""
        return formats.unflatten(samples, self.mnet.hyper_shapes_learned)

    def outputs(self, x: Tensor, samples: Tensor) -> Tensor:
        """Logits ``[S, N, ..., C]`` of weights ``[S, D]``."""
        logits: Tensor = self.mnet.batched_forward(x, self.unflattened(samples), share_input=True)
        return logits


class GaussianModel(PosteriorModel):
    """Normal distributions: the hypernetwork makes means, and logarithms of deviations relative to those at the start.

    Args:
        hnet: Makes the tensors of the main network twice.
        mnet: Main network.
        start_log_std: Logarithm of the deviations for which the hypernetwork says 0.
    """

    def __init__(self, hnet: Any, mnet: Any, start_log_std: float) -> None:
        super().__init__(hnet, mnet)
        self._start_log_std = start_log_std

    def described_by(self, produced: Tensor) -> Gaussian:
        """Means in the first half, deviations in the second."""
        mean, change = produced.chunk(2, dim=-1)
        return Gaussian(mean, self._start_log_std + change)


class RadialModel(GaussianModel):
    """Radial distributions with the same parameters."""

    def described_by(self, produced: Tensor) -> Any:
        """The same, with a radius for each tensor."""
        found = super().described_by(produced)
        sizes = [formats.num_elements([shape]) for shape in self.mnet.hyper_shapes_learned]
        return Radial(found.mean, found.log_std, sizes)


@dataclass(frozen=True)
class Implicit:
    """``w = g(z; φ)`` with ``z ~ N(0, I)``: a network that turns noise into weights.

    Attributes:
        generator: ``g``, a hypernetwork with an unconditional input and no parameters of its own.
        parameters: ``φ``.
    """

    generator: Any
    parameters: list[Tensor]

    def sample(self, count: int) -> Tensor:
        """Weights ``[count, D]``, differentiable in ``φ``."""
        noise = torch.randn(count, self.generator.num_outputs, device=self.parameters[0].device)
        weights: Tensor = self.generator(uncond_input=noise, weights=self.parameters, ret_format="flattened")
        return weights


class ImplicitModel(PosteriorModel):
    """Implicit distributions: the hypernetwork makes the parameters of a hypernetwork.

    Args:
        hnet: Makes the parameters of the generator.
        mnet: Main network.
        generator: Turns noise into weights of the main network.
    """

    def __init__(self, hnet: Any, mnet: Any, generator: Any) -> None:
        super().__init__(hnet, mnet)
        self.generator = generator

    def described_by(self, produced: Tensor) -> Implicit:
        """The generator with these parameters."""
        return Implicit(self.generator, formats.unflatten(produced, self.hnet.target_shapes))
