"""The base of the main networks: declare parameters and stages, write the equation, get the interface."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.old_table import ParameterTable
from hypnettorch.layers.batchnorm_layer import BatchNormLayer
from hypnettorch.layers.context_mod_layer import ContextModLayer
from hypnettorch.mnets.batched import set_conditions
from hypnettorch.mnets.old_network import Network, equation_is_current
from hypnettorch.mnets.old_stages import Modulation, Norm


class MainNetwork(Network):
    """A main network, given by its declaration and its equation.

    A subclass declares stages in its constructor, calls ``_publish()``, and implements :meth:`_compute`, the equation.
    ``forward`` resolves the weights and evaluates it; ``batched_forward`` evaluates the same equation with one
    dimension more.
    """

    _condition_keys: tuple[str, ...] = ("bn_stats_id",)
    """What a plain ``condition`` stands for: keys of the dictionary."""

    @abstractmethod
    def _compute(self, *args: Any, **options: Any) -> Any:
        """The equation of the network ``(x, run)``, for one weight set or for many (``run.sets``).

        A subclass names the options of its ``forward`` that other networks do not have.
        """

    def _prepare_input(self, x: Tensor, sets: int | None) -> Tensor:
        """Check and reshape the input of ``forward``."""
        return x

    def forward(
        self,
        x: Tensor,
        weights: Any = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: int | Mapping[str, int] | None = None,
    ) -> Any:
        """Compute the output of the network.

        Args:
            x: The input ``[N, ...]``.
            weights: External weights: the first list that fits of ``hyper_shapes_learned``, the context-modulation
                tensors (optionally ``[N, *shape]``, one modulation per sample) and ``param_shapes``; or a dictionary
                with the keys ``internal_weights`` and/or ``mod_weights``; or the flat ``hyper_shapes_learned``.
            distilled_params: Running means and variances ``[mean, var, mean, var, ...]`` that replace those of the
                batch norm layers.
            condition: Id of the batch norm statistics, or a dictionary with the keys ``bn_stats_id`` and/or
                ``cmod_ckpt_id`` (checkpointed modulation). Ignored where nothing depends on it.

        Returns:
            The output of the network.

        Raises:
            ValueError: If the input, the weights or the distilled tensors have the wrong shape, or external weights
                are missing.
            TypeError: If an argument has the wrong type.
        """
        return self._evaluate(x, weights, distilled_params, condition)

    def _evaluate(self, x: Tensor, weights: Any, distilled_params: Any, condition: Any, **options: Any) -> Any:
        """Resolve the arguments of ``forward`` and compute; ``options`` are those of the equation."""
        checks.tensor("x", x)
        resolved = self._resolve_weights(weights)
        stats_id, ckpt_id = self._parse_condition(condition)
        run = self._start_run(resolved, stats_id, ckpt_id, self._check_distilled(distilled_params))
        return self._compute(self._prepare_input(x, None), run, **options)

    def batched_forward(
        self,
        x: Tensor,
        weights: Any,
        share_input: bool = False,
        condition: int | Sequence[int] | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Evaluate the network with ``B`` weight sets in one pass of batched products.

        See :meth:`hypnettorch.mnets.mnet_interface.MainNetInterface.batched_forward`. Batch norm in training mode
        normalises each set by itself; set ``b`` updates the statistics ``condition[b]``, and sets that share statistics
        update them one after the other.

        Example:
            >>> from hypnettorch.mnets import MLP
            >>> net = MLP(n_in=4, n_out=2, no_weights=True, verbose=False)
            >>> weights = [torch.randn(3, *shape) for shape in net.hyper_shapes_learned]
            >>> net.batched_forward(torch.randn(3, 5, 4), weights).shape
            torch.Size([3, 5, 2])
        """
        if not equation_is_current(type(self), "_compute"):
            return super().batched_forward(x, weights, share_input, condition, distilled_params, **kwargs)
        checks.tensor("x", x)
        resolved = self._resolve_weights(weights, stacked=True)
        sets: int = resolved.sets  # type: ignore[assignment]
        if share_input:
            x = x.expand(sets, *x.shape)
        elif x.dim() == 0 or x.shape[0] != sets:
            checks.fail("x", f"a leading dimension of {sets} weight sets", f"shape {tuple(x.shape)}")
        stats_id, ckpt_id = self._parse_condition(condition, sets)
        run = self._start_run(resolved, stats_id, ckpt_id, self._check_distilled(distilled_params, sets))
        return self._compute(self._prepare_input(x, sets), run, **kwargs)

    def _parse_condition(self, condition: Any, sets: int | None = None) -> list[Any]:
        """Ids of batch norm statistics and of checkpointed modulation, each one per weight set if there are many."""
        if condition is None:
            return [None, None]
        known = ("bn_stats_id", "cmod_ckpt_id")
        ids = condition if isinstance(condition, Mapping) else dict.fromkeys(self._condition_keys, condition)
        if not ids or set(ids) - set(known):
            checks.fail("condition", f"a dictionary with some of the keys {list(known)}", f"keys {list(ids)}")
        return [self._parse_id(ids.get(key), sets) for key in known]

    @staticmethod
    def _parse_id(value: Any, sets: int | None) -> Any:
        if value is None:
            return None
        return checks.integer("condition", value, 0) if sets is None else set_conditions(value, sets)

    def distillation_targets(self) -> list[Tensor] | None:
        """The latest running statistics ``[mean, var, mean, var, ...]``; ``None`` unless they are to be distilled."""
        if self._hyper_shapes_distilled is None:
            return None
        return [stat for layer in self._batchnorm_layers or () for stat in layer.get_stats()]  # type: ignore[operator]

    def _check_distilled(
        self, distilled_params: Sequence[Tensor] | None, sets: int | None = None
    ) -> Sequence[Tensor] | None:
        if distilled_params is None:
            return None
        if self._hyper_shapes_distilled is None:
            checks.fail("distilled_params", "None, since the network was built without distilled statistics", "tensors")
        checks.length("distilled_params", distilled_params, len(self._hyper_shapes_distilled))
        lead = [] if sets is None else [sets]
        for i, (param, shape) in enumerate(zip(distilled_params, self._hyper_shapes_distilled, strict=True)):
            checks.shape(("distilled_params", i), param, lead + shape)
        return distilled_params

    def _norm_stage(self, table: ParameterTable, size: int, external: bool, track: bool, distill: bool) -> Norm:
        """A batch norm layer of this network, with its statistics."""
        if self._batchnorm_layers is None:
            self._batchnorm_layers = nn.ModuleList()
        layer = BatchNormLayer(size, affine=not external, track_running_stats=track)
        self._batchnorm_layers.append(layer)
        if distill:
            self._hyper_shapes_distilled = [*(self._hyper_shapes_distilled or []), [size], [size]]
        return Norm(table, layer, len(self._batchnorm_layers) - 1, external)

    def _modulation_stage(
        self, table: ParameterTable, shape: Sequence[int], external: bool, offset: bool, softplus: bool
    ) -> Modulation:
        """A context-modulation layer of this network."""
        if self._context_mod_layers is None:
            self._context_mod_layers = nn.ModuleList()
        layer = ContextModLayer(
            list(shape), no_weights=external, apply_gain_offset=offset, apply_gain_softplus=softplus
        )
        self._context_mod_layers.append(layer)
        return Modulation(table, layer, external)

    def _load_init_weights(self, init_weights: Sequence[Tensor] | None) -> None:
        """Overwrite the internal parameters by the constructor argument ``init_weights``."""
        if init_weights is None:
            return
        if not self._internal_params:
            checks.fail("init_weights", "None, since no parameter is internal", f"{len(init_weights)} tensors")
        checks.length("init_weights", init_weights, len(self._internal_params))
        for i, (param, new) in enumerate(zip(self._internal_params, init_weights, strict=True)):
            checks.shape(("init_weights", i), new, param.shape)
        self.overwrite_internal_params(init_weights)
