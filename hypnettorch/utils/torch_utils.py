"""Helpers around PyTorch: initialisation, optimisers, schedules, and what the layers of this package share."""

from __future__ import annotations

import ctypes
import math
import warnings
from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, optim

from hypnettorch.core import checks
from hypnettorch.utils.init_utils import calc_fan_in_and_out

HALF = (torch.float16, torch.bfloat16)
"""The dtypes of half precision."""


def init_params(weights: Tensor, bias: Tensor | None = None) -> None:
    """Draw weights and biases as ``nn.Linear`` and ``nn.Conv2d`` do: ``U(-a, a)``, ``a = 1 / √fan_in``, in place.

    Args:
        weights: ``[out, in, *kernel]``.
        bias: ``[out]``, or any tensor that is to be drawn with the fan-in of ``weights``.

    Raises:
        ValueError: If ``weights`` has fewer than two dimensions.

    Example:
        >>> weight, bias = torch.empty(3, 4), torch.empty(3)
        >>> init_params(weight, bias)
        >>> bool(weight.abs().max() <= 0.5), bool(bias.abs().max() <= 0.5)
        (True, True)
    """
    checks.tensor("weights", weights)
    fan_in, _ = calc_fan_in_and_out(weights.shape)
    bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
    nn.init.uniform_(weights, -bound, bound)
    if bias is not None:
        nn.init.uniform_(bias, -bound, bound)


def get_optimizer(
    params: Iterable[Any],
    lr: float | Sequence[float],
    momentum: float | Sequence[float] = 0,
    weight_decay: float | Sequence[float] = 0,
    use_adam: bool = False,
    adam_beta1: float | Sequence[float] = 0.9,
    use_rmsprop: bool = False,
    use_adadelta: bool = False,
    use_adagrad: bool = False,
    pgroup_ids: Sequence[int] | None = None,
) -> optim.Optimizer:
    """The optimiser that command line options describe.

    SGD, unless one of the flags is set; of several, the first in the order of the arguments counts.

    Args:
        params: Parameters (or parameter groups, as every optimiser takes them).
        lr: Learning rate.
        momentum: Momentum of SGD and RMSprop; the others do not have one.
        weight_decay: Strength of the L2 penalty.
        use_adam: Adam, with the betas ``(adam_beta1, 0.999)``.
        adam_beta1: Decay of the first moment in Adam.
        use_rmsprop: RMSprop.
        use_adadelta: Adadelta.
        use_adagrad: Adagrad.
        pgroup_ids: Group of each parameter. ``lr``, ``momentum``, ``weight_decay`` and ``adam_beta1`` may then be
            lists with one value per group.

    Returns:
        The optimiser; with ``pgroup_ids`` its parameter groups are in the order of the ids.

    Raises:
        ValueError: If ``pgroup_ids`` does not fit ``params``, or a list does not reach the highest id.
        TypeError: If a list is given without ``pgroup_ids``.

    Example:
        >>> weight, bias = nn.Linear(2, 3).parameters()
        >>> optimizer = get_optimizer([weight, bias], lr=[0.1, 0.01], use_adam=True, pgroup_ids=[0, 1])
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.1, 0.01]
    """
    params = list(params)
    settings: dict[str, float | Sequence[float]] = {"lr": lr, "weight_decay": weight_decay}
    kind: type[optim.Optimizer] = optim.SGD
    if use_adam:
        kind = optim.Adam
        settings["adam_beta1"] = adam_beta1
    elif use_rmsprop:
        kind = optim.RMSprop
        settings["momentum"] = momentum
    elif use_adadelta:
        kind = optim.Adadelta
    elif use_adagrad:
        kind = optim.Adagrad
    else:
        settings["momentum"] = momentum

    if pgroup_ids is None:
        return kind(params, **_group_settings(settings, None))
    ids = checks.integers("pgroup_ids", pgroup_ids, 0)
    checks.length("pgroup_ids", ids, len(params))
    groups = [
        {"params": [p for p, i in zip(params, ids, strict=True) if i == group], **_group_settings(settings, group)}
        for group in sorted(set(ids))
    ]
    return kind(groups)  # type: ignore[call-arg]


def _group_settings(settings: dict[str, Any], group: int | None) -> dict[str, Any]:
    """The keyword arguments of an optimiser for one parameter group."""
    values: dict[str, Any] = {}
    for name, value in settings.items():
        if group is not None and isinstance(value, (list, tuple)):
            if group >= len(value):
                checks.fail(name, f"a value for parameter group {group}", f"{len(value)} values")
            value = value[group]
        values[name] = checks.number(name, value)
    if "adam_beta1" in values:
        values["betas"] = (values.pop("adam_beta1"), 0.999)
    return values


def lambda_lr_schedule(epoch: int) -> float:
    """Factor of the learning rate in an epoch, to be used with ``torch.optim.lr_scheduler.LambdaLR``.

    Returns:
        1 up to epoch 80, then 0.1, after epoch 120 0.01, after epoch 160 0.001, after epoch 180 0.0005.

    Example:
        >>> [lambda_lr_schedule(epoch) for epoch in (80, 81, 200)]
        [1.0, 0.1, 0.0005]

    References:
        The schedule with which the examples of Keras train residual networks on CIFAR-10.
    """
    for start, factor in ((180, 0.5e-3), (160, 1e-3), (120, 1e-2), (80, 1e-1)):
        if epoch > start:
            return factor
    return 1.0


