"""Helpers around PyTorch: initialisation, optimisers, schedules, augmentation, memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, optim

from hypnettorch.core import checks
from hypnettorch.core.initialisation import init_params
from hypnettorch.core.memory import keep_large_blocks

__all__ = ["CutoutTransform", "get_optimizer", "init_params", "keep_large_blocks", "lambda_lr_schedule"]


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
        >>> from torch import nn
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
