"""The interface of classifiers: losses, and classes that implement ``forward`` themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.hnets import HMLP
from hypnettorch.mnets import Classifier, MainNetInterface
from hypnettorch.testing import check_main_network


class OldStyle(Classifier):
    """A modulated convolution with batch norm and a linear layer, as research code for version 0.0.4 wrote it."""

    def __init__(self, num_classes: int = 3, no_weights: bool = False, verbose: bool = False) -> None:
        Classifier.__init__(self, num_classes, verbose)
        self._has_bias = True
        self._has_fc_out = self._mask_fc_out = self._has_linear_out = True
        self._context_mod_no_weights = no_weights
        self._context_mod_gain_offset = False
        self._context_mod_gain_softplus = False
        self._internal_params = nn.ParameterList()
        self._param_shapes = []
        self._param_shapes_meta = []
        if no_weights:
            self._hyper_shapes_learned = []
            self._hyper_shapes_learned_ref = []
        self._layer_weight_tensors = nn.ParameterList()
        self._layer_bias_vectors = nn.ParameterList()
        self._add_context_mod_layers([[4, 1, 1]], cm_layers=[1])
        self._add_batchnorm_layers([4], no_weights, bn_layers=[2])
        shapes = [[4, 1, 3, 3], [4], [self._num_classes, 4], [self._num_classes]]
        for i, shape in enumerate(shapes):
            self._param_shapes.append(shape)
            index = -1
            if no_weights:
                self._hyper_shapes_learned.append(shape)
                self._hyper_shapes_learned_ref.append(len(self._param_shapes) - 1)
            else:
                index = len(self._internal_params)
                self._internal_params.append(nn.Parameter(0.5 * torch.randn(shape)))
                (self._layer_bias_vectors if i % 2 else self._layer_weight_tensors).append(self._internal_params[-1])
            name, layer = ("bias" if i % 2 else "weight"), (0 if i < 2 else 3)
            self._param_shapes_meta.append({"name": name, "index": index, "layer": layer})
        self._is_properly_setup()

    def forward(
        self, x: Tensor, weights: Any = None, distilled_params: Any = None, condition: int | None = None
    ) -> Tensor:
        if distilled_params is not None:
            raise ValueError("distilled_params: nothing is distilled")
        tensors = self.evaluation(weights, None, None).tensors
        gain, shift, scale, offset, kernel, bias, out_weight, out_bias = [tensors[name] for name in self.param_names]
        h = F.conv2d(x.view(-1, 1, 6, 6), kernel, bias)
        h = self._context_mod_layers[0](h, weights=[gain, shift])
        stats_id = self._batchnorm_layers[0].num_stats - 1 if condition is None else condition
        h = self._batchnorm_layers[0](h, weight=scale, bias=offset, stats_id=stats_id)
        return F.linear(F.relu(h).mean((2, 3)), out_weight, out_bias)

    def distillation_targets(self) -> list[Tensor] | None:
        return None


@pytest.mark.parametrize("no_weights", [False, True])
def test_old_style_class_keeps_the_contract(no_weights: bool) -> None:
    net = OldStyle(no_weights=no_weights)
    assert isinstance(net, MainNetInterface)
    assert isinstance(net, nn.Module)
    assert net.num_classes == 3
    check_main_network(net, torch.randn(4, 36))


def test_old_style_class_is_driven_by_a_hypernetwork() -> None:
    net = OldStyle(no_weights=True)
    hnet = HMLP(net.hyper_shapes_learned, num_cond_embs=2, layers=[8], verbose=False)
    x = torch.randn(5, 36)
    both = net.batched_forward(x, hnet(cond_id=[0, 1], ret_format="stacked"), share_input=True)
    assert both.shape == (2, 5, 3)


def test_class_without_equation() -> None:
    class Nothing(Classifier):
        pass

    net = Nothing(2, False)
    with pytest.raises(NotImplementedError, match="Nothing implements neither"):
        net(torch.zeros(1))


@pytest.mark.parametrize("num_classes", [0, -1])
def test_number_of_classes(num_classes: int) -> None:
    with pytest.raises(ValueError, match="num_classes: expected"):
        OldStyle(num_classes)
    with pytest.raises(TypeError, match="num_classes: expected an integer"):
        OldStyle("three")


def test_cross_entropies() -> None:
    h, hard = torch.randn(6, 4), torch.eye(4)[torch.tensor([0, 1, 2, 3, 0, 1])]
    soft = torch.randn(6, 4).softmax(dim=1)
    expected = F.cross_entropy(h, hard.argmax(1), reduction="none")
    torch.testing.assert_close(Classifier.logit_cross_entropy_loss(h, hard, reduction="none"), expected)
    torch.testing.assert_close(Classifier.logit_cross_entropy_loss(h, hard), expected.mean())
    torch.testing.assert_close(Classifier.softmax_and_cross_entropy(h, hard), expected.mean())
    torch.testing.assert_close(Classifier.softmax_and_cross_entropy(h, soft), F.cross_entropy(h, soft))
    torch.testing.assert_close(
        Classifier.softmax_and_cross_entropy(h, soft, reduction_sum=True), F.cross_entropy(h, soft, reduction="sum")
    )


def test_knowledge_distillation() -> None:
    logits = torch.randn(5, 4, requires_grad=True)
    targets = torch.randn(5, 3, requires_grad=True)
    mapping = [3, 0, 2]
    loss = Classifier.knowledge_distillation_loss(logits, targets, mapping, device="cpu", T=3.0)
    full = torch.full((5, 4), -torch.inf)
    full[:, mapping] = targets.detach()
    expected = F.cross_entropy(logits / 3.0, (full / 3.0).softmax(dim=1)) * 9
    torch.testing.assert_close(loss, expected)
    assert all(grad.any() for grad in torch.autograd.grad(loss, (logits, targets)))
    same = Classifier.knowledge_distillation_loss(logits, logits.detach())
    assert not torch.autograd.grad(same, logits)[0].abs().max() > 1e-6


def test_accuracy() -> None:
    y = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 2.0]], dtype=torch.bfloat16)
    accuracy = Classifier.accuracy(y, torch.eye(2)[[0, 0, 0]])
    assert accuracy.dtype == torch.float32
    assert accuracy.item() == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (Classifier.accuracy, (torch.zeros(3, 2), torch.zeros(2, 2)), "t: expected shape"),
        (Classifier.logit_cross_entropy_loss, (torch.zeros(3), torch.zeros(3)), "h: expected shape"),
        (Classifier.softmax_and_cross_entropy, (torch.zeros(3, 2), torch.zeros(3, 4)), "t: expected shape"),
        (Classifier.knowledge_distillation_loss, (torch.zeros(3, 2), torch.zeros(3, 4)), "target_logits: expected"),
        (
            Classifier.knowledge_distillation_loss,
            (torch.zeros(3, 4), torch.zeros(3, 2), [0]),
            "target_mapping: expected 2 entries",
        ),
        (
            Classifier.knowledge_distillation_loss,
            (torch.zeros(3, 4), torch.zeros(3, 2), [0, 4]),
            r"target_mapping\[1\]: expected",
        ),
        (
            Classifier.knowledge_distillation_loss,
            (torch.zeros(3, 4), torch.zeros(3, 2), [1, 1]),
            "target_mapping: expected different classes",
        ),
    ],
)
def test_wrong_arguments(function: Any, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(*arguments)


def test_deprecated_name() -> None:
    with pytest.warns(DeprecationWarning, match="num_hyper_weights"):
        assert Classifier.num_hyper_weights([[3, 2], [3]]) == 9
