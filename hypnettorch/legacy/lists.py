"""The protected lists behind a network, and the helpers that append to them.

A class that derives from ``MainNetInterface`` fills the lists by hand and calls ``_is_properly_setup()``, which makes a
table of them. A network of this package has a table from the start, and the lists are views of it, made when they are
first read; a subclass may append to them and call ``_is_properly_setup()`` again, which turns what is new into rows.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks, old_files
from hypnettorch.core.initialisation import init_params
from hypnettorch.core.table import ROLES, Row, Table
from hypnettorch.layers.batchnorm_layer import BatchNormLayer
from hypnettorch.layers.context_mod_layer import ContextModLayer
from hypnettorch.legacy import aliases
from hypnettorch.mnets.mlp import MLP
from hypnettorch.mnets.network import Network, Shapes

LISTS = (
    "_internal_params",
    "_param_shapes",
    "_param_shapes_meta",
    "_hyper_shapes_learned",
    "_hyper_shapes_learned_ref",
    "_hyper_shapes_distilled",
    "_has_bias",
    "_has_fc_out",
    "_mask_fc_out",
    "_has_linear_out",
    "_layer_weight_tensors",
    "_layer_bias_vectors",
    "_batchnorm_layers",
    "_context_mod_layers",
)
"""What a subclass of ``MainNetInterface`` sets."""

OLD_NAMES = {"_all_shapes": "_param_shapes", "_hyper_shapes": "_hyper_shapes_learned", "_weights": "_internal_params"}
"""Names of the first versions."""


class Helpers:
    """Methods that a subclass calls to append to the lists."""

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
            if self._internal_params is None:  # type: ignore[has-type]
                self._internal_params = nn.ParameterList()
            index = len(self._internal_params)
            self._internal_params.append(param)
        _started(self, "_param_shapes").append(list(shape))
        _started(self, "_param_shapes_meta").append({**extra, "name": name, "index": index, "layer": layer})

    def _num_context_mod_shapes(self) -> int:
        """Number of context-modulation tensors."""
        layers: Any = self._context_mod_layers  # type: ignore[attr-defined]
        return sum(len(layer.param_shapes) for layer in layers or ())

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
        layers = _started(self, "_context_mod_layers", nn.ModuleList)
        for i, shape in enumerate(cm_shapes):
            layer = ContextModLayer(
                list(shape),
                no_weights=self._context_mod_no_weights,  # type: ignore[attr-defined]
                apply_gain_offset=self._context_mod_gain_offset,  # type: ignore[attr-defined]
                apply_gain_softplus=self._context_mod_gain_softplus,  # type: ignore[attr-defined]
            )
            layers.append(layer)
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
        layers = _started(self, "_batchnorm_layers", nn.ModuleList)
        for i, size in enumerate(bn_sizes):
            layer = BatchNormLayer(size, affine=not bn_no_weights, track_running_stats=bn_track_stats)
            layers.append(layer)
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
        has_bias: Any = self._has_bias  # type: ignore[attr-defined]
        for i, (fan_in, fan_out) in enumerate(zip(in_sizes, out_sizes, strict=True)):
            number = -1 if fc_layers is None else fc_layers[i]
            weight = None if no_weights else nn.Parameter(Tensor(fan_out, fan_in))
            bias = nn.Parameter(Tensor(fan_out)) if has_bias and not no_weights else None
            if weight is not None:
                init_params(weight, bias)
                self._layer_weight_tensors.append(weight)  # type: ignore[attr-defined]
            self._add_param([fan_out, fan_in], "weight", number, weight)
            if has_bias:
                self._add_param([fan_out], "bias", number, bias)
            if bias is not None:
                self._layer_bias_vectors.append(bias)  # type: ignore[attr-defined]

    @staticmethod
    def _parse_context_mod_args(cm_kwargs: dict[str, Any]) -> list[str]:
        """Fill missing context-modulation arguments with the defaults of ``MLP``.

        Args:
            cm_kwargs: Keyword arguments of a network; completed in place.

        Returns:
            The keys that are not arguments of ``MLP.__init__``.
        """
        defaults = {name: p.default for name, p in inspect.signature(MLP.__init__).parameters.items()}
        for name, default in defaults.items():
            if "context_mod" in name:
                cm_kwargs.setdefault(name, default)
        return [name for name in cm_kwargs if name not in defaults]

    def _rename_loaded_state(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Rename keys of a loaded ``state_dict`` in place, before anything else looks at them."""


