"""Constants that bring what a hypernetwork draws to the scale of the tensors it is for."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from hypnettorch.hnets.deconv_hyperfan import output_constants
from hypnettorch.hnets.hyperfan import Plan
from hypnettorch.hnets.hypernetwork import HyperNetwork
from hypnettorch.hnets.partwise_hyperfan import Destinations, PartwiseHyperfan, average_start
from hypnettorch.mnets.mnet_interface import MainNetInterface


class CalibratedOutput(PartwiseHyperfan, HyperNetwork):
    """A hypernetwork whose flat weights are ``output_scale · y + output_offset``.

    Where targets share the weights that produce them, initialisation cannot tell them apart by these weights. Two
    constants do it instead, which :meth:`apply_hyperfan_init` sets. They are buffers, so that a ``state_dict`` holds
    them; loading one of a network that was never initialised like that removes them.

    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._buffers.update(output_scale=None, output_offset=None)

    @property
    def output_scale(self) -> Tensor:
        """What each weight is multiplied by, ``[num_outputs]``: ones until :meth:`apply_hyperfan_init` sets it."""
        return self._constant("output_scale", 1.0)

    @property
    def output_offset(self) -> Tensor:
        """What is added to each weight, ``[num_outputs]``: zeros until :meth:`apply_hyperfan_init` sets it."""
        return self._constant("output_offset", 0.0)

    def _constant(self, name: str, neutral: float) -> Tensor:
        constant = self._buffers[name]
        if constant is not None:
            return constant
        like = self._internal_params[0] if self._internal_params else torch.empty(0)
        return torch.full([self.num_outputs], neutral, dtype=like.dtype, device=like.device)

    def _calibrate(self, flat: Tensor) -> Tensor:
        """``[..., num_outputs]`` to the same shape."""
        scale, offset = self._buffers["output_scale"], self._buffers["output_offset"]
        if scale is not None:
            flat = flat * scale
        return flat if offset is None else flat + offset

    def apply_hyperfan_init(
        self,
        method: str = "in",
        use_xavier: bool = False,
        uncond_var: float = 1.0,
        cond_var: float = 1.0,
        mnet: MainNetInterface | None = None,
    ) -> None:
        """Initialise such that the produced weights have the variance of an ordinary initialisation.

        All parameters but the embeddings of conditions are drawn anew, and the constants ``output_scale`` and
        ``output_offset`` are set; the mathematics stand in :mod:`hypnettorch.hnets.deconv_hyperfan`.

        Args:
            method: ``'in'`` (activations keep their variance), ``'out'`` (gradients do), or ``'harmonic'`` (harmonic
                mean of the two variances).
            use_xavier: Xavier instead of Kaiming initialisation: no factor 2 for rectified units.
            uncond_var: Variance of the unconditional input.
            cond_var: Variance of the conditional input.
            mnet: The main network, whose ``param_shapes_meta`` say what each target is. Without it, targets with more
                than one dimension count as weights and vectors as the bias of the weight before them.

        Raises:
            ValueError: If an argument is wrong, the parameters are external, or the input has no variance.
        """
        super().apply_hyperfan_init(method, use_xavier, uncond_var, cond_var, mnet)

    def _set_constants(self, destinations: Destinations, plan: Plan, moments: Tensor) -> None:
        """Let each target start as it should; ``moments [num_outputs]`` are those of the output without constants."""
        starts = [average_start(group, plan) for group in destinations]
        like = self._internal_params[0]  # type: ignore[index]
        scale, offset = output_constants([math.prod(shape) for shape in self.target_shapes], starts, moments)
        self._buffers["output_scale"] = scale.to(like)
        self._buffers["output_offset"] = None if offset is None else offset.to(like)

    def _start_at_zero(self) -> None:
        super()._start_at_zero()
        self._buffers["output_offset"] = None

    def _rename_loaded_state(self, state_dict: dict[str, Any], prefix: str) -> None:
        super()._rename_loaded_state(state_dict, prefix)
        own = self.unconditional_params_ref or ()
        complete = all(f"{prefix}_internal_params.{i}" in state_dict for i in own)
        for name in ("output_scale", "output_offset"):
            loaded = state_dict.get(prefix + name)
            if loaded is None:
                if complete:
                    self._buffers[name] = None
            elif self._buffers[name] is None:
                like = self._internal_params[0] if self._internal_params else loaded
                self._buffers[name] = torch.empty(self.num_outputs, dtype=like.dtype, device=like.device)
