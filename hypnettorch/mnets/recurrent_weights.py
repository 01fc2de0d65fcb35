"""What all recurrent networks can do with their parameters."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from hypnettorch.mnets.main_network import MainNetwork


class RecurrentWeights(MainNetwork):
    """A network with recurrent layers, whose rows say by ``info`` which map they belong to (``'hh'`` etc.)."""

    def init_hh_weights_orthogonal(self) -> None:
        """Make every internal hidden-to-hidden matrix orthogonal; of an LSTM, each of its four blocks.

        References:
            Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks", 2014.
        """
        for weight, meta in self._internal_rows():
            if meta.get("info") == "hh" and meta["name"] == "weight":
                for block in weight.detach().split(weight.shape[1]):
                    nn.init.orthogonal_(block)

    def get_cm_weights(self) -> list[Tensor]:
        """The internal gains and shifts."""
        return [weight for weight, meta in self._internal_rows() if _is_modulation(meta)]

    def get_non_cm_weights(self) -> list[Tensor]:
        """The internal parameters that are no gains and shifts."""
        return [weight for weight, meta in self._internal_rows() if not _is_modulation(meta)]

    def get_cm_inds(self) -> list[int]:
        """The positions of gains and shifts in ``param_shapes``."""
        return [i for i, meta in enumerate(self.param_shapes_meta) if _is_modulation(meta)]

    def _internal_rows(self) -> list[tuple[Tensor, dict[str, Any]]]:
        """Internal parameters with their entries of ``param_shapes_meta``."""
        metas = [meta for meta in self.param_shapes_meta if meta["index"] >= 0]
        return [(self._internal_params[meta["index"]], meta) for meta in metas]  # type: ignore[index]


def _is_modulation(meta: dict[str, Any]) -> bool:
    return meta["name"] in ("cm_scale", "cm_shift")
