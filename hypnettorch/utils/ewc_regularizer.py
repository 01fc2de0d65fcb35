r"""Elastic weight consolidation: a quadratic anchor at the weights of earlier tasks.

After a task, its posterior over the weights is approximated by a Gaussian around the weights ``θ*`` that were found,
with the diagonal ``F`` of the Fisher information as precision (:mod:`hypnettorch.utils.fisher`). Later tasks minimise
``L + λ · R`` with

    ``R = ½ Σ_t Σ_i F_t,i (θ_i - θ*_t,i)²``

over all earlier tasks ``t`` (Kirkpatrick et al., eq. 3). *Online* EWC keeps one anchor, the weights after the latest
task, and one precision, in which earlier tasks fade by ``γ``:

    ``R = ½ γ Σ_i F̃_i (θ_i - θ*_i)²``,  ``F̃ ← F_t + γ F̃``

(Schwarz et al., eqs. 8, 9). At the end of each task :func:`compute_fisher` stores ``F`` (``F̃``) and ``θ*``;
:func:`ewc_regularizer` reads them.

The weights ``θ`` are those of a main network, ``f(x; θ)``, or the unconditional parameters of a hypernetwork, ``f(x;
h(e_t; θ))``. Everything is kept in buffers of the network whose parameters they are
(:mod:`hypnettorch.utils.stored_tensors`): ``ewc_fisher_estimate[_task_<t>]_weights_<i>``,
``ewc_prev[_task_<t>]_weights_<i>``, without the part ``_task_<t>`` if online.

References:
    Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017,
    https://arxiv.org/abs/1612.00796. Schwarz et al., "Progress & compress", ICML 2018,
    https://arxiv.org/abs/1805.06370. Huszár, "On quadratic penalties in elastic weight consolidation", 2017,
    https://arxiv.org/abs/1712.03847 (why one anchor).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.core.modes import evaluation
from hypnettorch.hnets.hypernetwork import HyperNetwork, check_hypernetwork
from hypnettorch.mnets.network import Network, check_network
from hypnettorch.utils import sample_scores
from hypnettorch.utils.fisher import Categorical, Gaussian, SquaredGradients
from hypnettorch.utils.stored_tensors import buffer_name, require, store

SOURCE = "compute_fisher"
"""What fills the buffers, in messages."""


def compute_fisher(
    task_id: int,
    data: Any,
    params: Sequence[Tensor],
    device: torch.device | str,
    mnet: Network,
    hnet: HyperNetwork | None = None,
    empirical_fisher: bool = True,
    online: bool = False,
    gamma: float = 1.0,
    n_max: int = -1,
    regression: bool = False,
    time_series: bool = False,
    allowed_outputs: Sequence[int] | None = None,
    custom_forward: Callable[..., Tensor] | None = None,
    custom_nll: Callable[..., Tensor] | None = None,
    pass_ids: bool = False,
    proper_scaling: bool = False,
    prior_strength: float | Sequence[Tensor] | None = None,
    regression_lvar: float = 1.0,
    target_manipulator: Callable[[Tensor], Tensor] | None = None,
    mc_samples: int | None = None,
) -> None:
    """End a task: store the diagonal ``F`` of its Fisher information and the weights ``θ*``.

    The networks compute in evaluation mode; their modes are restored.

    Args:
        task_id: The task that was learned, ``t``.
        data: Its data, a :class:`~hypnettorch.data.dataset.Dataset` or alike; the training batches start again.
        params: The weights ``θ``, which must require gradients: what ``mnet`` takes as ``weights=``, with ``hnet`` the
            unconditional parameters of that.
        device: Where the samples go.
        mnet: The main network.
        hnet: A hypernetwork that produces its weights, ``hnet(cond_id=task_id, weights={'uncond_weights': params})``.
        empirical_fisher: Use the labels of the data. Otherwise those of the network: exactly, or ``mc_samples`` drawn
            ones.
        online: Keep a single anchor, and add ``gamma`` times the previous ``F̃``.
        gamma: Only used if ``online``.
        n_max: Largest number of samples to look at; -1: all.
        regression: Gaussian likelihood instead of a softmax.
        time_series: Inputs and outputs are ``[T, N, ...]``; the steps of a sequence are independent given the inputs.
        allowed_outputs: Output units of the task; one-hot labels have this width then.
        custom_forward: Replaces the forward pass: a function of ``(mnet, params, x)``, with ``hnet`` of ``(mnet, hnet,
            task_id, params, x)``. It sees one sample, ``x`` being ``[1, ...]`` or ``[T, 1, ...]``.
        custom_nll: Replaces the negative log-likelihood: a function of ``(outputs, targets, data, allowed_outputs,
            empirical_fisher)`` with the result of one sample. The outputs are the allowed ones only. If
            ``empirical_fisher`` is ``False``, it has to draw its targets from the outputs; it is called ``mc_samples``
            times.
        pass_ids: Give ``custom_forward`` two more arguments, ``data`` and the ids of the samples, and ``custom_nll``
            one, the ids. Samples are taken one by one then.
        proper_scaling: Sum over all training samples (estimated from ``n_max`` of them) instead of the mean, as in a
            posterior.
        prior_strength: Precision of a Gaussian prior around 0 (a number, or tensors like ``params``), added to the sum
            over the samples of this task; only if ``online``.
        regression_lvar: Variance ``σ²`` of the Gaussian likelihood.
        target_manipulator: Applied to the targets of a sample.
        mc_samples: Number of labels to draw per sample; ``None``: the exact expectation.

    Raises:
        ValueError: If an argument is wrong, or two do not go together.
        NotImplementedError: For regression of time series.

    Note:
        Gradients of single samples are one ``vmap`` per batch; a function that this refuses is called sample by
        sample.
    """
    task_id = checks.integer("task_id", task_id, 0)
    owner = _owner(mnet, hnet)
    _check_params(params)
    for i, param in enumerate(params):
        if not param.requires_grad:
            checks.fail(("params", i), "a tensor that requires gradients", "one that does not")
    if regression and time_series:
        raise checks.Unavailable("regression: expected False for time_series, got True")
    if prior_strength is not None and not online:
        checks.fail("prior_strength", "None unless online", "a prior")
    prior = _prior(prior_strength, params)
    fisher_name, weights_name = _names(None if online else task_id)
    if online and task_id > 0:
        decay = checks.number("gamma", gamma, 0)
        earlier = [decay * require(owner, fisher_name, i, param, SOURCE) for i, param in enumerate(params)]
    num_samples = data.num_train_samples if n_max == -1 else checks.integer("n_max", n_max, 1)
    num_samples = min(num_samples, data.num_train_samples)

    draws = sample_scores.check_draws(empirical_fisher, mc_samples)
    forward = sample_scores.forward_pass(custom_forward, mnet, hnet, task_id)
    if custom_nll is not None:
        score = sample_scores.by_custom_nll(custom_nll, data, allowed_outputs, empirical_fisher, draws)
    else:
        if not mnet.has_linear_out:
            checks.fail("mnet", "a network with linear outputs (has_linear_out)", "one with an output nonlinearity")
        likelihood = Gaussian(checks.positive("regression_lvar", regression_lvar)) if regression else Categorical()
        score = sample_scores.by_likelihood(likelihood, empirical_fisher, draws)
    source = sample_scores.TrainingSamples(
        data, device, time_series, one_hot=custom_nll is None and not regression, change_targets=target_manipulator
    )

    def scores(values: Sequence[Tensor], sample: sample_scores.Sample) -> Tensor:
        x, targets, ids = source.as_batch(sample)
        more = (data, ids.numpy()) if pass_ids else ()
        outputs = sample_scores.allowed(forward(values, x, *more), allowed_outputs)
        return score(outputs, targets, *more[1:])

    squares = SquaredGradients(scores, params, one_by_one=pass_ids)
    with evaluation(mnet, hnet):
        source.restart()
        done = 0
        while done < num_samples:
            size = min(squares.samples_at_once, num_samples - done)
            squares.add(source.take(size))
            done += size
    scale = data.num_train_samples / num_samples
    for i, (param, total) in enumerate(zip(params, squares.total, strict=True)):
        fisher = prior[i] + scale * total
        if not proper_scaling:
            fisher = fisher / data.num_train_samples
        if online and task_id > 0:
            fisher = fisher + earlier[i]
        store(owner, fisher_name, i, fisher)
        store(owner, weights_name, i, param)


def ewc_regularizer(
    task_id: int,
    params: Sequence[Tensor],
    mnet: Network,
    hnet: HyperNetwork | None = None,
    online: bool = False,
    gamma: float = 1.0,
) -> Tensor:
    """The penalty ``R`` (top of this module), without its factor ``λ``.

    Args:
        task_id: The current task; the tasks ``0 .. task_id - 1`` are protected.
        params: The weights ``θ``, parallel to those of :func:`compute_fisher`.
        mnet: The main network.
        hnet: The hypernetwork, if :func:`compute_fisher` was given one.
        online: As for :func:`compute_fisher`.
        gamma: ``γ``; only used if ``online``. What is stored stays as it is.

    Returns:
        A scalar.

    Raises:
        ValueError: If an argument is wrong, or :func:`compute_fisher` was not called for an earlier task.
    """
    task_id = checks.integer("task_id", task_id, 1)
    owner = _owner(mnet, hnet)
    factor = 0.5 * checks.number("gamma", gamma, 0) if online else 0.5
    _check_params(params)
    penalty = params[0].new_zeros(())
    for task in [None] if online else range(task_id):
        fisher_name, weights_name = _names(task)
        for i, param in enumerate(params):
            fisher = require(owner, fisher_name, i, param, SOURCE)
            anchor = require(owner, weights_name, i, param, SOURCE)
            penalty = penalty + (fisher * (param - anchor).square()).sum()
    return factor * penalty


def fisher_estimates(
    task_id: int, params: Sequence[Tensor], mnet: Network, hnet: HyperNetwork | None = None
) -> list[list[Tensor]]:
    """What :func:`compute_fisher` stored for single tasks.

    Args:
        task_id: The tasks ``0 .. task_id - 1`` are asked for.
        params: Tensors of the shapes of the parameters.
        mnet: The main network.
        hnet: The hypernetwork, if :func:`compute_fisher` was given one.

    Returns:
        Per task one tensor per parameter. If the parameters were weights that a hypernetwork had produced, these are
        the ``fisher_estimates`` of :func:`~hypnettorch.utils.hnet_regularizer.calc_fix_target_reg`.

    Raises:
        ValueError: If there is nothing for one of the tasks.
    """
    owner = _owner(mnet, hnet)
    return [
        [require(owner, _names(task)[0], i, param, SOURCE) for i, param in enumerate(params)]
        for task in range(checks.integer("task_id", task_id, 0))
    ]


def context_mod_forward(mod_weights: Sequence[Tensor] | None = None) -> Callable[..., Tensor]:
    """A ``custom_forward`` for a main network whose internal weights are protected, but not its modulation.

    Args:
        mod_weights: The context-modulation tensors of the task; ``None``: what the hypernetwork produces for it.

    Returns:
        A function of ``(mnet, params, x)``, with ``params`` the internal weights; without ``mod_weights`` of ``(mnet,
        hnet, task_id, params, x)``.
    """

    def modulated(mnet: Network, modulation: Any, params: Sequence[Tensor], x: Tensor) -> Tensor:
        outputs: Tensor = mnet.forward(x, weights={"mod_weights": modulation, "internal_weights": params})
        return outputs

    def fixed(mnet: Network, params: Sequence[Tensor], x: Tensor, *_: Any) -> Tensor:
        return modulated(mnet, mod_weights, params, x)

    def generated(
        mnet: Network, hnet: HyperNetwork, task_id: int, params: Sequence[Tensor], x: Tensor, *_: Any
    ) -> Tensor:
        return modulated(mnet, hnet.forward(cond_id=task_id), params, x)

    return generated if mod_weights is None else fixed


def _names(task: int | None) -> tuple[str, str]:
    """Names of the buffers of ``F`` and ``θ*``; ``None`` is the pseudo task that stands for all."""
    suffix = "" if task is None else f"_task_{task}"
    return f"ewc_fisher_estimate{suffix}", f"ewc_prev{suffix}"


def _ewc_buffer_names(task_id: int | None, param_id: int, online: bool) -> tuple[str, str]:
    """Names of the buffers of ``θ*`` and ``F`` of one parameter, for programs that read them.

    Args:
        task_id: The task; ignored if ``online``.
        param_id: Position of the parameter in ``params`` of :func:`compute_fisher`.
        online: As for :func:`compute_fisher`.

    Example:
        >>> _ewc_buffer_names(None, 0, True)
        ('ewc_prev_weights_0', 'ewc_fisher_estimate_weights_0')
    """
    fisher_name, weights_name = _names(None if online else task_id)
    return buffer_name(weights_name, param_id), buffer_name(fisher_name, param_id)


def _owner(mnet: Any, hnet: Any) -> Any:
    """The network that keeps the buffers."""
    check_network("mnet", mnet)
    if hnet is None:
        return mnet
    check_hypernetwork("hnet", hnet)
    return hnet


def _check_params(params: Any) -> None:
    if isinstance(params, Tensor) or not hasattr(params, "__len__"):
        raise TypeError(f"params: expected a list of tensors, got {type(params).__name__}")
    if len(params) == 0:
        checks.fail("params", "at least one tensor", "none")
    for i, param in enumerate(params):
        checks.tensor(("params", i), param)


def _prior(strength: float | Sequence[Tensor] | None, params: Sequence[Tensor]) -> list[Tensor]:
    """The precision that a prior adds, one tensor per parameter."""
    if strength is None or isinstance(strength, (int, float)):
        value = 0.0 if strength is None else checks.number("prior_strength", strength, 0)
        return [torch.full_like(param, value, requires_grad=False) for param in params]
    checks.length("prior_strength", strength, len(params))
    for i, (tensor, param) in enumerate(zip(strength, params, strict=True)):
        checks.shape(("prior_strength", i), tensor, param.shape)
    return [tensor.detach().to(param) for tensor, param in zip(strength, params, strict=True)]
