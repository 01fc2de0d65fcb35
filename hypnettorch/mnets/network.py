"""The base of all networks: tensors with names, an equation, and everything that can be asked about both.

A network declares its tensors in the constructor, in the order in which it uses them, and computes with the values of
one evaluation. All that the interface promises is read off the table: shapes and roles, which tensors come from
outside, forms of ``weights=``, many weight sets at once, files.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, formats, lending, memory, old_files
from hypnettorch.core.table import MODULATION, Row, Table, order_of, values_of
from hypnettorch.core.values import Stacked, Values, check_sets, count_sets, resolve
from hypnettorch.layers.batchnorm_layer import BatchNormLayer
from hypnettorch.layers.context_mod_layer import ContextModLayer
from hypnettorch.layers.stages import Affine, Linear, Modulation, Norm
from hypnettorch.mnets.batched import batched_by_vmap, set_conditions

Shapes = list[list[int]]
Fill = Callable[[Tensor], Any]
"""Initialises a tensor in place."""

AnyAffine = TypeVar("AnyAffine", bound=Affine)

STATS, CKPT = "bn_stats_id", "cmod_ckpt_id"
"""What a condition can select: keys of the dictionary."""


class Group(nn.Module):
    """Tensors, or groups of them, that belong together; their numbers or names are those in the name of a tensor."""

    def __getitem__(self, key: int | str) -> Any:
        """The member of this number or name."""
        return getattr(self, str(key))


class Network(nn.Module):
    """A network, given by its declaration and its equation.

    A subclass declares what it has by :meth:`linear`, :meth:`affine`, :meth:`norm`, :meth:`modulation`,
    :meth:`declare` and :meth:`include`, and implements :meth:`compute`, the equation. Names have at least one dot; they
    are the keys of ``state_dict()``.

    Attributes:
        table: Its tensors.
        condition_keys: What a plain ``condition`` stands for: keys of the dictionary.
        first_children: Submodules whose parameters come first in ``parameters()``, which otherwise are in the order of
            the table: so they stood in files of optimisers of earlier versions.
    """

    condition_keys: tuple[str, ...] = (STATS,)
    _call: Any = None  # what a block of `using` gives to a call
    first_children: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.table = Table()
        self._norms: list[tuple[str, BatchNormLayer]] = []
        self._modulations: list[tuple[str, ContextModLayer]] = []
        self._distilled: list[int] = []
        self._parts: dict[str, tuple[int, int | None, Mapping[str, Any]]] = {}
        self._has_bias: bool | None = None
        self._has_fc_out: bool | None = None
        self._mask_fc_out: bool | None = None
        self._has_linear_out: bool | None = None
        self.register_load_state_dict_pre_hook(old_files.rename)

    # ------------------------------------------------------------------------------------------- declaration

    def declare(
        self,
        name: str,
        shape: Sequence[int],
        role: str | None = None,
        layer: int = -1,
        *,
        init: Fill | None = None,
        value: nn.Parameter | None = None,
        external: bool = False,
        block: int = 0,
        order: tuple[int, ...] | None = None,
        start: tuple[float, float] | None = None,
        **meta: Any,
    ) -> str:
        """Declare one tensor.

        Args:
            name: Its name, as ``'layers.0.weight'``.
            shape: Its shape.
            role: What it is for (``name`` in ``param_shapes_meta``).
            layer: Number of its layer (:meth:`Table.next_layer <hypnettorch.core.table.Table.next_layer>`).
            init: Fills a new parameter in place (default: zeros).
            value: The parameter, if it exists already.
            external: Whether it must be passed to ``forward``.
            block: Blocks stand one after the other in the documented order.
            order: The place in that order, if block and role do not say it.
            start: Mean and variance with which such a tensor starts.
            **meta: Further entries in ``param_shapes_meta``.

        Returns:
            The name.

        Raises:
            ValueError: If the name has no dot, or is taken.
        """
        owner, key = (None, "") if external else self._place(name)
        if owner is not None:
            if value is None:
                value = nn.Parameter(self._like().new_zeros(tuple(shape)))
                if init is not None:
                    with torch.no_grad():
                        init(value)
            owner.register_parameter(key, value)
        place = order or order_of(block, role)
        self._extend([Row(name, tuple(shape), role, layer, owner, key, order=place, meta=meta, start=start)])
        return name

    def linear(self, name: str, fan_in: int, fan_out: int, bias: bool = True, **options: Any) -> Linear:
        """Declare a linear map ``W x + b``.

        Args:
            name: Name of the layer.
            fan_in: Number of inputs.
            fan_out: Number of outputs.
            bias: Whether there is a bias.
            **options: ``spectral_norm``, and options of :meth:`affine`.
        """
        spectral_norm = options.pop("spectral_norm", False)
        return self.affine(Linear(name, fan_in, fan_out, bias, spectral_norm=spectral_norm), **options)

    def affine(
        self,
        stage: AnyAffine,
        external: bool = False,
        block: int = 0,
        layer: int | None = None,
        init: Fill | None = None,
        of_weight: Mapping[str, Any] | None = None,
        **meta: Any,
    ) -> AnyAffine:
        """Declare the tensors of a stage with weight and bias.

        Args:
            stage: The stage; it becomes the submodule of its name.
            external: Whether weight and bias must be passed to ``forward``.
            block: See :meth:`declare`.
            layer: Number of the layer (default: the next one).
            init: Fills both tensors (default: U(-a, a) with ``a = 1 / √fan_in``).
            of_weight: Options of :meth:`declare` for the weight alone, as ``init`` and ``start``, or entries in
                ``param_shapes_meta``, as ``fan_in`` and ``fan_out``.
            **meta: Entries of both there.
        """
        number = self.table.next_layer() if layer is None else layer
        self.register_part(stage.name, stage)
        bound = stage.fan_in**-0.5 if stage.fan_in else 0.0
        options: dict[str, Any] = {"external": external, "block": block, "start": (0.0, bound**2 / 3)}
        options["init"] = init or (lambda tensor: tensor.uniform_(-bound, bound))
        special = {**options, **(of_weight or {}), **meta}
        self.declare(stage.weight_name, stage.weight_shape, "weight", number, **special)
        if stage.bias_shape is not None:
            self.declare(stage.bias_name, stage.bias_shape, "bias", number, **options, **meta)
        return stage

    def norm(
        self, name: str, size: int, external: bool = False, track: bool = True, distill: bool = False, block: int = 0
    ) -> Norm:
        """Declare a batch norm layer.

        Args:
            name: Name of the layer; its tensors are ``<name>.scale`` and ``<name>.bias``.
            size: Number of features.
            external: Whether scale and shift must be passed to ``forward``.
            track: Whether it keeps running statistics.
            distill: Whether these are to be distilled (:attr:`hyper_shapes_distilled`).
            block: See :meth:`declare`.
        """
        if distill and not track:
            checks.fail("distill_bn_stats", "bn_track_stats=True to distil running statistics", "bn_track_stats=False")
        layer = BatchNormLayer(size, affine=not external, track_running_stats=track)
        self.register_part(name, layer)
        self._norms.append((name, layer))
        if distill:
            self._distilled.append(size)
        number = self.table.next_layer()
        options: dict[str, Any] = {"external": external, "block": block}
        self.declare(f"{name}.scale", [size], "bn_scale", number, value=layer.scale, start=(1.0, 0.0), **options)
        self.declare(f"{name}.bias", [size], "bn_shift", number, value=layer.bias, start=(0.0, 0.0), **options)
        return Norm(name, layer)

    def modulation(
        self,
        name: str,
        shape: Sequence[int],
        external: bool = False,
        offset: bool = False,
        softplus: bool = False,
        layer: int | None = None,
    ) -> Modulation:
        """Declare a context-modulation layer.

        Args:
            name: Name of the layer; its tensors are ``<name>.gain`` and ``<name>.shift``.
            shape: Shape of both.
            external: Whether they must be passed to ``forward``.
            offset: Whether gains are relative to 1.
            softplus: Whether gains pass through a softplus.
            layer: Number of the layer (default: the next one).
        """
        modulating = ContextModLayer(shape, external, apply_gain_offset=offset, apply_gain_softplus=softplus)
        self.register_part(name, modulating)
        self._modulations.append((name, modulating))
        number = self.table.next_layer() if layer is None else layer
        neutral = modulating.neutral_gain
        options: dict[str, Any] = {"external": external}
        self.declare(f"{name}.gain", shape, "cm_scale", number, value=modulating.gain, start=(neutral, 0.0), **options)
        self.declare(f"{name}.shift", shape, "cm_shift", number, value=modulating.shift, start=(0.0, 0.0), **options)
        return Modulation(name, modulating)

    def include(self, name: str, network: Any, block: int = 0, numbered: bool = True, **meta: Any) -> None:
        """Make another network a part of this one, with its tensors.

        Args:
            name: Name of the part.
            network: The network.
            block: Where its rows stand.
            numbered: Whether its layers continue the numbers of this network's layers; otherwise they have none.
            **meta: Further entries of its rows in ``param_shapes_meta``.
        """
        self.register_part(name, network)
        self._parts[name] = (block, self.table.num_layers if numbered else None, meta)
        inside = network.__dict__
        self._norms += [(f"{name}.{inner}", layer) for inner, layer in inside.get("_norms", ())]
        self._modulations += [(f"{name}.{inner}", layer) for inner, layer in inside.get("_modulations", ())]
        self._distilled += inside.get("_distilled", ())
        self._extend([self._row_of_part(name, row) for row in network.table.rows])

    def _row_of_part(self, name: str, row: Row) -> Row:
        """A row of a part as a row of this network."""
        block, first_layer, meta = self._parts[name]
        return row.inside(name, block, first_layer, meta)

    def _extend(self, rows: Sequence[Row]) -> None:
        self.table.extend(rows)
        self.__dict__.pop("_views", None)
        memory.keep_blocks_of((row.shape, row.value()) for row in rows[:64])
        self._sort_children()

    def _like(self) -> Tensor:
        """A tensor of the type and on the device that new parameters should have."""
        held = next((row for row in self.table.rows if row.owner is not None), None)
        return torch.empty(0) if held is None else held.value()

    def _place(self, name: str) -> tuple[nn.Module, str]:
        """The module that is to hold a tensor, made if there is none, and the key."""
        path, _, key = name.rpartition(".")
        if not path:
            checks.fail("name", "a name with a dot, as 'layers.0.weight'", repr(name))
        return self._descend(path, Group, name), key

    def register_part(self, name: str, module: nn.Module) -> None:
        """Make a module the submodule of a name."""
        path, _, key = name.rpartition(".")
        owner = self._descend(path, nn.ModuleList, name)
        if owner._modules.get(key) is not module:
            _add(owner, key, module, name)

    def _descend(self, path: str, kind: Callable[[], nn.Module], name: str) -> nn.Module:
        """The submodule of a path; those that are missing on the way there are made."""
        owner: nn.Module = self
        for child in path.split(".") if path else ():
            if child not in owner._modules:
                _add(owner, child, kind(), name)
            owner = owner._modules[child]  # type: ignore[assignment]
        return owner

    def _sort_children(self) -> None:
        """Let ``parameters()`` be in the order of the table."""
        first = {name: position - len(self.first_children) for position, name in enumerate(self.first_children)}
        for position, row in enumerate(self.table.rows):
            first.setdefault(row.name.partition(".")[0], position)
        names = sorted(self._modules, key=lambda name: first.get(name, -len(first)))
        if names != list(self._modules):
            for name in names:
                self._modules[name] = self._modules.pop(name)

    # ------------------------------------------------------------------------------------------- evaluation

    def compute(self, x: Any, values: Values) -> Any:
        """The equation of the network, for one weight set or for many (``values.sets``).

        Args:
            x: What :meth:`prepare` made of the input.
            values: The tensors by name.

        Returns:
            The output of ``forward``.
        """
        raise NotImplementedError(f"{type(self).__name__} implements neither compute nor forward")

    def prepare(self, x: Tensor, sets: int | None) -> Any:
        """Check and reshape the input of ``forward``, ``[N, ...]``; of many weight sets ``[B, N, ...]``."""
        checks.tensor("x", x)
        return x

    def forward(
        self,
        x: Tensor,
        weights: Any = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: int | Mapping[str, int] | None = None,
        **options: Any,
    ) -> Any:
        """Compute the output of the network.

        Args:
            x: The input ``[N, ...]``.
            weights: External weights: a dictionary of tensors by name (:attr:`param_names`); the first list that fits
                of ``hyper_shapes_learned``, the context-modulation tensors (optionally ``[N, *shape]``, one modulation
                per sample) and ``param_shapes``; a dictionary of such lists with the keys ``internal_weights`` and/or
                ``mod_weights``; or the flat ``hyper_shapes_learned``. What is not given is that of the network.
            distilled_params: Running means and variances ``[mean, var, mean, var, ...]`` that replace those of the
                batch norm layers.
            condition: Id of the batch norm statistics, or a dictionary with the keys ``bn_stats_id`` and/or
                ``cmod_ckpt_id`` (checkpointed modulation). Ignored where nothing depends on it.
            **options: Options of the equation, where a class has some.

        Returns:
            The output of the network.

        Raises:
            ValueError: If the input, the weights or the distilled tensors have the wrong shape, or external weights
                are missing.
            TypeError: If an argument has the wrong type.
        """
        if weights is None and self._call is not None:
            weights, condition = self.lent(condition)
        if type(weights) is Stacked:
            stacked, share_input = weights.weights, weights.share_input
            ids: Any = condition
            return self.batched_forward(x, stacked, share_input, ids, distilled_params, **options)
        prepared = self.prepare(x, None)
        return self.compute(prepared, self.evaluation(weights, distilled_params, condition, x), **options)

    def batched_forward(
        self,
        x: Tensor,
        weights: Any,
        share_input: bool = False,
        condition: int | Sequence[int] | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        **options: Any,
    ) -> Any:
        """Evaluate the network with ``B`` weight sets in one pass of batched products.

        Batch norm in training mode normalises each set by itself; set ``b`` updates the statistics ``condition[b]``,
        and sets that share statistics update them one after the other. A class that implements ``forward`` by itself
        has it mapped by ``torch.func.vmap``.

        Args:
            x: The input of ``forward`` with a leading dimension: ``[B, N, ...]``; with ``share_input`` without it.
            weights: As for ``forward``, each tensor ``[B, *shape]``.
            share_input: Whether all sets see the same input.
            condition: One condition, or ``B`` of them.
            distilled_params: As for ``forward``, each tensor ``[B, *shape]``.
            **options: As for ``forward``.

        Returns:
            What ``forward`` returns with a leading ``B`` on every tensor, equal to a loop over the sets.

        Raises:
            ValueError: If the number of sets differs between arguments.

        Example:
            >>> from hypnettorch.mnets import MLP
            >>> net = MLP(n_in=4, n_out=2, no_weights=True, verbose=False)
            >>> weights = [torch.randn(3, *shape) for shape in net.hyper_shapes_learned]
            >>> net.batched_forward(torch.randn(3, 5, 4), weights).shape
            torch.Size([3, 5, 2])
        """
        if not computes(type(self)):
            return batched_by_vmap(self, x, weights, share_input, condition, distilled_params, **options)
        if not isinstance(x, Tensor):
            checks.tensor("x", x)
        values = self.evaluation(weights, distilled_params, condition, x, stacked=True)
        sets: int = values.sets  # type: ignore[assignment]
        if share_input:
            x = x.expand(sets, *x.shape)
        else:
            check_sets("x", x, sets)
        return self.compute(self.prepare(x, sets), values, **options)

    def evaluation(
        self, weights: Any, distilled_params: Any, condition: Any, x: Any = None, stacked: bool = False
    ) -> Values:
        """Read the arguments of ``forward`` that are not the input.

        Args:
            weights: See :meth:`forward`.
            distilled_params: See :meth:`forward`.
            condition: See :meth:`forward`.
            x: The input, with whose dtype passed weights have to agree.
            stacked: Whether passed tensors have a leading dimension of weight sets.

        Raises:
            ValueError: If something does not fit or is missing.
            TypeError: If an argument has the wrong type.
        """
        tensors, given = resolve(self.table, weights, self, stacked, x)
        exact = given is tensors  # a list of what is needed, checked as a whole
        if not exact:
            self.check_complete(tensors, weights)
        sets = None if not stacked else weights[0].shape[0] if exact else count_sets(list(given.values()))
        values = Values(tensors, given, sets)
        if condition is not None:
            values.stats_id, values.ckpt_id = self._parse_condition(condition, values.sets)
        if distilled_params is not None:
            values.statistics = self._parse_distilled(distilled_params, values.sets)
        return values

    def check_complete(self, tensors: Mapping[str, Any], weights: Any = None) -> None:
        """Raise unless there is a tensor for every external row that does not belong to a single condition."""
        for name in self.table.required:
            if name not in tensors:
                own = [key for key, rows in self.parts.items() if any(row.name == name for row in rows)]
                got = "None" if weights is None else "only other tensors"
                expected = f"the external tensors (hyper_shapes_learned, or a dictionary with key '{own[0]}')"
                checks.fail("weights", expected, got)

    def _parse_condition(self, condition: Any, sets: int | None) -> list[Any]:
        """Ids of batch norm statistics and of checkpointed modulation, each one per weight set if there are many."""
        known = (STATS, CKPT)
        ids = condition if isinstance(condition, Mapping) else dict.fromkeys(self.condition_keys, condition)
        if not ids or set(ids) - set(known):
            checks.fail("condition", f"a dictionary with some of the keys {list(known)}", f"keys {list(ids)}")
        return [_parse_id(ids.get(key), sets) for key in known]

    def _parse_distilled(self, distilled: Any, sets: int | None) -> Mapping[str, tuple[Tensor, Tensor]]:
        shapes = self.hyper_shapes_distilled
        if shapes is None:
            checks.fail("distilled_params", "None, since the network was built without distilled statistics", "tensors")
        lead = [] if sets is None else [sets]
        checks.tensors("distilled_params", distilled, [lead + shape for shape in shapes])
        pairs = zip(distilled[::2], distilled[1::2], strict=True)
        return {name: pair for (name, _), pair in zip(self._norms, pairs, strict=True)}

    def distillation_targets(self) -> list[Tensor] | None:
        """The latest running statistics ``[mean, var, mean, var, ...]``; ``None`` unless they are to be distilled."""
        if self.hyper_shapes_distilled is None:
            return None
        return [stat for _, layer in self._norms for stat in layer.get_stats()]

    # ------------------------------------------------------------------------------------------- forms of weights

    @property
    def lists(self) -> Mapping[str, Sequence[Row]]:
        """The lists that ``weights`` may be, by what they are called: the first that fits counts."""
        table = self.table
        lists = {"hyper_shapes_learned": table.learned, "context-modulation tensors": table.modulation}
        return {**{name: rows for name, rows in lists.items() if rows}, "param_shapes": table.rows}

    @property
    def parts(self) -> Mapping[str, Sequence[Row]]:
        """The keys that a dictionary ``weights`` may have besides names, and the rows that each stands for."""
        parts = {"internal_weights": [row for row in self.table.rows if row.role not in MODULATION]}
        return {**parts, "mod_weights": self.table.modulation} if self.table.modulation else parts

    # ------------------------------------------------------------------------------------------- what can be asked

    @property
    def param_names(self) -> list[str]:
        """Names of all tensors, parallel to :attr:`param_shapes`: keys of ``state_dict()`` where they are internal."""
        return [row.name for row in self.table.rows]

    @property
    def param_shapes(self) -> Shapes:
        """Shapes of all parameter tensors, wherever their values come from."""
        return [list(row.shape) for row in self.table.rows]

    @property
    def param_shapes_meta(self) -> list[dict[str, Any]]:
        """One dictionary per entry of :attr:`param_shapes`.

        Keys: ``name`` (``weight``, ``bias``, ``bn_scale``, ``bn_shift``, ``cm_scale``, ``cm_shift``, ``embedding`` or
        ``None``), ``index`` (position in :attr:`internal_params`, or ``-1``), ``layer`` (equal for tensors of one
        layer, ``-1`` if unknown). Networks may add keys.
        """
        numbers = itertools.count()
        return [
            {**row.meta, "name": row.role, "index": -1 if row.external else next(numbers), "layer": row.layer}
            for row in self.table.rows
        ]

    @property
    def internal_params(self) -> nn.ParameterList | None:
        """Tensors owned by the network: what goes to the optimiser."""
        return self._view("internal", values_of(self.table.internal()))

    def initial_weights(self) -> list[Tensor]:
        """Its own values, parallel to ``internal_params``; not copies."""
        return [param.detach() for param in values_of(self.table.internal())]

    @property
    def internal_params_ref(self) -> list[int] | None:
        """Position in :attr:`param_shapes` of every tensor in :attr:`internal_params`."""
        return [i for i, row in enumerate(self.table.rows) if row.owner is not None]

    @property
    def hyper_shapes_learned(self) -> Shapes | None:
        """Shapes of the tensors that must be passed as ``weights=``; ``None`` if all are internal."""
        return [list(row.shape) for row in self.table.learned] or None

    @property
    def hyper_shapes_learned_ref(self) -> list[int] | None:
        """Position in :attr:`param_shapes` of every entry of :attr:`hyper_shapes_learned`."""
        refs = [i for i, row in enumerate(self.table.rows) if row.owner is None]
        return None if self.hyper_shapes_learned is None else refs

    @property
    def hyper_shapes_learned_meta(self) -> list[dict[str, Any]] | None:
        """The entry of :attr:`param_shapes_meta` of every entry of :attr:`hyper_shapes_learned`."""
        refs, metas = self.hyper_shapes_learned_ref, self.param_shapes_meta
        return None if refs is None else [metas[i] for i in refs]

    @property
    def hyper_shapes_distilled(self) -> Shapes | None:
        """Shapes of tensors that the network computes and that can be distilled; ``None`` if there are none."""
        return [[size] for size in self._distilled for _ in range(2)] or None

    @property
    def has_bias(self) -> bool:
        """Whether the layers have bias vectors."""
        if self._has_bias is not None:
            return self._has_bias
        roles = [row.role for row in self.table.rows]
        return 0 < roles.count("weight") == roles.count("bias")

    @property
    def has_fc_out(self) -> bool:
        """Whether the output layer is fully connected."""
        return self._ends_linear() if self._has_fc_out is None else self._has_fc_out

    @property
    def mask_fc_out(self) -> bool:
        """Whether output weight and bias are the last entries of :attr:`hyper_shapes_learned` if that is set."""
        return self._ends_linear() if self._mask_fc_out is None else self._mask_fc_out

    @property
    def has_linear_out(self) -> bool:
        """Whether the output layer has no nonlinearity."""
        return self._ends_linear() if self._has_linear_out is None else self._has_linear_out

    def _ends_linear(self) -> bool:
        """Whether the last layer declared is fully connected."""
        rows = self.table.rows
        last = rows[-1] if rows else None
        if last is not None and last.role == "bias" and len(rows) > 1 and rows[-2].layer == last.layer:
            last = rows[-2]
        return last is not None and last.role == "weight" and len(last.shape) == 2

    @property
    def num_params(self) -> int:
        """Number of elements of all parameter tensors, internal or not."""
        return formats.num_elements([row.shape for row in self.table.rows])

    @property
    def num_internal_params(self) -> int:
        """Number of elements of all internal parameter tensors."""
        return formats.num_elements([row.shape for row in self.table.internal()])

    @property
    def layer_weight_tensors(self) -> nn.ParameterList:
        """Internal weight matrices and kernels, in order of the layers; empty if they are external."""
        return self._view("layer_weights", [row.value() for row, _ in self._layer_rows()])

    @property
    def layer_bias_vectors(self) -> nn.ParameterList:
        """Internal biases parallel to :attr:`layer_weight_tensors`: ``None`` for a layer without; empty without any."""
        biases = [None if bias is None else bias.value() for _, bias in self._layer_rows()]
        return self._view("layer_biases", biases if any(bias is not None for bias in biases) else [])

    def _layer_rows(self) -> list[tuple[Row, Row | None]]:
        """The rows of internal weights, each with that of its bias."""
        rows, found = self.table.rows, []
        for row, following in zip(rows, [*rows[1:], None], strict=True):
            if row.role == "weight" and row.owner is not None:
                paired = following is not None and following.role == "bias" and following.layer == row.layer
                found.append((row, following if paired else None))
        return found

    @property
    def batchnorm_layers(self) -> nn.ModuleList | None:
        """Batch norm layers in order of use."""
        return self._view("norms", [layer for _, layer in self._norms], nn.ModuleList) if self._norms else None

    @property
    def context_mod_layers(self) -> nn.ModuleList | None:
        """Context-modulation layers in order of use."""
        layers = [layer for _, layer in self._modulations]
        return self._view("modulations", layers, nn.ModuleList) if layers else None

    @property
    def starts_exactly(self) -> bool:
        """Whether hyperfan gives each tensor its own start also where targets share the weights that produce them."""
        return False

    @property
    def depends_on_condition(self) -> bool:
        """Whether ``condition`` makes a difference: batch norm layers hold more than one set of statistics."""
        return self._norms != [] and any(layer.num_stats > 1 for _, layer in self._norms)

    def _view(self, name: str, members: list[Any], kind: Any = nn.ParameterList) -> Any:
        """A list of tensors or layers that the modules hold; the same object as long as they are the same."""
        views = self.__dict__.setdefault("_views", {})
        known = views.get(name)
        if known is None or len(known) != len(members) or any(a is not b for a, b in zip(known, members, strict=True)):
            known = views[name] = kind(members)
        return known

    # ------------------------------------------------------------------------------------------- helpers

    @staticmethod
    def shapes_to_num_weights(dims: Sequence[Sequence[int]]) -> int:
        """Number of elements of tensors with these shapes.

        Example:
            >>> Network.shapes_to_num_weights([[10, 5], [10]])
            60
        """
        return formats.num_elements(checks.shapes("dims", dims))

    @staticmethod
    def flatten_params(
        params: Any, param_shapes: Sequence[Sequence[int]] | None = None, unflatten: bool = False
    ) -> Any:
        """Concatenate tensors into one vector, or undo that.

        Args:
            params: A list of tensors; with ``unflatten`` the vector ``[n]``.
            param_shapes: Shapes of the tensors, required to undo.
            unflatten: Whether to undo.

        Returns:
            The vector ``[n]``, or a list of views of it.

        Raises:
            ValueError: If shapes are missing or do not fit.
        """
        if not unflatten:
            for i, param in enumerate(params):
                checks.tensor(("params", i), param)
            return torch.cat([param.flatten() for param in params]) if len(params) else torch.empty(0)
        if param_shapes is None:
            checks.fail("param_shapes", "the shapes into which to cut the vector", None)
        checks.tensor("params", params)
        checks.shape("params", params, [formats.num_elements(param_shapes)])
        return formats.unflatten(params, param_shapes)

    def overwrite_internal_params(self, new_params: Sequence[Tensor]) -> None:
        """Copy values into :attr:`internal_params`.

        Args:
            new_params: Tensors of the same number and shapes.

        Raises:
            ValueError: If number or shapes differ.
        """
        self._overwrite("new_params", new_params)

    def _overwrite(self, name: str, new_params: Sequence[Tensor]) -> None:
        own = list(self.internal_params or ())
        checks.tensors(name, new_params, [param.shape for param in own])
        with torch.no_grad():
            for param, new in zip(own, new_params, strict=True):
                param.copy_(new)

    def load_init_weights(self, init_weights: Sequence[Tensor] | None) -> None:
        """Overwrite the internal parameters by the constructor argument ``init_weights``."""
        if init_weights is None:
            return
        if not self.internal_params:
            checks.fail("init_weights", "None, since no parameter is internal", f"{len(init_weights)} tensors")
        self._overwrite("init_weights", init_weights)

    def custom_init(self, normal_init: bool = False, normal_std: float = 0.02, zero_bias: bool = True) -> None:
        """Initialise layer weights and biases; embeddings, batch norm and modulation stay as they are.

        Args:
            normal_init: Draw weights from ``N(0, normal_std²)`` instead of Xavier-uniform.
            normal_std: Standard deviation.
            zero_bias: Set biases to 0.
        """
        checks.number("normal_std", normal_std, 0)
        draw = partial(nn.init.normal_, std=normal_std) if normal_init else nn.init.xavier_uniform_
        for weight in self.layer_weight_tensors:
            draw(weight)
        for bias in self.layer_bias_vectors if zero_bias else ():
            if bias is not None:
                nn.init.zeros_(bias)

    def get_output_weight_mask(
        self, out_inds: Sequence[int] | None = None, device: torch.device | str | None = None
    ) -> list[Tensor | None]:
        """Masks that select the output weights of some output units.

        Args:
            out_inds: Output units; all of them by default.
            device: Where the masks live.

        Returns:
            A list parallel to :attr:`param_shapes`: ``None``, except for boolean masks of weight ``[out, in]`` (rows
            ``out_inds``) and bias ``[out]`` of the output layer, which are the last ones.

        Raises:
            NotImplementedError: Unless :attr:`has_fc_out` and :attr:`mask_fc_out` hold.
            ValueError: If a unit does not exist.
        """
        if not (self.has_fc_out and self.mask_fc_out):
            raise NotImplementedError(f"{type(self).__name__} has no fully connected output layer that can be masked")
        shapes, positions = self.param_shapes, self.output_positions()
        num_out = shapes[positions[0]][0]
        units = range(num_out) if out_inds is None else checks.integers("out_inds", out_inds, 0)
        for i, unit in enumerate(units):
            checks.integer(("out_inds", i), unit, 0, num_out - 1)
        masks: list[Tensor | None] = [None] * len(shapes)
        for position in positions:
            mask = torch.zeros(shapes[position], dtype=torch.bool, device=device)
            mask[list(units)] = True
            masks[position] = mask
        return masks

    def output_positions(self) -> list[int]:
        """Positions of weight and bias of the output layer in ``param_shapes``: the last ones."""
        rows = self.table.rows
        last = len(rows) - 1
        return [last - 1, last] if rows[last].role == "bias" else [last]

    # ------------------------------------------------------------------------------------------- given weights

    @contextmanager
    def using(self, weights: Any, condition: Any = None) -> Iterator[Callable[..., Any]]:
        """Let the network compute with these weights within a block, where it is called without any.

        Blocks nest, and threads, tasks and backward passes see theirs, as those of
        :meth:`ModuleNet.using <hypnettorch.mnets.module_net.ModuleNet.using>` do.

        Args:
            weights: As for :meth:`forward`, or as for :meth:`batched_forward`.
            condition: As for :meth:`forward`.

        Returns:
            A context manager that gives a function of the other arguments of :meth:`forward`, which has these weights
            after the block, too, and of a class that implements :meth:`forward` by itself is the only one to have them.

        Raises:
            ValueError: If weights are missing or do not fit.

        Example:
            >>> from hypnettorch.mnets import MLP
            >>> net = MLP(n_in=4, n_out=2, no_weights=True, verbose=False)
            >>> with net.using([torch.ones(*shape) for shape in net.hyper_shapes_learned]):
            ...     net(torch.zeros(5, 4)).shape
            torch.Size([5, 2])
        """
        single = self._read(weights).sets is None
        given = {"weights": weights if single else Stacked(weights), "condition": condition}
        if self._call is None:
            self._call = {"given": None}
        with lending.lend([(self, "_call", {"given": given})], self):
            yield partial(self, **given)

    def lent(self, condition: Any) -> tuple[Any, Any]:
        """Weights and condition of a call that has no weights: what the block has in which it stands, if it is in one.

        Args:
            condition: The condition of the call, which comes first.
        """
        given = self._call["given"]
        if given is None:
            return None, condition
        return given["weights"], given["condition"] if condition is None else condition

    def materialize(self, weights: Any) -> Any:
        """An independent network that holds these weights itself.

        Args:
            weights: As for :meth:`forward`, or as for :meth:`batched_forward`.

        Returns:
            A copy of the network in which no tensor is external: deployable, trainable, exportable; a list of copies
            for stacked weights.

        Raises:
            ValueError: If weights are missing or do not fit.
        """
        values = self._read(weights)
        if values.sets is None:
            return self._holding(values.tensors)
        shared = {name: tensor for name, tensor in values.tensors.items() if name not in values.given}
        return [
            self._holding(shared | {name: tensor[b] for name, tensor in values.given.items()})
            for b in range(values.sets)
        ]

    def _read(self, weights: Any) -> Values:
        """Weights of one set, or of many."""
        try:
            return self.evaluation(weights, None, None)
        except ValueError as problem:
            with suppress(ValueError):
                return self.evaluation(weights, None, None, stacked=True)
            raise problem from None

    def _holding(self, tensors: Mapping[str, Any]) -> Network:
        """A copy that holds these tensors."""
        with torch.no_grad():
            plain = copy.deepcopy(self)
            rows = []
            for row in plain.table.rows:
                owner, key = (row.owner, row.key) if row.owner is not None else plain._place(row.name)
                value = tensors.get(row.name)
                if value is not None:
                    owner.register_parameter(key, nn.Parameter(value.detach().clone()))
                rows.append(Row(**{**vars(row), "owner": owner, "key": key}))
            plain.table = Table()
            plain._extend(rows)
        return plain


def _add(owner: nn.Module, key: str, module: nn.Module, name: str) -> None:
    """Register a submodule under a key that no attribute of the owner has."""
    if key in owner._modules or hasattr(owner, key):
        checks.fail("name", f"a name whose part '{key}' is no attribute of {type(owner).__name__}", repr(name))
    owner.add_module(key, module)


def _parse_id(value: Any, sets: int | None) -> Any:
    if value is None:
        return None
    return checks.integer("condition", value, 0) if sets is None else set_conditions(value, sets)


def computes(cls: type, equation: str = "compute") -> bool:
    """Whether no subclass replaced ``forward`` without replacing the method with the equation that it evaluates."""
    for base in cls.__mro__:
        if equation in vars(base):
            return True
        if "forward" in vars(base):
            return False
    return True


def is_network(value: Any) -> bool:
    """Whether a value is a module that describes its parameters by a table."""
    return isinstance(value, nn.Module) and isinstance(getattr(value, "table", None), Table)


def check_network(name: checks.Name, value: Any) -> None:
    """Raise ``TypeError`` unless ``value`` is a network."""
    if not is_network(value):
        remedy = ", of which ModuleNet makes one" if isinstance(value, nn.Module) else ""
        raise TypeError(f"{checks.label(name)}: expected a main network, got {type(value).__name__}{remedy}")
