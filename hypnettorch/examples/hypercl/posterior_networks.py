"""Models of posteriors that options describe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from hypnettorch.examples.hypercl.networks import ONE_LABEL, make_hypernetwork, make_main_network, typical_tasks
from hypnettorch.examples.hypercl.options import Options, sizes
from hypnettorch.examples.hypercl.posterior_model import GaussianModel, ImplicitModel, PosteriorModel, RadialModel
from hypnettorch.hnets.hnet_perturbation_wrapper import HPerturbWrapper
from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.utils.misc import str_to_act

NOISES = 256
"""For how much noise the start of a generator is measured."""

START_OF_DEVIATIONS = 1e-4
"""Variance, at the start, of the logarithms of deviations."""

LEAST_VARIANCE = 1e-4
"""Of a generator's parameters at the start, also where one that stands alone starts at a constant."""


def make_gaussian(options: Options, in_shape: Sequence[int], label_shape: Sequence[int] = ONE_LABEL) -> PosteriorModel:
    """A hypernetwork that makes means and deviations."""
    return _with_deviations(GaussianModel, options, in_shape, label_shape)


def make_radial(options: Options, in_shape: Sequence[int], label_shape: Sequence[int] = ONE_LABEL) -> PosteriorModel:
    """The same for radial distributions."""
    return _with_deviations(RadialModel, options, in_shape, label_shape)


def _with_deviations(
    kind: type[GaussianModel], options: Options, in_shape: Sequence[int], label_shape: Sequence[int]
) -> PosteriorModel:
    mnet = make_main_network(options, in_shape, options.num_classes_per_task, label_shape, no_weights=True)
    shapes = mnet.hyper_shapes_learned
    hnet = make_hypernetwork(options, [*shapes, *shapes])
    if options.calibrated:
        variances = [None] * len(shapes) + [START_OF_DEVIATIONS] * len(shapes)
        hnet.apply_calibrated_init(cond_input=typical_tasks(options), target_var=variances)
    return kind(hnet, mnet, options.start_log_std)


def make_implicit(options: Options, in_shape: Sequence[int], label_shape: Sequence[int] = ONE_LABEL) -> PosteriorModel:
    """A hypernetwork that makes the parameters of a generator, which turns noise into weights."""
    mnet = make_main_network(options, in_shape, options.num_classes_per_task, label_shape, no_weights=True)
    alone, generator = _generator(options, mnet, external=False), _generator(options, mnet, external=True)
    hnet = make_hypernetwork(options, generator.param_shapes)
    if options.calibrated:
        alone.apply_calibrated_init(mnet, uncond_input=torch.randn(NOISES, options.latent_size))
        variances = [max(float(p.detach().var(unbiased=False)), LEAST_VARIANCE) for p in alone.parameters()]
        hnet.apply_calibrated_init(cond_input=typical_tasks(options), target_var=variances)
    full = HPerturbWrapper(generator, options.latent_size, options.full_support_std, verbose=False)
    return ImplicitModel(hnet, mnet, full)


def _generator(options: Options, mnet: Any, external: bool) -> HMLP:
    return HMLP(
        mnet.hyper_shapes_learned,
        uncond_in_size=options.latent_size,
        cond_in_size=0,
        num_cond_embs=0,
        layers=sizes("--implicit_arch", options.implicit_arch),
        activation_fn=str_to_act(options.implicit_act),
        no_uncond_weights=external,
        verbose=False,
    )


POSTERIOR_MODELS: dict[str, Callable[..., PosteriorModel]] = {
    "bbb": make_gaussian,
    "radial": make_radial,
    "avb": make_implicit,
    "ssge": make_implicit,
}
"""What makes the model of a method."""
