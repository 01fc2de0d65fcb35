"""The protected lists behind the interface, for classes that fill them by hand.

Classes written for hypnettorch 0.0.4 derive from ``MainNetInterface`` (or from ``MLP``, ``HMLP``, ``Classifier``), fill
or extend protected lists and call ``_is_properly_setup()``. The networks of this package publish their parameter table
into the same lists, so that there is one interface for both. New code does not need this module.
"""

from __future__ import annotations

import inspect
import warnings
from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks, state
from hypnettorch.core.initialisation import init_params
from hypnettorch.core.state import install_hooks
from hypnettorch.core.old_table import NAMES
from hypnettorch.core.old_weights import Resolved, WeightLayout
from hypnettorch.layers.batchnorm_layer import BatchNormLayer
from hypnettorch.layers.context_mod_layer import ContextModLayer

Shapes = list[list[int]]

_OLD_NAMES = {"_all_shapes": "_param_shapes", "_hyper_shapes": "_hyper_shapes_learned"}


class HandFilledLists(ABC):  # noqa: B024
    """The state of a network that implements the interface, and the helpers that extend it."""

    def __init__(self) -> None:
        self._internal_params: nn.ParameterList | None = None
        self._param_shapes: Shapes | None = None
        self._param_shapes_meta: list[dict[str, Any]] | None = None
        self._hyper_shapes_learned: Shapes | None = None
        self._hyper_shapes_learned_ref: list[int] | None = None
        self._hyper_shapes_distilled: Shapes | None = None
        self._has_bias: bool | None = None
        self._has_fc_out: bool | None = None
        self._mask_fc_out: bool | None = None
        self._has_linear_out: bool | None = None
        self._layer_weight_tensors: nn.ParameterList | None = None
        self._layer_bias_vectors: nn.ParameterList | None = None
        self._batchnorm_layers: nn.ModuleList | None = None
        self._context_mod_layers: nn.ModuleList | None = None
        self._mirrored: dict[str, Any] = {}
        self._layout: WeightLayout | None = None

    def _is_properly_setup(self, check_has_bias: bool = True) -> None:
        """Check the lists and complete the set-up; the last call of a constructor.

        Args:
            check_has_bias: Whether ``_has_bias`` is meaningful for this network.

        Raises:
            ValueError: If a list is missing or two of them contradict each other; the message names it.
        """
        self._adopt_old_names()
        self._check_shapes()
        self._check_meta()
        for name in ("_has_fc_out", "_mask_fc_out", "_has_linear_out"):
            checks.instance(name, getattr(self, name), bool)
        for name in ("_layer_weight_tensors", "_layer_bias_vectors"):
            checks.instance(name, getattr(self, name), nn.ParameterList)
        if check_has_bias:
            checks.instance("_has_bias", self._has_bias, bool)
            if self._has_bias:
                checks.length("_layer_bias_vectors", self._layer_bias_vectors, len(self._layer_weight_tensors))  # type: ignore[arg-type]
        for old, new in _OLD_NAMES.items():
            self._mirrored[old] = getattr(self, new)
            setattr(self, old, self._mirrored[old])
        self._layout = self._weight_layout()
        if isinstance(self, nn.Module):
            install_hooks(self, _rename_loaded_state)

    def _adopt_old_names(self) -> None:
        for old, new in _OLD_NAMES.items():
            value = getattr(self, old, None)
            if value is None or value is self._mirrored.get(old):
                continue
            warnings.warn(f"'{old}' is deprecated, use '{new}'", DeprecationWarning, stacklevel=4)
            setattr(self, new, value)
        weights = getattr(self, "_weights", None)
        if weights is not None and weights is not self._internal_params:
            if self._internal_params is not None:
                checks.fail("_weights", "only one of '_weights' and '_internal_params' to be set", "both")
            self._internal_params = weights

    def _check_shapes(self) -> None:
        checks.instance("_param_shapes", self._param_shapes, list)
        if self._internal_params is None and self._hyper_shapes_learned is None:
            checks.fail("_internal_params", "internal parameters, or _hyper_shapes_learned to be set", "neither")
        shapes: Shapes = self._param_shapes or []
        if self._hyper_shapes_learned is None and self._hyper_shapes_distilled is None:
            checks.length("_internal_params", self._internal_params, len(shapes))  # type: ignore[arg-type]
        if self._hyper_shapes_learned_ref is not None:
            for i, ref in enumerate(self._hyper_shapes_learned_ref):
                checks.integer(("_hyper_shapes_learned_ref", i), ref, -1, len(shapes) - 1)

    def _check_meta(self) -> None:
        if self._param_shapes_meta is None:
            return
        checks.length("_param_shapes_meta", self._param_shapes_meta, len(self._param_shapes or []))
        last = -1 if self._internal_params is None else len(self._internal_params) - 1
        for i, meta in enumerate(self._param_shapes_meta):
            missing = {"name", "index", "layer"} - set(meta)
            if missing:
                checks.fail(("_param_shapes_meta", i), "the keys name, index and layer", sorted(meta))
            checks.one_of(f"_param_shapes_meta[{i}]['name']", meta["name"], NAMES)
            checks.integer(f"_param_shapes_meta[{i}]['index']", meta["index"], -1, last)
            checks.integer(f"_param_shapes_meta[{i}]['layer']", meta["layer"], -1)

    def _weight_layout(self) -> WeightLayout | None:
        """How ``weights=`` is to be read; ``None`` if the class does not describe its parameters."""
        if self._param_shapes_meta is None or self._param_shapes is None:
            return None
        if self._hyper_shapes_learned is not None and self._hyper_shapes_learned_ref is None:
            return None
        names = [meta["name"] for meta in self._param_shapes_meta]
        modulation = frozenset(i for i, name in enumerate(names) if name in ("cm_scale", "cm_shift"))
        learned = self._hyper_shapes_learned_ref if self._hyper_shapes_learned is not None else None
        return WeightLayout(
            shapes=tuple(tuple(shape) for shape in self._param_shapes),
            internal=tuple(meta["index"] for meta in self._param_shapes_meta),
            learned=None if learned is None else tuple(learned),
            parts=self._weight_parts(modulation),
            modulation=modulation,
        )

    def _weight_parts(self, modulation: frozenset[int]) -> Mapping[str, tuple[int, ...]]:
        """The keys that a dictionary of weights may have, and the positions that each stands for."""
        rest = tuple(i for i in range(len(self._param_shapes or [])) if i not in modulation)
        parts = {"internal_weights": rest}
        if modulation:
            parts["mod_weights"] = tuple(sorted(modulation))
        return parts

    def _condition_of(self, position: int) -> int | None:
        """The condition that an entry of ``param_shapes`` belongs to; ``None`` if all conditions share it."""
        return None

    def _resolve_weights(self, weights: Any, stacked: bool = False, optional: frozenset[int] = frozenset()) -> Resolved:
        """One value per entry of ``param_shapes`` (see ``WeightLayout.resolve``)."""
        if self._layout is None:
            raise NotImplementedError(f"{type(self).__name__} does not describe its parameters (param_shapes_meta)")
        return self._layout.resolve(weights, state.internal_params(self), stacked, optional)

    def _rename_loaded_state(self, state_dict: dict[str, Any], prefix: str) -> None:  # noqa: B027
        """Rename keys of a loaded ``state_dict`` in place, before anything else looks at them."""

    def _add_param(
        self, shape: Sequence[int], name: str | None, layer: int, param: nn.Parameter | None, **extra: Any
    ) -> None:
        """Append one tensor to all lists: an internal one with its parameter, an external one with ``None``."""
        position = len(_started(self, "_param_shapes"))
        index = -1
        if param is None:
            _started(self, "_hyper_shapes_learned").append(list(shape))
            _started(self, "_hyper_shapes_learned_ref").append(position)
        else:
            if self._internal_params is None:
                self._internal_params = nn.ParameterList()
            index = len(self._internal_params)
            self._internal_params.append(param)
        self._param_shapes.append(list(shape))  # type: ignore[union-attr]
        _started(self, "_param_shapes_meta").append({**extra, "name": name, "index": index, "layer": layer})

    def _num_context_mod_shapes(self) -> int:
        """Number of context-modulation tensors."""
        return sum(len(layer.param_shapes) for layer in self._context_mod_layers or ())  # type: ignore[arg-type, misc]

    def _add_context_mod_layers(
        self, cm_shapes: Sequence[Sequence[int]], cm_layers: Sequence[int] | None = None
    ) -> None:
        """Append context-modulation layers.

        Reads the protected attributes ``_context_mod_no_weights``, ``_context_mod_gain_offset`` and
        ``_context_mod_gain_softplus``.

        Args:
            cm_shapes: Shape of gain and shift per layer.
            cm_layers: Number ``layer`` of each in ``param_shapes_meta`` (default: unknown).
        """
        if self._context_mod_layers is None:
            self._context_mod_layers = nn.ModuleList()
        for i, shape in enumerate(cm_shapes):
            layer = ContextModLayer(
                list(shape),
                no_weights=self._context_mod_no_weights,  # type: ignore[attr-defined]
                apply_gain_offset=self._context_mod_gain_offset,  # type: ignore[attr-defined]
                apply_gain_softplus=self._context_mod_gain_softplus,  # type: ignore[attr-defined]
            )
            self._context_mod_layers.append(layer)
            number = -1 if cm_layers is None else cm_layers[i]
            self._add_param(shape, "cm_scale", number, layer.gain)
            self._add_param(shape, "cm_shift", number, layer.shift)

    def _add_batchnorm_layers(
        self,
        bn_sizes: Sequence[int],
        bn_no_weights: bool,
        bn_layers: Sequence[int] | None = None,
        distill_bn_stats: bool = False,
        bn_track_stats: bool = True,
    ) -> None:
        """Append batch norm layers.

        Args:
            bn_sizes: Number of features per layer.
            bn_no_weights: Whether scale and shift are external.
            bn_layers: Number ``layer`` of each in ``param_shapes_meta`` (default: unknown).
            distill_bn_stats: Whether to add the running statistics to ``hyper_shapes_distilled``.
            bn_track_stats: Whether the layers keep running statistics.
        """
        if self._batchnorm_layers is None:
            self._batchnorm_layers = nn.ModuleList()
        for i, size in enumerate(bn_sizes):
            layer = BatchNormLayer(size, affine=not bn_no_weights, track_running_stats=bn_track_stats)
            self._batchnorm_layers.append(layer)
            number = -1 if bn_layers is None else bn_layers[i]
            scale, shift = (None, None) if bn_no_weights else (layer.scale, layer.bias)
            self._add_param([size], "bn_scale", number, scale)
            self._add_param([size], "bn_shift", number, shift)
            if distill_bn_stats:
                _started(self, "_hyper_shapes_distilled").extend([[size], [size]])

    def _add_fc_layers(
        self,
        in_sizes: Sequence[int],
        out_sizes: Sequence[int],
        no_weights: bool,
        fc_layers: Sequence[int] | None = None,
    ) -> None:
        """Append fully connected layers with weight ``[out, in]`` and, if ``_has_bias``, bias ``[out]``.

        Args:
            in_sizes: Number of inputs per layer.
            out_sizes: Number of outputs per layer.
            no_weights: Whether the tensors are external.
            fc_layers: Number ``layer`` of each in ``param_shapes_meta`` (default: unknown).
        """
        for i, (fan_in, fan_out) in enumerate(zip(in_sizes, out_sizes, strict=True)):
            number = -1 if fc_layers is None else fc_layers[i]
            weight = None if no_weights else nn.Parameter(Tensor(fan_out, fan_in))
            bias = nn.Parameter(Tensor(fan_out)) if self._has_bias and not no_weights else None
            if weight is not None:
                init_params(weight, bias)
                self._layer_weight_tensors.append(weight)  # type: ignore[union-attr]
            self._add_param([fan_out, fan_in], "weight", number, weight)
            if self._has_bias:
                self._add_param([fan_out], "bias", number, bias)
            if bias is not None:
                self._layer_bias_vectors.append(bias)  # type: ignore[union-attr]

    @staticmethod
    def _parse_context_mod_args(cm_kwargs: dict[str, Any]) -> list[str]:
        """Fill missing context-modulation arguments with the defaults of ``MLP``.

        Args:
            cm_kwargs: Keyword arguments of a network; completed in place.

        Returns:
            The keys that are not arguments of ``MLP.__init__``.
        """
        from hypnettorch.mnets.mlp import MLP

        defaults = {name: p.default for name, p in inspect.signature(MLP.__init__).parameters.items()}
        for name, default in defaults.items():
            if "context_mod" in name:
                cm_kwargs.setdefault(name, default)
        return [name for name in cm_kwargs if name not in defaults]


def _started(owner: Any, name: str) -> list[Any]:
    """The list of this name, created if it is not there yet."""
    if getattr(owner, name) is None:
        setattr(owner, name, [])
    started: list[Any] = getattr(owner, name)
    return started


def _rename_loaded_state(module: Any, state_dict: dict[str, Any], prefix: str) -> None:
    module._rename_loaded_state(state_dict, prefix)