def _started(owner: Any, name: str, make: Callable[[], Any] = list) -> Any:
    """The list of this name, created if it is not there yet."""
    if getattr(owner, name) is None:
        setattr(owner, name, make())
    return getattr(owner, name)


# ------------------------------------------------------------------------------------------------- lists to a table


def check_lists(net: Any, check_has_bias: bool) -> None:
    """Raise unless the lists of a class that fills them by hand are complete and agree.

    Raises:
        ValueError: If a list is missing or two of them contradict each other; the message names it.
        TypeError: If one has the wrong type.
    """
    checks.instance("_param_shapes", net._param_shapes, list)
    if net._internal_params is None and net._hyper_shapes_learned is None:
        checks.fail("_internal_params", "internal parameters, or _hyper_shapes_learned to be set", "neither")
    shapes: Shapes = net._param_shapes or []
    if net._hyper_shapes_learned is None and net._hyper_shapes_distilled is None:
        checks.length("_internal_params", net._internal_params, len(shapes))
    for i, ref in enumerate(net._hyper_shapes_learned_ref or ()):
        checks.integer(("_hyper_shapes_learned_ref", i), ref, -1, len(shapes) - 1)
    _check_meta(net)
    for name in ("_has_fc_out", "_mask_fc_out", "_has_linear_out"):
        checks.instance(name, getattr(net, name), bool)
    for name in ("_layer_weight_tensors", "_layer_bias_vectors"):
        checks.instance(name, getattr(net, name), nn.ParameterList)
    if check_has_bias:
        checks.instance("_has_bias", net._has_bias, bool)
        if net._has_bias:
            checks.length("_layer_bias_vectors", net._layer_bias_vectors, len(net._layer_weight_tensors))


def _check_meta(net: Any) -> None:
    if net._param_shapes_meta is None:
        return
    checks.length("_param_shapes_meta", net._param_shapes_meta, len(net._param_shapes or []))
    last = -1 if net._internal_params is None else len(net._internal_params) - 1
    for i, meta in enumerate(net._param_shapes_meta):
        missing = {"name", "index", "layer"} - set(meta)
        if missing:
            checks.fail(("_param_shapes_meta", i), "the keys name, index and layer", sorted(meta))
        checks.one_of(f"_param_shapes_meta[{i}]['name']", meta["name"], ROLES)
        checks.integer(f"_param_shapes_meta[{i}]['index']", meta["index"], -1, last)
        checks.integer(f"_param_shapes_meta[{i}]['layer']", meta["layer"], -1)


def table_of_lists(net: Any) -> Table:
    """The table of a class that filled its lists by hand."""
    places = _places(net)
    params = list(net._internal_params or ())
    metas = net._param_shapes_meta or _indices(net)
    conditions = _conditions(net)
    rows = []
    for position, (shape, meta) in enumerate(zip(net._param_shapes, metas, strict=True)):
        extra = {key: value for key, value in meta.items() if key not in ("name", "index", "layer")}
        param = params[meta["index"]] if meta["index"] >= 0 else None
        owner, key, name = places.get(id(param), (None, "", f"external.{position}"))
        kind, condition = conditions.get(position, (None, None))
        rows.append(
            Row(name, tuple(shape), meta["name"], meta["layer"], owner, key, kind, condition, (position,), extra)
        )
    table = Table()
    table.extend(rows)
    return table


