"""Every hypernetwork can be built from a command line, and every option of it has an effect."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

import hypnettorch.hnets
from hypnettorch.mnets import WRN, ResNet
from hypnettorch.utils import cli_args
from hypnettorch.utils.command_line.hypernetworks import HYPERNETWORKS
from hypnettorch.utils.command_line.wrappers import WRAPPERS
from hypnettorch.utils.sim_utils import get_hypernet
from tests.utils.command_line.option_values import NEEDED, changed, differ, flags

SHAPES = [[4, 3], [4]]
SMALL_HNETS: dict[str, dict[str, Any]] = {
    "hmlp": {"hmlp_arch": "5", "cond_emb_size": 4},
    "chunked_hmlp": {"hmlp_arch": "5", "cond_emb_size": 4, "chunk_emb_size": 2, "chmlp_chunk_size": 6},
    "structured_hmlp": {"hmlp_arch": "5", "cond_emb_size": 4, "chunk_emb_size": 2},
    "hdeconv": {
        "hdeconv_shape": "8,8,1",
        "cond_emb_size": 4,
        "hdeconv_num_layers": 3,
        "hdeconv_filters": "2,3",
        "hdeconv_attention_layers": "0",
    },
    "chunked_hdeconv": {
        "hdeconv_shape": "4,4,1",
        "cond_emb_size": 4,
        "hdeconv_num_layers": 3,
        "hdeconv_filters": "2,3",
        "hdeconv_attention_layers": "0",
        "chunk_emb_size": 2,
    },
    "module_hnet": {
        "mhnet_trunk": "torch.nn.Tanh()",
        "mhnet_chunk_size": 6,
        "hmlp_arch": "5",
        "cond_emb_size": 4,
        "chunk_emb_size": 2,
    },
    "container": {"container_parts": "body=weight; own=*", "body_hmlp_arch": "5", "body_cond_emb_size": 4},
}
HNET_OPTIONS = [(name, option) for name, kind in HYPERNETWORKS.items() for option in kind.options]


def hnet_config(
    options: Mapping[str, Any], prefix: str | None = None, norm_by_default: bool = False
) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    names = {} if prefix is None else {"prefix": prefix, "pf_name": "net"}
    cli_args.hnet_args(
        parser,
        list(HYPERNETWORKS),
        show_wrappers=True,
        show_no_bias=True,
        show_no_batchnorm=norm_by_default,
        show_batchnorm=not norm_by_default,
        **names,
    )
    cli_args.hnet_args(parser, ["hmlp"], prefix=f"{prefix or ''}body_", pf_name="body")
    return parser.parse_args(flags({f"{prefix or ''}{option}": value for option, value in options.items()}))


def hypernetwork(
    name: str,
    options: Mapping[str, Any],
    shapes: Any = None,
    num_conds: int = 2,
    norm_by_default: bool = False,
    **kwargs: Any,
) -> Any:
    """A hypernetwork from a command line."""
    config = hnet_config({"hnet_type": name, **SMALL_HNETS[name], **options}, norm_by_default=norm_by_default)
    if name == "structured_hmlp" and shapes is None:
        kwargs["mnet"] = ResNet((8, 8, 1), 2, n=1, num_feature_maps=(2, 2, 3, 4), no_weights=True, verbose=False)
        shapes = kwargs["mnet"].param_shapes
    return get_hypernet(config, "cpu", name, shapes or SHAPES, num_conds, **{"verbose": False, **kwargs})


def generated(hnet: Any) -> Tensor:
    return hnet(cond_id=[0, 1], ret_format="flattened")


@pytest.mark.parametrize("name", HYPERNETWORKS)
def test_hypernetwork_is_built_and_runs(name: str) -> None:
    hnet = hypernetwork(name, {})
    assert hnet.num_known_conds == 2
    assert generated(hnet).shape == (2, hnet.num_outputs)
    external = hypernetwork(name, {}, no_uncond_weights=True, no_cond_weights=True)
    assert external.hyper_shapes_learned == hnet.param_shapes


@pytest.mark.parametrize(("name", "option"), HNET_OPTIONS)
def test_option_of_a_hypernetwork_has_an_effect(name: str, option: str) -> None:
    base, by_default = NEEDED.get(option, {}), option == "hnet_no_batchnorm"
    first = hypernetwork(name, base, norm_by_default=by_default)
    second = hypernetwork(name, {**base, **changed(option)}, norm_by_default=by_default)
    assert differ(first, second, generated)


FROM_THE_PROGRAM = {
    *("target_shapes", "uncond_in_size", "num_cond_embs", "no_uncond_weights", "no_cond_weights", "verbose"),
    *("chunk_shapes", "num_per_chunk", "assembly_fct", "make_part", "mnet", "kwargs"),
}


@pytest.mark.parametrize("name", HYPERNETWORKS)
def test_options_determine_all_other_arguments(name: str) -> None:
    kind = HYPERNETWORKS[name]
    arguments = set(inspect.signature(kind.make).parameters) - FROM_THE_PROGRAM
    assert not arguments - {option.argument for option in kind.options.values()}


def test_every_hypernetwork_has_a_name() -> None:
    built = {type(hypernetwork(name, {})).__name__ for name in HYPERNETWORKS}
    built |= {type(wrapped(name, {})).__name__ for name in WRAPPERS}
    assert built == set(hypnettorch.hnets.__all__) - {"HyperNetInterface", "HyperNetwork"}


def test_missing_options_have_the_default_of_the_network() -> None:
    hnet = get_hypernet(argparse.Namespace(), "cpu", "hmlp", [[3]], 0, uncond_in_size=2, verbose=False)
    assert hnet.param_shapes == [[100, 2], [100], [100, 100], [100], [3, 100], [3]]


def test_linear_is_linear() -> None:
    config = argparse.Namespace(hnet_net_act="linear")
    hnet = get_hypernet(config, "cpu", "hmlp", [[4]], 0, uncond_in_size=6, verbose=False)
    x, y = torch.randn(2, 5, 6)
    a, b, c, d = (hnet(uncond_input=z, ret_format="flattened") for z in (x + y, torch.zeros_like(x), x, y))
    torch.testing.assert_close(a + b, c + d)


def test_architectures_of_a_structured_hypernetwork() -> None:
    chunks = {
        "shmlp_chunk_shapes": [[[4, 3]], [[4]]],
        "shmlp_num_per_chunk": [1, 1],
        "shmlp_assembly_fct": lambda chunks: [chunks[0][0], chunks[1][0]],
    }
    options = {"hmlp_arch": "5;6,7", "chunk_emb_size": "2,3"}
    hnet = hypernetwork("structured_hmlp", options, shapes=SHAPES, **chunks)
    assert [[shape[0] for shape in net.param_shapes if len(shape) == 2] for net in hnet.internal_hnets] == [
        [5, 12],
        [6, 7, 4],
    ]
    assert hnet.chunk_emb_shapes == [[1, 2], [1, 3]]
    with pytest.raises(ValueError, match="--hmlp_arch: expected one architecture, or one for each of 2"):
        hypernetwork("structured_hmlp", {"hmlp_arch": "5;6;7"}, shapes=SHAPES, **chunks)
    with pytest.raises(ValueError, match="shmlp_num_per_chunk"):
        hypernetwork("structured_hmlp", {}, shapes=SHAPES, **{**chunks, "shmlp_num_per_chunk": None})
    with pytest.raises(ValueError, match=r"shmlp_assembly_fct: .* ResNet or WRN as mnet"):
        hypernetwork("structured_hmlp", {}, shapes=SHAPES)
    with pytest.raises(ValueError, match=r"shmlp_assembly_fct: .* mnet.param_shapes as targets"):
        hypernetwork("structured_hmlp", {"hnet_wrappers": "scaling"})


def test_chunks_of_wide_residual_networks() -> None:
    mnet = WRN((8, 8, 1), 2, n=1, k=1, num_feature_maps=(2, 2, 2, 4), no_weights=True, verbose=False)
    hnet = hypernetwork("structured_hmlp", {}, shapes=mnet.param_shapes, mnet=mnet)
    assert mnet(torch.randn(3, 64), weights=hnet(cond_id=0)).shape == (3, 2)


def test_what_only_structured_hypernetworks_take() -> None:
    with pytest.raises(ValueError, match="--hmlp_arch: expected one architecture"):
        hypernetwork("hmlp", {"hmlp_arch": "5;6"})
    with pytest.raises(ValueError, match="--chunk_emb_size: expected 1 entries"):
        hypernetwork("chunked_hmlp", {"chunk_emb_size": "2,3"})


def test_prefix_of_a_hypernetwork() -> None:
    config = argparse.Namespace(gen_hmlp_arch="6", gen_hnet_no_bias=True)
    hnet = get_hypernet(config, "cpu", "hmlp", [[3]], 0, uncond_in_size=2, cprefix="gen_", verbose=False)
    assert hnet.param_shapes == [[6, 2], [3, 6]]


def test_summary_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    hypernetwork("hmlp", {"hnet_wrappers": "residual"}, verbose=True)
    assert len(capsys.readouterr().out.splitlines()) == 1


WRAPPED: dict[str, dict[str, Any]] = {
    "encoded": {},
    "recurrent": {"num_conds": 0},
    "residual": {},
    "scaling": {},
    "low_rank": {"shapes": [[4, 3], [2, 4]]},
    "perturbed": {"uncond_in_size": 2},
    "set": {},
}
NEEDED_BY_WRAPPERS = {"set": {"hnet_set_encoder": "torch.nn.Linear(2, 4)"}}


def wrapped(name: str, options: Mapping[str, Any]) -> Any:
    given = {"hnet_wrappers": name, **NEEDED_BY_WRAPPERS.get(name, {}), **options}
    return hypernetwork("hmlp", given, **WRAPPED[name])


WRAPPER_OPTIONS = [(name, option) for name, wrapper in WRAPPERS.items() for option in wrapper.options]


def test_elements_of_a_set_may_have_any_shape() -> None:
    encoder = "torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 4))"
    hnet = wrapped("set", {"hnet_set_encoder": encoder, "hnet_set_element_dims": 2})
    assert hnet(cond_input=torch.randn(2, 5, 3, 2), ret_format="flattened").shape == (2, hnet.num_outputs)


@pytest.mark.parametrize(("name", "option"), [pair for pair in WRAPPER_OPTIONS if pair[1] != "hnet_set_element_dims"])
def test_option_of_a_wrapper_has_an_effect(name: str, option: str) -> None:
    def call(hnet: Any) -> Tensor:
        if name == "recurrent":
            return hnet(cond_input=torch.ones(3, 1, 1), ret_format="flattened")
        if name == "set":
            return hnet(cond_input=torch.arange(12.0).view(1, 6, 2), ret_format="flattened")
        noise = torch.ones(2, hnet.num_outputs) if name == "perturbed" else None
        return hnet(cond_id=[0, 1], uncond_input=noise, ret_format="flattened")

    assert differ(wrapped(name, {}), wrapped(name, changed(option)), call)


def test_wrappers_are_put_around_each_other() -> None:
    hnet = hypernetwork("hmlp", {"hnet_wrappers": "encoded,low_rank,residual"}, shapes=[[4, 3]])
    names = []
    inner = hnet
    while hasattr(inner, "internal_hnet"):
        names.append(type(inner).__name__)
        inner = inner.internal_hnet
    assert names == ["HResidual", "HLowRank", "HEncodedInput"]
    assert generated(hnet).shape == (2, 12)
    with pytest.raises(ValueError, match="--hnet_wrappers: expected one of 'encoded'"):
        hypernetwork("hmlp", {"hnet_wrappers": "decoded"})
    with pytest.raises(ValueError, match="no_uncond_weights: expected False"):
        hypernetwork("hmlp", {"hnet_wrappers": "residual"}, no_uncond_weights=True)
    with pytest.raises(ValueError, match="num_conds: expected 0"):
        hypernetwork("hmlp", {"hnet_wrappers": "recurrent"})
