"""The base of hypernetworks around one other hypernetwork."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from hypnettorch.core import checks
from hypnettorch.hnets.composite import PARTS, CompositeHyperNetwork
from hypnettorch.hnets.hnet_interface import HyperNetInterface
from hypnettorch.hnets.partwise_hyperfan import Destinations
from hypnettorch.hnets.targets import Plan
from hypnettorch.mnets.extension_protocol import Shapes
from hypnettorch.mnets.network import Inclusion


class WrapperHyperNetwork(CompositeHyperNetwork):
    """``g(h(f(input)))``: changes what goes into a hypernetwork ``h``, or what comes out of it.

    A subclass calls this constructor, declares tensors of its own before or after :meth:`_wrap`, publishes with
    ``_publish()`` and implements ``_generate``. Conditions are those of ``h``, unless it says otherwise.

    Args:
        hnet: The hypernetwork ``h``: any of this package (containers and wrappers as well), or of a user's own class.
        target_shapes: Shapes of the tensors to produce (default: those of ``h``).
    """

    def __init__(self, hnet: HyperNetInterface, target_shapes: Any = None) -> None:
        checks.instance("hnet", hnet, HyperNetInterface)
        checks.instance("hnet", hnet, nn.Module)
        super().__init__(hnet.target_shapes if target_shapes is None else target_shapes, [hnet])

    def _wrap(self, hnet: HyperNetInterface, block: int = 0) -> None:
        """Make ``h`` a part of this network, published as one block."""
        self._hnet = hnet
        self._include(hnet, block=block)
        self._num_known_conds = hnet.num_known_conds
        self._has_bias = hnet.has_bias
        self._has_fc_out = self._has_linear_out = self._mask_fc_out = False

    @property
    def internal_hnet(self) -> HyperNetInterface:
        """The hypernetwork inside."""
        return self._hnet

    @property
    def _part(self) -> Inclusion:
        """The inner hypernetwork as a part of this one."""
        return self._inclusions[0]

    def get_cond_in_emb(self, cond_id: int) -> nn.Parameter:
        """The input embedding of a condition, as the hypernetwork inside defines it."""
        embedding: nn.Parameter = self._hnet.get_cond_in_emb(cond_id)  # type: ignore[attr-defined]
        return embedding

    def condition_inputs(self, cond_id: Any) -> dict[str, Any]:
        """Conditions as the hypernetwork inside looks them up."""
        return self._hnet.condition_inputs(cond_id)

    def _start_learned(self) -> tuple[Shapes | None, list[int] | None]:
        return (None, None) if self._hnet.hyper_shapes_learned is None else ([], [])

    def _publish_layer_tensors(self, values: Mapping[int, nn.Parameter]) -> None:
        inner = set(self._part.slots)
        super()._publish_layer_tensors({slot: value for slot, value in values.items() if slot in inner})

    def _split_weights(self, weights: Any) -> tuple[Any, dict[str, Any]]:
        if not isinstance(weights, Mapping):
            return weights, {}
        own = {key: value for key, value in weights.items() if key in PARTS}
        passed = {key: value for key, value in weights.items() if key not in PARTS}
        return (None if passed and not own else own), passed

    def _start_at(self, destinations: Destinations, plan: Plan) -> None:
        self._hnet._start_at(destinations, plan)


def check_without_conditions(hnet: HyperNetInterface, reason: str) -> int:
    """The size of the conditional input of a hypernetwork that knows no condition by id.

    Raises:
        ValueError: If it knows some, or has no such input.
    """
    if hnet.num_known_conds:
        checks.fail(
            "hnet",
            f"a hypernetwork that knows no conditions (num_cond_embs=0), since {reason}",
            f"one that knows {hnet.num_known_conds}",
        )
    return check_input(hnet, "cond")


def check_input(hnet: HyperNetInterface, which: str) -> int:
    """The size of the input ``'cond'`` or ``'uncond'`` of a hypernetwork.

    Raises:
        ValueError: If it has no such input.
    """
    size = getattr(hnet, f"_{which}_in_size", 0)
    if not size:
        checks.fail("hnet", f"a hypernetwork with a {'' if which == 'cond' else 'un'}conditional input", "one without")
    return int(size)
