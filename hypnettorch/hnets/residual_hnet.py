"""A hypernetwork whose output is added to weights that do not depend on its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from hypnettorch.core import formats
from hypnettorch.core.starts import Start
from hypnettorch.core.values import Values
from hypnettorch.hnets import base_weights
from hypnettorch.hnets.hypernetwork import Pairs, Produced, Request
from hypnettorch.hnets.initialization import Plan
from hypnettorch.hnets.wrapper import Wrapper
from hypnettorch.mnets.network import Network


class HResidual(Wrapper):
    """``ω = ω₀ + h(·)`` with a hypernetwork ``h`` and weights ``ω₀`` that all its inputs share.

    With ``ω₀`` from an ordinary initialisation and an encoded input
    (:class:`hypnettorch.hnets.input_encoding.HEncodedInput`) this is the magnitude-invariant parametrisation: neither
    weights nor gradients are proportional to the input. With the weights of a trained network, ``h`` learns what to
    change in them.

    Where ``h`` makes low-rank updates (:class:`~hypnettorch.hnets.low_rank_hnet.HLowRank`), ``factors`` gives these,
    without ``ω₀``: a :class:`~hypnettorch.mnets.module_net.ModuleNet` adds them to the own values of its module, which
    is the sum of ``forward`` if ``ω₀`` are these values.

    ``ω₀`` are unconditional parameters, published after those of ``h`` in the order of the targets, or constants in the
    buffer ``base_values``.

    Args:
        hnet: The hypernetwork ``h``: any of this package (containers and wrappers as well), or of a user's own class.
        base: ``ω₀``: a main network, whose own values are taken, or a tensor per target (copied in the dtype and on
            the device of ``h``), or ``'init'`` to draw them: weights from the Kaiming distribution of fan-in, biases
            0, normalisation scales 1.
        trainable: Whether ``ω₀`` are parameters.
        mnet: The main network, whose ``param_shapes_meta`` say what each target is, if it is not the base. Without
            it, targets with more than one dimension count as weights and vectors as biases.
        verbose: Whether to print a line about the network.

    Raises:
        ValueError: If ``base`` does not fit the targets.
        TypeError: If an argument has the wrong type.

    Note:
        The constructor leaves ``h`` as it is; :meth:`start_at_base` lets the sum start at ``ω₀``. So do
        ``apply_hyperfan_init`` and ``apply_calibrated_init``, after they have initialised ``h`` for the targets (of
        which the hidden layers keep something) and have drawn ``ω₀`` with the full variance that the targets should
        have, unless a user gave ``ω₀``.

    References:
        Ortiz, Guttag, Dalca, "Magnitude Invariant Parametrizations Improve Hypernetwork Learning", ICLR 2024,
        https://arxiv.org/abs/2304.07645, section 4.

    Example:
        >>> from hypnettorch.hnets import HMLP
        >>> base = [torch.ones(3, 2), torch.zeros(3)]
        >>> hnet = HResidual(HMLP([[3, 2], [3]], cond_in_size=4, verbose=False), base, verbose=False)
        >>> hnet.start_at_base()
        >>> [w.sum().item() for w in hnet(cond_id=0)]
        [6.0, 0.0]
    """

    base_values: Tensor | None

    def __init__(
        self,
        hnet: Any,
        base: Network | Sequence[Tensor] | str = base_weights.INIT,
        trainable: bool = True,
        mnet: Network | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(hnet)
        self.wrap(hnet)
        self._draws_base = base_weights.declare(self, base, trainable, mnet, block=1)
        if verbose:
            print(self)

    @property
    def base_weights(self) -> list[Tensor]:
        """``ω₀``: the parameters or constants themselves, one tensor per target."""
        return base_weights.held_by(self)

    def start_at_base(self) -> None:
        """Let ``h`` produce zeros, by zeros in its last layer, so that the weights are ``ω₀`` before training.

        Gradients reach the last layer in the first step and all others from the second one on.

        Raises:
            ValueError: If the parameters of ``h`` are external, or divided by their spectral norm.
            NotImplementedError: If the class of ``h`` has no such start.
        """
        self.hnet.start_at_zero()

    def after(self, produced: Produced, request: Request, values: Values) -> Tensor | list[Tensor]:
        """The sum."""
        if isinstance(produced.value, Tensor):
            constants = self.base_values
            if constants is None:
                constants = formats.flatten(base_weights.of_evaluation(self, values), self.target_shapes)
            return produced.flat + constants
        base = base_weights.of_evaluation(self, values)
        return [weight + own for weight, own in zip(produced.value, base, strict=True)]

    def updates(self, request: Request, values: Values) -> Pairs:
        """Those of ``h``, which are updates of ``ω₀``."""
        return self.ask_updates(request, values)

    def start_at(self, wanted: Sequence[Start], plan: Plan) -> None:
        """Initialise ``h`` for the targets, let it produce zeros, and draw ``ω₀`` unless a user gave it."""
        self.start_inner(wanted, plan)
        self.start_at_base()
        if self._draws_base:
            base_weights.start(self, wanted)

    def start_at_zero(self) -> None:
        """Refused, since there are weights of its own."""
        base_weights.refuse_zero(self)
