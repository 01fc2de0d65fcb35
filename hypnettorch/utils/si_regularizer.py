r"""Synaptic intelligence: how much each weight contributed to what was learned.

While task ``μ`` is learned, each weight ``k`` collects its share of the decrease of the loss ``L`` of that task, an
integral along the path of the weights that the steps ``Δθ`` of the optimiser approximate (eq. 3):

    ``ω_k = -Σ_steps ∂L/∂θ_k · Δθ_k``

At the end of the task it becomes an importance (eq. 5), in which ``ξ`` keeps the quotient bounded, and which is never
negative here:

    ``Ω_k ← Ω_k + max(0, ω_k / ((θ_k - θ̃_k)² + ξ))``,  ``θ̃ ← θ``

with ``θ̃`` the weights at the end of the previous task. Later tasks minimise ``L + c · R`` with the surrogate loss (eq.
4):

    ``R = Σ_k Ω_k (θ̃_k - θ_k)²``

A task is a sequence of steps, each between :func:`si_pre_optim_step` and :func:`si_post_optim_step`, and ends with
:func:`si_compute_importance`.

Everything is kept in buffers of the network (:mod:`hypnettorch.utils.stored_tensors`), with ``<n>`` the
``params_name`` after an underscore, or empty: ``si_running_omega<n>_weights_<i>`` (``ω``), ``si_omega<n>_weights_<i>``
(``Ω``), ``si_prev_theta<n>_weights_<i>`` (``θ̃``), ``si_pre_step_theta<n>_weights_<i>``. Parameters that do not require
gradients are passed over.

References:
    Zenke, Poole, Ganguli, "Continual learning through synaptic intelligence", ICML 2017,
    https://arxiv.org/abs/1703.04200.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.utils.stored_tensors import buffer_name, recall, require, store


def si_pre_optim_step(
    net: nn.Module, params: Sequence[Tensor], params_name: str | None = None, no_pre_step_ckpt: bool = False
) -> None:
    """Remember the weights before a step of the optimiser, and before the first one also as ``θ̃``.

    Args:
        net: The network that keeps the buffers.
        params: The weights to protect.
        params_name: Tells several lists of weights of one network apart.
        no_pre_step_ckpt: Remember ``θ̃`` only, because :func:`si_post_optim_step` will be given ``delta_params``.
    """
    names = _checked_names(net, params, params_name)
    learned = list(_learned(params))
    for i, param in learned:
        if recall(net, names.prev_theta, i) is None:
            store(net, names.prev_theta, i, param)
        if not no_pre_step_ckpt:
            store(net, names.pre_step_theta, i, param)


def si_post_optim_step(
    net: nn.Module,
    params: Sequence[Tensor],
    params_name: str | None = None,
    delta_params: Sequence[Tensor] | None = None,
    grads: Sequence[Tensor] | None = None,
) -> None:
    """Add a step of the optimiser to ``ω``.

    Args:
        net: As for :func:`si_pre_optim_step`.
        params: The weights, after the step.
        params_name: As for :func:`si_pre_optim_step`.
        delta_params: What the step added to each of them; default: the difference to the weights before it.
        grads: The gradient ``∂L/∂θ`` of the *task loss* before the step, parallel to ``params``. By default
            ``param.grad``, which also contains the gradients of regularisers that were added to the loss.

    Raises:
        ValueError: If a gradient, or the weights before the step, are missing.

    Example:
        The gradient of the task loss apart from that of the whole loss:

        >>> from hypnettorch.mnets import MLP
        >>> net = MLP(n_in=2, n_out=1, verbose=False)
        >>> params = list(net.internal_params)
        >>> optimizer = torch.optim.SGD(params, lr=0.1)
        >>> si_pre_optim_step(net, params)
        >>> task_loss = net(torch.randn(8, 2)).square().mean()
        >>> grads = torch.autograd.grad(task_loss, params, retain_graph=True)
        >>> (task_loss + sum(p.square().sum() for p in params)).backward()
        >>> optimizer.step()
        >>> si_post_optim_step(net, params, grads=grads)
    """
    names = _checked_names(net, params, params_name)
    for name, values in (("delta_params", delta_params), ("grads", grads)):
        if values is not None:
            checks.length(name, values, len(params))
    for i, param in _learned(params):
        grad = param.grad if grads is None else grads[i]
        if grad is None:
            raise checks.StateError(f"params[{i}]: expected a gradient of the task loss, got None")
        checks.shape(("grads", i), grad, param.shape)
        if delta_params is None:
            before = recall(net, names.pre_step_theta, i)
            if before is None:
                raise checks.StateError(f"params[{i}]: expected si_pre_optim_step before the step")
            delta = param.detach() - before
        else:
            checks.shape(("delta_params", i), delta_params[i], param.shape)
            delta = delta_params[i].detach()
        share = recall(net, names.running_omega, i)
        if share is None:
            store(net, names.running_omega, i, -grad * delta)
        else:
            share.addcmul_(grad.detach(), delta, value=-1)


def si_compute_importance(
    net: nn.Module, params: Sequence[Tensor], params_name: str | None = None, epsilon: float = 1e-3
) -> None:
    """End a task: ``Ω`` and ``θ̃`` are brought up to date, ``ω`` starts again.

    Args:
        net: As for :func:`si_pre_optim_step`.
        params: The weights.
        params_name: As for :func:`si_pre_optim_step`.
        epsilon: ``ξ``.

    Raises:
        ValueError: If no step was recorded since the last task.
    """
    names = _checked_names(net, params, params_name)
    damping = checks.positive("epsilon", epsilon)
    for i, param in _learned(params):
        share, start = recall(net, names.running_omega, i), recall(net, names.prev_theta, i)
        if share is None or start is None:
            raise checks.StateError(f"params[{i}]: expected si_pre_optim_step and si_post_optim_step around each step")
        importance = (share / ((param.detach() - start).square() + damping)).clamp(min=0)
        earlier = recall(net, names.omega, i)
        store(net, names.omega, i, importance if earlier is None else earlier + importance)
        store(net, names.prev_theta, i, param)
        store(net, names.running_omega, i, None)


def si_regularizer(net: nn.Module, params: Sequence[Tensor], params_name: str | None = None) -> Tensor:
    """The surrogate loss ``R``, without its factor ``c``.

    Args:
        net: As for :func:`si_pre_optim_step`.
        params: The weights.
        params_name: As for :func:`si_pre_optim_step`.

    Returns:
        A scalar.

    Raises:
        ValueError: If :func:`si_compute_importance` was not called before.
    """
    names = _checked_names(net, params, params_name)
    total = params[0].new_zeros(())
    for i, param in _learned(params):
        importance, start = (
            require(net, name, i, param, "si_compute_importance") for name in (names.omega, names.prev_theta)
        )
        total = total + (importance * (start - param).square()).sum()
    return total


def _si_buffer_names(param_id: int, params_name: str | None = None) -> tuple[str, str, str, str]:
    """Names of the buffers of ``Ω``, ``θ̃``, ``ω`` and the weights before a step, for programs that read them.

    Args:
        param_id: Position of the parameter in ``params``.
        params_name: As for :func:`si_pre_optim_step`.

    Example:
        >>> _si_buffer_names(0)[:2], _si_buffer_names(1, params_name="rec")[2]
        (('si_omega_weights_0', 'si_prev_theta_weights_0'), 'si_running_omega_rec_weights_1')
    """
    names = _Names(params_name)
    omega, prev_theta = buffer_name(names.omega, param_id), buffer_name(names.prev_theta, param_id)
    return omega, prev_theta, buffer_name(names.running_omega, param_id), buffer_name(names.pre_step_theta, param_id)


def _checked_names(net: Any, params: Any, params_name: Any) -> _Names:
    checks.instance("net", net, nn.Module)
    if not hasattr(params, "__len__") or not len(params):
        checks.fail("params", "a list of at least one parameter", params)
    for i, param in enumerate(params):
        checks.tensor(("params", i), param)
    return _Names(params_name)


class _Names:
    """First parts of the names of the buffers of one list of weights."""

    def __init__(self, params_name: Any) -> None:
        if params_name is not None:
            checks.instance("params_name", params_name, str)
            if "." in params_name:
                checks.fail("params_name", "a part of a buffer's name, without '.'", repr(params_name))
        suffix = f"_{params_name}" if params_name else ""
        self.omega = f"si_omega{suffix}"
        self.prev_theta = f"si_prev_theta{suffix}"
        self.running_omega = f"si_running_omega{suffix}"
        self.pre_step_theta = f"si_pre_step_theta{suffix}"


def _learned(params: Sequence[Tensor]) -> Iterator[tuple[int, Tensor]]:
    return ((i, param) for i, param in enumerate(params) if param.requires_grad)
