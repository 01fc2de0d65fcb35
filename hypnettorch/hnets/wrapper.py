"""The base of hypernetworks around one other hypernetwork."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.core.low_rank import Key
from hypnettorch.core.starts import Start
from hypnettorch.core.values import Values
from hypnettorch.hnets import inputs
from hypnettorch.hnets.hypernetwork import (
    EMBEDDINGS,
    HyperNetwork,
    Pairs,
    Produced,
    Request,
    arguments_of,
    check_hypernetwork,
)
from hypnettorch.hnets.initialization import Plan, settle


class Wrapper(HyperNetwork):
    """``g(h(f(input)))``: changes what goes into a hypernetwork ``h``, or what comes out of it.

    A subclass declares tensors of its own before or after :meth:`wrap` and implements any of :meth:`before`,
    :meth:`after` and :meth:`updates`. Conditions are those of ``h``, unless it declares some itself.

    Args:
        hnet: The hypernetwork ``h``: any of this package (containers and wrappers as well), or of a user's own class.
        target_shapes: Shapes of the tensors to produce (default: those of ``h``).

    Attributes:
        hnet: ``h``.
    """

    hnet: Any

    def __init__(self, hnet: Any, target_shapes: Any = None) -> None:
        check_hypernetwork("hnet", hnet)
        sizes = [getattr(hnet, name, 0) for name in ("_uncond_in_size", "_cond_in_size")]
        super().__init__(hnet.target_shapes if target_shapes is None else target_shapes, *sizes)
        self.register_load_state_dict_pre_hook(_wrap)
        self._has_fc_out = self._has_linear_out = self._mask_fc_out = False

    def wrap(self, hnet: Any, block: int = 0) -> None:
        """Make ``h`` a part of this network, whose rows stand as one block."""
        self.include("hnet", hnet, block=block)
        self._has_bias = hnet.has_bias
        self._learned_is_list = hnet.hyper_shapes_learned is not None

    @property
    def internal_hnet(self) -> Any:
        """The hypernetwork inside."""
        return self.hnet

    # ---------------------------------------------------------------------------------------------- the equation

    def before(self, request: Request, values: Values) -> Request:
        """What ``h`` is asked for, from what this network is asked for."""
        return request

    def after(self, produced: Produced, request: Request, values: Values) -> Tensor | Sequence[Tensor]:
        """The weights, from what ``h`` produced; ``request`` is what this network was asked for."""
        return produced.value

    def updates(self, request: Request, values: Values) -> Pairs:
        """Low-rank updates: those of ``h``, unless :meth:`after` changes what ``h`` produces.

        Raises:
            NotImplementedError: If this network changes them.
        """
        if self._changes_weights():
            raise checks.Unavailable(
                f"{type(self).__name__} changes weights: expected it inside of HLowRank, got HLowRank inside of it"
            )
        return self.ask_updates(self.before(request, values), values)

    def ask_updates(self, request: Request, values: Values) -> Pairs:
        """The low-rank updates that ``h`` makes."""
        hnet, inside = self.hnet, values.part("hnet")
        if type(hnet).factors is not HyperNetwork.factors:
            return list(hnet.factors(**arguments_of(hnet, request, inside), ret_format="stacked").values())
        hnet.check_given(request.given)
        pairs: Pairs = hnet.read_updates(request, inside)
        return pairs

    def _changes_weights(self) -> bool:
        return (type(self).after, type(self).generate) != (Wrapper.after, Wrapper.generate)

    def generate(self, request: Request, values: Values) -> Tensor | Sequence[Tensor]:
        """``g(h(f(input)))``."""
        return self.after(self.ask("hnet", self.before(request, values), values), request, values)

    def select(self, request: Request, values: Values) -> Request:
        """Conditions are looked up by ``h``, unless this network has some of its own; ``h`` checks what it is given."""
        if request.ids is None or not self._families:
            return request
        found = self.conditions(request.ids, values)
        cond = found.pop(EMBEDDINGS, request.cond)
        return replace(request, cond=cond, ids=None, given={**request.given, **found})

    @property
    def condition_dims(self) -> Any:
        """Number of dimensions of the conditional input for one weight set: that of ``h``."""
        return getattr(self.hnet, "condition_dims", 1)

    @property
    def keeps_both(self) -> bool:  # type: ignore[override]
        """Whether ``cond_input`` and ``cond_id`` may be given together: if ``h`` takes both."""
        return not self._families and bool(getattr(self.hnet, "keeps_both", False))

    def check_given(self, given: Any) -> None:
        """What belongs to no tensor of this network is checked by ``h``."""

    def check_complete(self, tensors: Any, weights: Any = None) -> None:
        """The tensors of ``h`` are checked by ``h``."""
        check_own_complete(self, "hnet", tensors, weights)

    # ---------------------------------------------------------------------------------------------- conditions

    def conditions(self, ids: inputs.Ids, values: Values) -> dict[str, Any]:
        """Conditions as the hypernetwork inside looks them up."""
        own = super().conditions
        return own(ids, values) if self._families else self.hnet.conditions(ids, values.part("hnet"))

    def condition_inputs(self, cond_id: Any) -> dict[str, Any]:
        """Conditions as the hypernetwork inside looks them up."""
        return super().condition_inputs(cond_id) if self._families else self.hnet.condition_inputs(cond_id)

    def condition_owners(self) -> list[str]:
        """The hypernetwork inside, unless this network has conditions of its own."""
        return [] if self._families else super().condition_owners()

    @property
    def num_known_conds(self) -> int:
        """Number of conditions that the hypernetwork knows by id."""
        return self._num_known_conds if self._families else self.hnet.num_known_conds

    # ---------------------------------------------------------------------------------------------- what can be asked

    @property
    def makes_updates(self) -> bool:
        """Whether what is produced are low-rank updates of weights."""
        return bool(getattr(self.hnet, "makes_updates", False))

    @property
    def target_keys(self) -> list[Key]:
        """The keys of :meth:`factors`, in the order of ``target_shapes``."""
        return self.hnet.target_keys

    def _layer_rows(self) -> list[Any]:
        return [pair for pair in super()._layer_rows() if pair[0].name.startswith("hnet.")]

    def start_at_zero(self) -> None:
        """Change as little as it takes to produce zeros, in such a way that gradients change that."""
        self.hnet.start_at_zero()

    def start_at(self, wanted: Sequence[Start], plan: Plan) -> None:
        """Initialise ``h`` for the targets, and for what :meth:`before` makes of samples.

        In a calibrated start constants bring what :meth:`after` makes of weights to scale.
        """
        if plan.calibrated and self._changes_weights():
            self.start_inner([Start(generated=1.0)] * len(self.hnet.target_shapes), plan)
            settle(self, wanted, plan.at(self))
        else:
            self.start_inner(wanted, plan)

    def start_inner(self, wanted: Sequence[Start], plan: Plan) -> None:
        """Initialise ``h`` for the starts of what it produces, with the samples that it gets."""
        if plan.samples is not None:
            request, values = plan.samples
            plan = plan.within(self.before(self.select(request, values), values), values.part("hnet"))
        self.hnet.start_at(wanted, plan)

    def sample_inputs(self, count: int) -> Request:
        """Draws from N(0, 1), and what ``h`` draws for conditional tensors besides embeddings."""
        drawn = super().sample_inputs(count)
        inside = getattr(self.hnet, "sample_inputs", None)
        return drawn if self._families or inside is None else replace(drawn, given=inside(count).given)


def _wrap(network: Wrapper, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let files of a bare network load into one that wraps it, whose own tensors stay where they are."""
    names = [key.removeprefix(prefix) for key in state_dict if key.startswith(prefix)]
    if not any(name.startswith("hnet.") for name in names):
        own = {*network.table.by_name, *dict(network.named_buffers())}
        inner = [name for name in names if name not in own]
        state_dict.update({f"{prefix}hnet.{name}": state_dict.pop(prefix + name) for name in inner})