class CutoutTransform:
    """Sets squares at random positions of an image to zero.

    Centres are uniform over the pixels, so a square may stick out of the image and is then clipped. They are drawn
    from the global generator of numpy: seed it in every worker of a data loader.

    Args:
        n_holes: Number of squares; they may overlap.
        length: Side of a square in pixels.

    Raises:
        ValueError: If a number is negative.

    Example:
        >>> np.random.seed(5)
        >>> CutoutTransform(n_holes=1, length=2)(torch.ones(1, 4, 4))
        tensor([[[1., 1., 1., 1.],
                 [1., 1., 1., 1.],
                 [1., 0., 0., 1.],
                 [1., 0., 0., 1.]]])

    References:
        DeVries & Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.
    """

    def __init__(self, n_holes: int, length: int) -> None:
        self.n_holes = checks.integer("n_holes", n_holes, 0)
        self.length = checks.integer("length", length, 0)

    def __call__(self, img: Tensor) -> Tensor:
        """A copy of the image ``[C, H, W]`` with holes, the same in all channels.

        Raises:
            ValueError: If ``img`` does not have three dimensions.
        """
        checks.tensor("img", img)
        if img.dim() != 3:
            checks.fail("img", "shape [C, H, W]", tuple(img.shape))
        img = img.clone()
        _, height, width = img.shape
        for _ in range(self.n_holes):
            top = np.random.randint(height) - self.length // 2
            left = np.random.randint(width) - self.length // 2
            img[:, max(top, 0) : max(top + self.length, 0), max(left, 0) : max(left + self.length, 0)] = 0
        return img


def lift_under_autocast(value: Tensor) -> Tensor:
    """A half precision tensor in float32 if autocast is on; any other tensor as it is.

    Normalisation and modulation take their scales from outside, where autocast makes them half precision, which the
    kernels of batch, layer and group norm refuse.

    Example:
        >>> with torch.autocast("cpu", dtype=torch.bfloat16):
        ...     lift_under_autocast(torch.ones(1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return value.float() if value.dtype in HALF and autocast_is_on(value.device) else value


def autocast_is_on(device: torch.device) -> bool:
    """Whether operations on a device choose their precision themselves."""
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


class BufferSets(nn.Module):
    """Base of layers that keep numbered sets of buffers ``<name>_<k>``, ``k = 0, 1, ...``.

    A state dict may hold more sets than the layer: loading it first appends what is missing. One with fewer sets
    loads with ``strict=False`` and leaves the further sets as they are. The number of sets is a Python int, so that
    reading it costs nothing on a GPU or in a compiled graph; the buffer of that number exists for files alone.

    Args:
        names: Names of the buffers of a set.
        count: Name of the buffer that says how many sets there are.
    """

    def __init__(self, names: Sequence[str], count: str) -> None:
        super().__init__()
        self._buffer_names = tuple(names)
        self._count_name = count
        # A name that is built from an integer inside of a compiled graph would break it.
        self._sets: list[tuple[str, ...]] = []
        self.register_buffer(count, torch.tensor(0))
        self.register_load_state_dict_pre_hook(_fit_to_state_dict)

    def _get_set(self, k: int) -> tuple[Tensor, ...]:
        """The buffers of set ``k``."""
        return tuple(getattr(self, name) for name in self._sets[k])

    def _append_set(self, tensors: Sequence[Tensor]) -> None:
        """Register the buffers of a further set."""
        names = self._next_names()
        for name, tensor in zip(names, tensors, strict=True):
            self.register_buffer(name, tensor)
        self._sets.append(names)
        getattr(self, self._count_name).fill_(len(self._sets))

    def _next_names(self) -> tuple[str, ...]:
        return tuple(f"{name}_{len(self._sets)}" for name in self._buffer_names)

    def _blank_set(self) -> Sequence[Tensor] | None:
        """Tensors of a further set with initial values; ``None`` if the layer cannot have one."""
        raise NotImplementedError


def _fit_to_state_dict(module: BufferSets, state_dict: MutableMapping[str, Any], prefix: str, *_: Any) -> None:
    """Append the sets that only the file has; drop the second names that old files give to parameters."""
    for alias in ("_weights.0", "_weights.1"):
        state_dict.pop(prefix + alias, None)
    while all(prefix + name in state_dict for name in module._next_names()):
        tensors = module._blank_set()
        if tensors is None:
            break
        module._append_set(tensors)
    count = prefix + module._count_name
    if count in state_dict:
        state_dict[count] = torch.full_like(state_dict[count], len(module._sets))


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Numbers of two settings of glibc's ``mallopt`` (``malloc.h``)."""


def keep_large_blocks() -> bool:
    """Let this process keep large blocks of CPU memory that it frees, and use them again.

    glibc takes every block above 32 MiB from the operating system and returns it when it is freed, so a training step
    pays for the pages of each such tensor anew, unless it is one of those for which
    :mod:`hypnettorch.core.large_tensors` has a pool: large activations of a main network, say. After this call it keeps
    them. The price: memory that the process once used stays with it until it ends, also if all
    tensors are gone, and gaps between blocks are not always used again, so the peak can be several times what it was.

    Call it once, before the first large tensor. It concerns the whole process, so a library should leave it to the
    program that uses it.

    Returns:
        Whether it took effect. Where the C library is not glibc nothing happens, and a warning says so.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
        done = [mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, -1)] == [1, 1]
    except (AttributeError, OSError, TypeError):
        done = False
    if not done:
        warnings.warn("keep_large_blocks: no effect, since the C library is not glibc", stacklevel=2)
    return done