def _places(net: Any) -> dict[int, tuple[nn.Module, str, str]]:
    """Owner, key and name of each parameter; the name is that in the list of all of them, if it has several."""
    places: dict[int, tuple[nn.Module, str, str]] = {}
    for path, module in net.named_modules(remove_duplicate=False):
        for key, param in module._parameters.items():
            if param is not None and (id(param) not in places or path in ("_internal_params", "_weights")):
                places[id(param)] = (module, key, f"{path}.{key}" if path else key)
    return places


def _indices(net: Any) -> list[dict[str, Any]]:
    """A description that says of each tensor only where it is."""
    refs = net._hyper_shapes_learned_ref
    external = range(len(net._param_shapes)) if net._internal_params is None else refs or ()
    index, metas = 0, []
    for position in range(len(net._param_shapes)):
        inside = position not in external and index < len(net._internal_params or ())
        metas.append({"name": None, "index": index if inside else -1, "layer": -1})
        index += inside
    return metas


def _conditions(net: Any) -> dict[int, tuple[str, int]]:
    """Kind and condition of the conditional tensors of a hypernetwork, by position."""
    refs = getattr(net, "_unconditional_param_shapes_ref", None)
    if refs is None:
        return {}
    conditional = [i for i in range(len(net._param_shapes)) if i not in refs]
    if len(conditional) != net._num_known_conds:
        return dict.fromkeys(conditional, ("conditional", -2))
    return {position: ("conditional", condition) for condition, position in enumerate(conditional)}


# ------------------------------------------------------------------------------------------------- a table as lists


class View:
    """A protected list of a network of this package: made when it is first read, the network's own from then on."""

    def __init__(self, name: str, read: Callable[[Any], Any]) -> None:
        self.name = name
        self.read = read

    def __get__(self, net: Any, owner: type | None = None) -> Any:
        """What a subclass put there, else what the table says."""
        if net is None:
            return self
        modules = net.__dict__.get("_modules", {})
        if self.name in modules:
            return modules[self.name]
        if "table" not in net.__dict__:
            return None
        value = self.read(net)
        if value is not None:
            net.__dict__[self.name] = value
        return value


def _learned_ref(net: Any) -> list[int] | None:
    return None if net.hyper_shapes_learned is None else net.hyper_shapes_learned_ref


VIEWS: dict[str, Callable[[Any], Any]] = {
    "_internal_params": lambda net: nn.ParameterList(net.internal_params),
    "_param_shapes": lambda net: net.param_shapes,
    "_param_shapes_meta": lambda net: net.param_shapes_meta,
    "_hyper_shapes_learned": lambda net: net.hyper_shapes_learned,
    "_hyper_shapes_learned_ref": _learned_ref,
    "_hyper_shapes_distilled": lambda net: net.hyper_shapes_distilled,
    "_layer_weight_tensors": lambda net: nn.ParameterList(net.layer_weight_tensors),
    "_layer_bias_vectors": lambda net: nn.ParameterList(net.layer_bias_vectors),
    "_batchnorm_layers": lambda net: _copy(net.batchnorm_layers),
    "_context_mod_layers": lambda net: _copy(net.context_mod_layers),
    "_weights": lambda net: net._internal_params,
    "_all_shapes": lambda net: net._param_shapes,
    "_hyper_shapes": lambda net: net._hyper_shapes_learned,
}


def _copy(layers: nn.ModuleList | None) -> nn.ModuleList | None:
    return None if layers is None else nn.ModuleList(layers)


