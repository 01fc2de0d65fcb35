"""Options of the methods whose hypernetwork makes distributions over weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class OfPosteriors:
    """Options of ``bbb``, ``radial``, ``avb`` and ``ssge``.

    Attributes:
        kl_scale: Factor of the divergence from the prior; 1: the evidence lower bound.
        prior_std: Standard deviation of the prior of each weight.
        start_log_std: bbb, radial: logarithm of the standard deviations at the start.
        train_samples: Weight samples per training step.
        test_samples: Weight samples over which a prediction is averaged.
        local_reparametrization: bbb: sample outputs of layers in place of weights while training.
        posterior_distance: bbb: how the regulariser compares posteriors. l2: what the hypernetwork makes. w2: squared
            Wasserstein-2 distance. forward_kl, reverse_kl: divergence of what was from what is, and the other way.
        task_inference: Which task is inferred. entropy: the one whose mean prediction has the least. confidence: with
            the largest probability. agreement: whose samples differ least.
        implicit_arch: avb, ssge: hidden layers of the network that turns noise into weights.
        implicit_act: avb, ssge: its activation function.
        latent_size: avb, ssge: size of its noise.
        full_support_std: avb, ssge: deviation of the noise that is added to each weight.
        implicit_samples: avb, ssge: weight samples from which the density is estimated.
        dis_arch: avb: hidden layers of the discriminator.
    """

    kl_scale: float = 1.0
    prior_std: float = 1.0
    start_log_std: float = -3.0
    train_samples: int = 10
    test_samples: int = 100
    local_reparametrization: bool = False
    posterior_distance: str = "l2"
    task_inference: str = "entropy"
    implicit_arch: str = "10,10"
    implicit_act: str = "relu"
    latent_size: int = 8
    full_support_std: float = 0.02
    implicit_samples: int = 100
    dis_arch: str = "10,10"


METHODS_OF: dict[str, list[str]] = {
    "start_log_std": ["bbb", "radial"],
    "local_reparametrization": ["bbb"],
    "posterior_distance": ["bbb"],
    "implicit_arch": ["avb", "ssge"],
    "implicit_act": ["avb", "ssge"],
    "latent_size": ["avb", "ssge"],
    "full_support_std": ["avb", "ssge"],
    "implicit_samples": ["avb", "ssge"],
    "dis_arch": ["avb"],
}
"""Options that only some of these methods look at."""
