"""A wrapper that changes what goes into a hypernetwork and what comes out of it, by default by adding noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.core.starts import Start
from hypnettorch.core.values import Values
from hypnettorch.hnets import inputs
from hypnettorch.hnets.hypernetwork import Produced, Request
from hypnettorch.hnets.initialization import Plan
from hypnettorch.hnets.wrapper import Wrapper

OUTPUT = "output_handler(...)"
"""The result of an output handler, in messages."""


class HPerturbWrapper(Wrapper):
    """``h(z[:n], e) + σ z`` with a hypernetwork ``h`` and noise ``z`` that has one entry per weight.

    A hypernetwork that turns noise into weights represents a distribution. Its support has no more dimensions than its
    input, so densities and divergences are not defined; noise on every weight mends that. With ``z ~ N(0, I)`` the
    weights are a differentiable function of parameters and noise (reparametrisation). Handlers replace what happens to
    the inputs and to the output.

    The wrapper shows the parameters of ``h`` as its own, in the same order.

    Args:
        hnet: The hypernetwork ``h``: any of this package (containers and wrappers as well), or of a user's own class.
        hnet_uncond_in_size: ``n``. Required, unless there is an ``input_handler``.
        sigma_noise: ``σ``; has no effect with an ``output_handler``.
        input_handler: Called with the keywords ``uncond_input``, ``cond_input`` and ``cond_id`` as they were passed to
            ``forward`` (by another wrapper or a container around this one, ids as a list); returns these three for
            ``h``.
        output_handler: Called with the flat weights ``[N, num_outputs]`` that ``h`` produces and, as keywords, what was
            passed to ``forward``; returns flat weights.
        verbose: Whether to print a line about the network.

    Raises:
        ValueError: If neither ``hnet_uncond_in_size`` nor ``input_handler`` is given, or a number is out of range.
        TypeError: If an argument has the wrong type.

    Note:
        With handlers of one's own, ``batched_forward`` maps ``forward`` by ``torch.func.vmap``: a handler always sees
        the inputs of one parameter set. ``apply_hyperfan_init`` and ``apply_calibrated_init`` initialise
        ``h`` and leave the noise, of variance ``σ²``, out of account.

    Example:
        >>> from hypnettorch.hnets import HMLP
        >>> hnet = HPerturbWrapper(
        ...     HMLP([[3, 2], [3]], uncond_in_size=4, cond_in_size=0, num_cond_embs=0, verbose=False),
        ...     hnet_uncond_in_size=4, sigma_noise=0.1, verbose=False)
        >>> hnet(uncond_input=torch.randn(5, hnet.num_outputs), ret_format='flattened').shape
        torch.Size([5, 9])
    """

    def __init__(
        self,
        hnet: Any,
        hnet_uncond_in_size: int | None = None,
        sigma_noise: float = 0.02,
        input_handler: Callable[..., tuple[Tensor | None, Tensor | None, Any]] | None = None,
        output_handler: Callable[..., Tensor] | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(hnet)
        for name, handler in (("input_handler", input_handler), ("output_handler", output_handler)):
            if handler is not None:
                checks.instance(name, handler, Callable, "a function")  # type: ignore[arg-type]
        if input_handler is None:
            if hnet_uncond_in_size is None:
                checks.fail("hnet_uncond_in_size", "a size, or an input_handler", None)
            most = self.num_outputs if output_handler is None else None
            self._inner_size = checks.integer("hnet_uncond_in_size", hnet_uncond_in_size, 0, most)
        self._sigma = checks.number("sigma_noise", sigma_noise, 0)
        self._input_handler, self._output_handler = input_handler, output_handler
        self._default_handlers = input_handler is None and output_handler is None
        self._uncond_in_size = self.num_outputs if output_handler is None else 0

        self.wrap(hnet)
        self._mask_fc_out = hnet.mask_fc_out
        if verbose:
            print(self)

    def read(self, uncond_input: Any, cond_input: Any, cond_id: Any, *rest: Any, **options: Any) -> Any:
        """The arguments of ``forward``, checked; ids as they were passed where handlers see them."""
        if self._default_handlers:
            return super().read(uncond_input, cond_input, cond_id, *rest, **options)
        request, values = super().read(uncond_input, cond_input, None, *rest, **options)
        return replace(request, ids=cond_id), values

    def condition_inputs(self, cond_id: Any) -> dict[str, Any]:
        """Look conditions up, unless handlers may want to see them."""
        return super().condition_inputs(cond_id) if self._default_handlers else {"cond_id": cond_id}

    def takes_many_sets(self) -> bool:
        """Handlers of a user see one parameter set."""
        return super().takes_many_sets() and self._default_handlers

    def before(self, request: Request, values: Values) -> Request:
        """The first columns of the noise, or what the input handler makes of the inputs."""
        inner = self._input_handler(**_inputs_of(request)) if self._input_handler else self._leading_columns(request)
        if not isinstance(inner, (tuple, list)) or len(inner) != 3:
            checks.fail("input_handler(...)", "uncond_input, cond_input and cond_id", type(inner).__name__)
        uncond, cond, cond_id = inner
        inputs.check_combination(uncond, cond, None if self.keeps_both else cond_id, required=False)
        ids = None if cond_id is None else inputs.parse_cond_id(cond_id, self.num_known_conds)
        return replace(request, uncond=uncond, cond=cond, ids=ids)

    def _leading_columns(self, request: Request) -> tuple[Tensor | None, Tensor | None, Any]:
        noise, size = _noise(request), self._inner_size
        if noise.shape[-1] < size:
            checks.fail("uncond_input", f"at least {size} entries per row", f"shape {tuple(noise.shape)}")
        return (noise[..., :size] if size else None), request.cond, request.ids

    def after(self, produced: Produced, request: Request, values: Values) -> Tensor:
        """The weights with noise added, or what the output handler makes of them."""
        flat = produced.flat
        if self._output_handler is None:
            noise = _noise(request)
            checks.width("uncond_input", noise, flat.shape[-1])
            inputs.common_size({"uncond_input": noise.shape[-2], "cond_id or cond_input": flat.shape[-2]})
            return flat + self._sigma * noise
        output = self._output_handler(flat, **_inputs_of(request))
        checks.width(OUTPUT, output, self.num_outputs)
        if output.dim() != flat.dim():
            checks.fail(OUTPUT, f"{flat.dim()} dimensions", f"shape {tuple(output.shape)}")
        return output

    def start_at(self, wanted: Sequence[Start], plan: Plan) -> None:
        """Initialise ``h`` for the targets; noise and output handler are left out of account."""
        self.start_inner(wanted, plan)


def _noise(request: Request) -> Tensor:
    if request.uncond is None:
        checks.fail("uncond_input", "noise", None)
    return request.uncond


def _inputs_of(request: Request) -> dict[str, Any]:
    """The keywords of handlers."""
    return {"uncond_input": request.uncond, "cond_input": request.cond, "cond_id": request.ids}
