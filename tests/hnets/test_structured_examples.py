"""Chunkings of residual networks: groups of layers, glue, and the accounting of a published ensemble."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hypnettorch.examples import ensembles
from hypnettorch.hnets import HContainer, StructuredHMLP
from hypnettorch.hnets.structured_hmlp_examples import Chunking, resnet_chunking, wrn_chunking
from hypnettorch.mnets import MLP, WRN, ResNet

ROOT = Path(__file__).parents[2]
BOTH = (False, True)


def resnet(**options: Any) -> ResNet:
    return ResNet(**{"in_shape": (8, 8, 3), "num_classes": 4, "no_weights": True, "verbose": False, **options})


def wrn(**options: Any) -> WRN:
    settings = {"in_shape": (8, 8, 3), "num_classes": 4, "n": 1, "k": 1, "num_feature_maps": (4, 4, 8, 16)}
    return WRN(**{**settings, "no_weights": True, "verbose": False, **options})


def assembled(chunking: Chunking) -> list[torch.Tensor]:
    """What the assembly function makes of chunks whose entries are all different."""
    shapes, counts, assembly_fct = chunking
    kinds = [kind for kind, count in zip(shapes, counts, strict=True) for _ in range(count)]
    sizes = [torch.Size(shape).numel() for kind in kinds for shape in kind]
    numbers = iter(torch.arange(sum(sizes)).split(sizes))
    return assembly_fct([[next(numbers).view(shape) for shape in kind] for kind in kinds])


def numbers_of(tensors: list[torch.Tensor]) -> list[int]:
    return torch.cat([tensor.flatten() for tensor in tensors]).tolist()


@pytest.mark.parametrize(
    ("gcd", "bias", "norm", "n"), list(itertools.product(BOTH, BOTH, BOTH, (1, 2))), ids=lambda value: str(value)
)
def test_resnet(gcd: bool, bias: bool, norm: bool, n: int) -> None:
    net = resnet(n=n, num_feature_maps=(2, 4, 4, 6), use_bias=bias, use_batch_norm=norm)
    chunking = resnet_chunking(net, gcd_chunking=gcd)
    shapes, counts, _ = chunking
    vectors = int(bias) + 2 * int(norm)
    assert [len(kind) for kind in shapes] == [1 + vectors] * (len(shapes) - 1) + [1 + int(bias)]
    kernels = [kind[0] for kind in shapes]
    ends = [2, 3, 3, 3], [4, 6]
    if gcd:
        assert kernels == [ends[0], [2, 2, 3, 3], [2, 4, 3, 3], [2, 4, 3, 3], [2, 6, 3, 3], ends[1]]
        q, rest = [2, 2, 3], 2 * n - 1
        assert counts == [1, q[0], q[0] * rest + q[1], q[1] * rest + q[2], q[2] * rest, 1]
    else:
        groups = [[4, 2], [4, 4], [4, 4], [4, 4], [6, 4], [6, 6]]
        assert kernels == [ends[0], *([*group, 3, 3] for group in groups), ends[1]]
        assert counts == [1, *[1, 2 * n - 1] * 3, 1]
    tensors = assembled(chunking)
    assert [list(tensor.shape) for tensor in tensors] == net.param_shapes
    assert sorted(numbers_of(tensors)) == list(range(net.num_params))  # every entry is used once


WIDTHS = {
    "equal": (4, 4, 8, 16),
    "narrow stem": (2, 6, 12, 12),
    "multiples of 2": (4, 6, 10, 4),
    "shrinking": (12, 4, 2, 2),
}


@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("scheme", ["default", "gcd_chunking", "vertical"])
@pytest.mark.parametrize(("norm", "out"), list(itertools.product(BOTH, BOTH)), ids=str)
@pytest.mark.parametrize("biases", [(False, False), (True, True), (False, True), (True, False)], ids=str)
def test_wrn(widths: tuple[int, ...], scheme: str, norm: bool, out: bool, biases: tuple[bool, bool]) -> None:
    n = 2
    net = wrn(n=n, num_feature_maps=widths, use_bias=biases[0], use_fc_bias=biases[1])
    options = {} if scheme == "default" else {scheme: True}
    chunking = wrn_chunking(net, ignore_bn_weights=not norm, ignore_out_weights=not out, **options)
    shapes, counts, _ = chunking
    names = [meta["name"] for meta in net.param_shapes_meta]
    first = 0 if norm else sum(name.startswith("bn") for name in names)
    last = len(names) if out else -1 - int(biases[1])
    tensors = assembled(chunking)
    assert [list(tensor.shape) for tensor in tensors] == net.param_shapes[first:last]

    used = numbers_of(tensors)
    assert len(set(used)) == len(used)
    expected: list[tuple[list[int], int]] = [([widths[0], 3, 3, 3], 1)]
    for p, w in itertools.pairwise(widths):
        ratio = max(p, w) / min(p, w)
        if scheme == "vertical":
            size, alike = w // 2, p % (w // 2) == 0
        elif scheme == "gcd_chunking":
            size, alike = torch.gcd(torch.tensor(p), torch.tensor(w)).item(), True
        else:
            alike = ratio in (1, 2)
            size = min(p, w) if alike else w
        if not alike:
            expected.append(([w, p, 3, 3], 1))
        expected.append(([w, int(size), 3, 3], (p // size if alike else 0) + (2 * n - 1) * w // size))
    strides = [1, 2, 2]
    for (p, w), stride in zip(itertools.pairwise(widths), strides, strict=True):
        if p != w or stride != 1:
            expected.append(([w, p, 1, 1], 1))
    if out:
        expected.append(([4, widths[-1]], 1))
    assert list(zip([kind[0] for kind in shapes], counts, strict=True)) == expected


@pytest.mark.parametrize("build", [lambda: resnet(n=1, num_feature_maps=(2, 2, 4, 6)), lambda: wrn(n=1)])
@pytest.mark.parametrize("gcd", BOTH)
def test_through_the_main_network(build: Any, gcd: bool) -> None:
    net = build()
    options = {} if isinstance(net, ResNet) else {"ignore_bn_weights": False, "ignore_out_weights": False}
    function = resnet_chunking if isinstance(net, ResNet) else wrn_chunking
    shapes, counts, assembly_fct = function(net, gcd_chunking=gcd, **options)
    hnet = StructuredHMLP(
        net.param_shapes, shapes, counts, 3, {"layers": [8]}, pickle.loads(pickle.dumps(assembly_fct)),
        cond_in_size=3, num_cond_embs=2, verbose=False,
    )  # fmt: skip
    hnet, net = hnet.double().eval(), net.double().eval()
    x = torch.randn(5, 8 * 8 * 3, dtype=torch.float64)
    outputs = net.batched_forward(x, hnet(cond_id=[0, 1], ret_format="stacked"), share_input=True)
    for cond_id in (0, 1):
        torch.testing.assert_close(outputs[cond_id], net(x, weights=hnet(cond_id=cond_id)))
    outputs.square().sum().backward()
    assert all(param.grad is not None for param in hnet.parameters())


def test_batch_norm_goes_with_the_convolution_of_its_number() -> None:
    net = wrn(n=1, num_feature_maps=(4, 4, 8, 16), use_bias=True)
    shapes, counts, assembly_fct = wrn_chunking(net, ignore_bn_weights=False)
    kinds = [i for i, count in enumerate(counts) for _ in range(count)]
    chunks = [
        [torch.full(shape, 10.0 * number + tensor) for tensor, shape in enumerate(shapes[kind])]
        for number, kind in enumerate(kinds)
    ]
    tensors = assembly_fct(chunks)
    norms, convs = tensors[:14], tensors[16:]
    for number in range(7):
        scale, shift = norms[2 * number : 2 * number + 2]
        kernel, bias = convs[2 * number : 2 * number + 2]
        first = kernel.flatten()[0]
        for tensor, vector in enumerate((bias, scale, shift), start=1):
            assert (vector == first + tensor).all()


def test_groups_of_the_documentation() -> None:
    """Groups 0 to 10 of a network in which no two of them can be merged."""
    net = WRN(
        n=4, k=10, num_feature_maps=(16, 16, 64, 200), use_bias=False, use_fc_bias=True, no_weights=True, verbose=False
    )
    shapes, counts, _ = wrn_chunking(net, ignore_out_weights=False)
    assert [kind[0] for kind in shapes] == [
        [16, 3, 3, 3],
        [160, 16, 3, 3], [160, 160, 3, 3],
        [640, 160, 3, 3], [640, 640, 3, 3],
        [2000, 640, 3, 3], [2000, 2000, 3, 3],
        [160, 16, 1, 1], [640, 160, 1, 1], [2000, 640, 1, 1],
        [10, 2000],
    ]  # fmt: skip
    assert counts == [1, 1, 7, 1, 7, 1, 7, 1, 1, 1, 1]
    assert shapes[-1] == [[10, 2000], [10]]


def test_accounting_of_the_paper() -> None:
    with torch.device("meta"):
        net = ensembles.main_network()
        hnet = ensembles.generator(net)
        container = ensembles.generated_ensemble(net)
        ends = ensembles.independent_ends(net)
        paper = ensembles.generator(net, vertical=True)
    tensors = ensembles.Tensors.of(net)
    assert net.num_params == 36_479_194
    assert [len(part) for part in (tensors.norm, tensors.convolutions, tensors.output)] == [50, 28, 2]
    assert tensors.norm + tensors.convolutions + tensors.output == net.param_shapes
    assert net.shapes_to_num_weights(tensors.convolutions) == hnet.num_outputs == 36_454_832

    assert len(hnet.internal_hnets) == 8
    assert hnet.num_chunks == 42
    assert sum(inner.num_outputs for inner in hnet.internal_hnets) == 2_816_432
    assert counts(hnet) == (37_457_120, 5_560, 37_462_680)
    assert counts(container) == (37_475_072, 69_660, 37_544_732)
    assert counts(ends) == (36_454_832, 243_620, 36_698_452)
    assert f"{hnet.num_params / net.num_params:.2f}" == "1.03"
    assert f"{ends.num_params / net.num_params:.2f}" == "1.01"

    assert [inner.target_shapes[0][:2] for inner in paper.internal_hnets[2:5]] == [[160, 80], [320, 160], [640, 320]]
    assert paper.num_chunks == 49
    assert sum(inner.num_outputs for inner in paper.internal_hnets) == 2_701_232


def counts(hnet: Any) -> tuple[int, int, int]:
    shared, own = hnet.unconditional_param_shapes, hnet.conditional_param_shapes
    return hnet.shapes_to_num_weights(shared), hnet.shapes_to_num_weights(own), hnet.num_params


def test_ensembles_of_a_small_network() -> None:
    """The same construction, evaluated: members share batch norm weights and differ in the rest."""
    net = wrn(k=1, num_feature_maps=(2, 8, 16, 32), use_bias=False, use_fc_bias=True)
    for hnet in (ensembles.generated_ensemble(net, members=3), ensembles.independent_ends(net, members=3)):
        assert isinstance(hnet, HContainer)
        first, second = hnet(cond_id=[0, 2], ret_format="sequential")
        assert [list(weight.shape) for weight in first] == net.param_shapes
        equal = [torch.equal(a, b) for a, b in zip(first, second, strict=True)]
        norms = len(ensembles.Tensors.of(net).norm)
        shared = range(norms) if hnet.internal_hnets else range(norms, len(equal) - 2)
        assert equal == [i in shared for i in range(len(equal))]


def test_table_on_the_command_line() -> None:
    command = [sys.executable, "-m", "hypnettorch.examples.ensembles", "--table"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for figure in ("36,479,194", "36,454,832", "2,816,432", "37,462,680", "37,544,732", "36,698,452", "2,701,232"):
        assert figure in printed


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="net: expected an instance of ResNet, got WRN"):
        resnet_chunking(wrn())
    with pytest.raises(ValueError, match="net: expected an instance of WRN, got MLP"):
        wrn_chunking(MLP(verbose=False))
    with pytest.raises(NotImplementedError, match="context modulation"):
        resnet_chunking(resnet(n=1, use_context_mod=True))
    with pytest.raises(NotImplementedError, match="context modulation"):
        wrn_chunking(wrn(use_context_mod=True))
    with pytest.raises(ValueError, match="vertical"):
        wrn_chunking(wrn(), vertical=True, gcd_chunking=True)
    with pytest.raises(ValueError, match="vertical: expected groups of blocks with an even number of channels, got 5"):
        wrn_chunking(wrn(num_feature_maps=(4, 5, 8, 8)), vertical=True)