def check_own_complete(network: HyperNetwork, part: str, tensors: Any, weights: Any) -> None:
    """Raise unless there is a tensor for every external row, but for those of a part, which checks them itself."""
    missing = [name for name in network.table.required if not name.startswith(f"{part}.") and name not in tensors]
    if missing:
        checks.fail("weights", f"tensors for {missing}", "None" if weights is None else "only other tensors")


def check_without_conditions(hnet: Any, reason: str) -> int:
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


def check_input(hnet: Any, which: str) -> int:
    """The size of the input ``'cond'`` or ``'uncond'`` of a hypernetwork.

    Raises:
        ValueError: If it has no such input.
    """
    size = getattr(hnet, f"_{which}_in_size", 0)
    if not size:
        checks.fail("hnet", f"a hypernetwork with a {'' if which == 'cond' else 'un'}conditional input", "one without")
    return int(size)


def check_rows(name: str, value: Any, lead: Sequence[int], size: int | None = None) -> None:
    """Raise unless ``value`` is a tensor ``[*lead, size]``."""
    checks.tensor(name, value)
    if size is not None:
        checks.width(name, value, size)
    if value.shape[:-1] != tuple(lead):
        checks.fail(name, f"shape {(*lead, size or 'size')}", tuple(value.shape))


def stacked_value(values: Values, name: str) -> Tensor:
    """The tensor of a name; with many parameter sets ``[B, *shape]`` also where it was not passed."""
    value: Tensor = values[name]
    return value if values.sets is None or name in values.given else value.expand(values.sets, *value.shape)