def _take_over(net: Any, check_has_bias: bool = True) -> None:
    """``_is_properly_setup`` of a network of this package: what a subclass appended to the lists becomes rows."""
    for old, new in OLD_NAMES.items():
        value = net.__dict__.get(old, net._modules.get(old))
        if value is not None and value is not getattr(net, new):
            warnings.warn(f"'{old}' is deprecated, use '{new}'", DeprecationWarning, stacklevel=3)
            setattr(net, new, value)
    shapes, metas, known = net._param_shapes, net._param_shapes_meta, len(net.table.rows)
    checks.instance("_param_shapes", shapes, list)
    _check_meta(net)
    params = list(net._internal_params or ())
    _register_layers(net)
    places = _places(net)
    rows = []
    for position in range(known, len(shapes)):
        meta = metas[position]
        extra = {key: value for key, value in meta.items() if key not in ("name", "index", "layer")}
        owner, key, name = None, "", f"appended.{position}"
        if meta["index"] >= 0:
            param = params[meta["index"]]
            if id(param) not in places:
                holder, key = net._place(name)
                holder.register_parameter(key, param)
                places[id(param)] = (holder, key, name)
            owner, key, name = places[id(param)]
        shape = tuple(shapes[position])
        rows.append(Row(name, shape, meta["name"], meta["layer"], owner, key, order=(10**6, position), meta=extra))
    if rows:
        net._extend(rows)
    if any(name in net._modules for name in LISTS):  # tensors with several names
        aliases.install_hooks(net, old_files.rename)
    for name in [name for name in net.__dict__ if isinstance(getattr(type(net), name, None), View)]:
        del net.__dict__[name]


def _register_layers(net: Any) -> None:
    """Take over layers that a subclass appended to the list of batch norm or modulation layers."""
    paths = {id(module): path for path, module in net.named_modules()}
    for name, known in (("_batchnorm_layers", net._norms), ("_context_mod_layers", net._modulations)):
        own = {id(layer) for _, layer in known}
        for layer in getattr(net, name) or ():
            if id(layer) not in own:
                path = paths.get(id(layer), f"appended{name}.{len(known)}")
                net.register_part(path, layer)
                known.append((path, layer))


def _announce_subclass(cls: Any, **kwargs: Any) -> None:
    """Let the constructor above a subclass that overrides ``_is_properly_setup`` end with calling it."""
    super(Network, cls).__init_subclass__(**kwargs)
    if _overrides_check(cls):
        base = _constructed_by(cls)
        if getattr(base.__init__, "ends_for", None) is not base:
            base.__init__ = _with_check(base)


def _overrides_check(cls: Any) -> bool:
    return not cls._is_properly_setup.__module__.startswith("hypnettorch.legacy")


def _constructed_by(cls: type) -> Any:
    """The first class in the order of inheritance with whose constructor the lists are complete."""
    return next(base for base in cls.__mro__ if issubclass(base, Network) and not _overrides_check(base))


def _with_check(base: Any) -> Callable[..., None]:
    """A constructor that calls the check of a subclass, for which the names of the first versions are not set yet."""
    construct = base.__init__

    @functools.wraps(construct)
    def constructing(self: Any, *args: Any, **options: Any) -> None:
        construct(self, *args, **options)
        if _overrides_check(type(self)) and _constructed_by(type(self)) is base:
            self.__dict__.update(dict.fromkeys(OLD_NAMES))
            self._is_properly_setup()
            for name in OLD_NAMES:
                if name in self.__dict__ and self.__dict__[name] is None:
                    del self.__dict__[name]

    constructing.ends_for = base  # type: ignore[attr-defined]
    return constructing


def install() -> None:
    """Give the networks of this package the lists as views, and the helpers."""
    install_views(Network, VIEWS)
    for name, helper in vars(Helpers).items():
        if name.startswith("_") and not name.startswith("__"):
            setattr(Network, name, helper)
    Network._is_properly_setup = _take_over  # type: ignore[attr-defined]
    Network.__init_subclass__ = classmethod(_announce_subclass)  # type: ignore[assignment]


def install_views(cls: type, views: Mapping[str, Callable[[Any], Any]]) -> None:
    """Give a class protected lists as views."""
    for name, read in views.items():
        setattr(cls, name, View(name, read))
