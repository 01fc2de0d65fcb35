"""A hypernetwork whose output is added to weights that do not depend on its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from hypnettorch.core import formats
from hypnettorch.core.low_rank import Key, LowRank
from hypnettorch.hnets.base_weights import INIT, BaseWeights
from hypnettorch.hnets.composite import Call
from hypnettorch.hnets.hnet_interface import HyperNetInterface
from hypnettorch.hnets.partwise_hyperfan import Destinations
from hypnettorch.hnets.targets import Plan
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.mnets.old_stages import Run


class HResidual(BaseWeights):
    """``ω = ω₀ + h(·)`` with a hypernetwork ``h`` and weights ``ω₀`` that all its inputs share.

    With ``ω₀`` from an ordinary initialisation and an encoded input
    (:class:`hypnettorch.hnets.input_encoding.HEncodedInput`) this is the magnitude-invariant parametrisation: neither
    weights nor gradients are proportional to the input. With the weights of a trained network, ``h`` learns what to
    change in them.

    ``ω₀`` are unconditional parameters, published after those of ``h`` in the order of the targets, or constants in the
    buffer ``base_values``.

    Args:
        hnet: The hypernetwork ``h``: any of this package (containers and wrappers as well), or of a user's own class.
        base: ``ω₀``: a tensor per target, such as ``ModuleNet.initial_weights()`` (copied in the dtype and on the
            device of ``h``), or ``'init'`` to draw them: weights from the Kaiming distribution of fan-in, biases 0,
            normalisation scales 1.
        trainable: Whether ``ω₀`` are parameters.
        mnet: The main network, whose ``param_shapes_meta`` say what each target is. Without it, targets with more than
            one dimension count as weights and vectors as biases.
        verbose: Whether to print a line about the network.

    Raises:
        ValueError: If ``base`` does not fit the targets.
        TypeError: If an argument has the wrong type.

    Note:
        The constructor leaves ``h`` as it is; :meth:`start_at_base` lets the sum start at ``ω₀``. So does
        ``apply_hyperfan_init``, after it has initialised ``h`` for the targets (of which the hidden layers keep
        something) and has drawn ``ω₀`` with the full variance that the targets should have, unless a user gave ``ω₀``.

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

    def __init__(
        self,
        hnet: HyperNetInterface,
        base: Sequence[Tensor] | str = INIT,
        trainable: bool = True,
        mnet: MainNetInterface | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(hnet)
        self._wrap(hnet)
        self._declare_base(base, trainable, mnet, block=1)
        self._publish()
        if verbose:
            print(self)

    def start_at_base(self) -> None:
        """Let ``h`` produce zeros, by zeros in its last layer, so that the weights are ``ω₀`` before training.

        Gradients reach the last layer in the first step and all others from the second one on.

        Raises:
            ValueError: If the parameters of ``h`` are external, or divided by their spectral norm.
            NotImplementedError: If the class of ``h`` has no such start.
        """
        self._hnet._start_at_zero()

    def factors(
        self,
        uncond_input: Tensor | None = None,
        cond_input: Tensor | None = None,
        cond_id: Any = None,
        weights: Any = None,
        condition: int | None = None,
        ret_format: str = "squeezed",
    ) -> dict[Key, LowRank]:
        """What ``h.factors`` gives: low-rank updates of ``ω₀``, without ``ω₀``.

        A :class:`~hypnettorch.mnets.module_net.ModuleNet` adds them to the own values of its module; this is the sum of
        ``forward`` if ``ω₀`` are these values.

        Raises:
            NotImplementedError: If ``h`` is no :class:`~hypnettorch.hnets.low_rank_hnet.HLowRank`.
        """
        call, run = self._prepare(uncond_input, cond_input, cond_id, weights, condition, "stacked")
        return self._hnet.factors(
            call.uncond_input,
            call.cond_input,
            call.cond_id,
            {**self._weights_of(self._part, run), **call.passed} or None,
            run.stats_id,
            ret_format,
        )

    def _generate(self, call: Call, run: Run) -> Tensor:
        produced: Tensor = self._ask(self._part, call, run, "flattened")
        if self.base_values is not None:
            return produced + self.base_values
        return produced + formats.flatten(self._base(run), self.target_shapes)

    def _start_at(self, destinations: Destinations, plan: Plan) -> None:
        super()._start_at(destinations, plan)
        self.start_at_base()
        self._start_base(destinations, plan)
