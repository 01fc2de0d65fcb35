"""Networks written the way research code on top of the old package writes them: by filling protected lists."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hypnettorch.hnets import HMLP
from hypnettorch.mnets.mlp import MLP
from hypnettorch.mnets.mnet_interface import MainNetInterface


class RBF(nn.Module, MainNetInterface):
    """Radial basis functions: ``y = W exp(-γ |x - c|²) + b``, with centers that may be external as well."""

    def __init__(self, n_in=3, n_centers=6, n_out=2, no_weights=False, module_first=True):
        inits = [nn.Module.__init__, MainNetInterface.__init__]
        for init in inits if module_first else reversed(inits):
            init(self)
        self._no_weights = no_weights
        self._param_shapes = [[n_centers, n_in], [n_centers], [n_out, n_centers], [n_out]]
        self._param_shapes_meta = [
            {"name": name, "index": -1 if no_weights else i, "layer": layer}
            for i, (name, layer) in enumerate([(None, 0), (None, 0), ("weight", 1), ("bias", 1)])
        ]
        self._has_bias = self._has_fc_out = self._mask_fc_out = self._has_linear_out = True
        self._layer_weight_tensors = nn.ParameterList()
        self._layer_bias_vectors = nn.ParameterList()
        if no_weights:
            self._hyper_shapes_learned = self._param_shapes
            self._hyper_shapes_learned_ref = list(range(len(self._param_shapes)))
        else:
            self._internal_params = nn.ParameterList([nn.Parameter(torch.randn(s)) for s in self._param_shapes])
            self._layer_weight_tensors.append(self._internal_params[2])
            self._layer_bias_vectors.append(self._internal_params[3])
        self._is_properly_setup()

    def forward(self, x, weights=None, distilled_params=None, condition=None):
        if distilled_params is not None:
            raise ValueError("distilled_params must be None")
        if weights is None:
            if self._no_weights:
                raise ValueError("weights must be given")
            weights = self.internal_params
        centers, log_gamma, weight, bias = weights
        distances = (x[..., None, :] - centers).square().sum(-1)
        return F.linear(torch.exp(-log_gamma.exp() * distances), weight, bias)

    def distillation_targets(self):
        return None


class OldNamesRBF(nn.Module, MainNetInterface):
    """The same with the names of the first versions, and without a description of the parameters."""

    def __init__(self, n_in=3, n_centers=6, n_out=2, no_weights=False):
        nn.Module.__init__(self)
        MainNetInterface.__init__(self)
        self._all_shapes = [[n_centers, n_in], [n_centers], [n_out, n_centers], [n_out]]
        self._hyper_shapes = self._all_shapes if no_weights else None
        self._weights = (
            None if no_weights else nn.ParameterList([nn.Parameter(torch.randn(s)) for s in self._all_shapes])
        )
        self._has_bias = self._has_fc_out = self._mask_fc_out = self._has_linear_out = True
        self._layer_weight_tensors = nn.ParameterList([] if no_weights else [self._weights[2]])
        self._layer_bias_vectors = nn.ParameterList([] if no_weights else [self._weights[3]])
        self._is_properly_setup()

    def forward(self, x, weights=None, distilled_params=None, condition=None):
        centers, log_gamma, weight, bias = self._weights if weights is None else weights
        distances = (x[..., None, :] - centers).square().sum(-1)
        return F.linear(torch.exp(-log_gamma.exp() * distances), weight, bias)

    def distillation_targets(self):
        return None


class TwoHeads(MLP, MainNetInterface):
    """An MLP that appends a second output layer to the lists, in one of two ways, and writes its own ``forward``."""

    def __init__(self, n_in=3, n_out=2, hidden_layers=(4, 5), by_hand=False, **kwargs):
        nn.Module.__init__(self)
        MainNetInterface.__init__(self)
        MLP.__init__(self, n_in=n_in, n_out=n_out, hidden_layers=hidden_layers, verbose=False, **kwargs)
        layer = 1 + max(meta["layer"] for meta in self.param_shapes_meta)
        if by_hand:
            self._append(n_out, hidden_layers[-1], layer)
        else:
            self._add_fc_layers([hidden_layers[-1]], [n_out], self._no_weights, fc_layers=[layer])
        self._is_properly_setup()

    def _append(self, n_out, n_hidden, layer):
        for name, shape in (("weight", [n_out, n_hidden]), ("bias", [n_out])):
            self._param_shapes.append(shape)
            index = -1
            if self._no_weights:
                self._hyper_shapes_learned.append(shape)
                self._hyper_shapes_learned_ref.append(len(self._param_shapes) - 1)
            else:
                index = len(self._internal_params)
                self._internal_params.append(nn.Parameter(torch.randn(shape)))
                tensors = self._layer_weight_tensors if name == "weight" else self._layer_bias_vectors
                tensors.append(self._internal_params[-1])
            self._param_shapes_meta.append({"name": name, "index": index, "layer": layer})

    def forward(self, x, weights=None, distilled_params=None, condition=None):
        params = list(self.internal_params) if weights is None else list(weights)
        n_cm = self._num_context_mod_shapes()
        if n_cm and len(params) != len(self.param_shapes):
            raise ValueError("weights: this class wants all of them")
        cm_weights, params = params[:n_cm], params[n_cm:]
        n_bn = 2 * len(self.batchnorm_layers) if self._use_batch_norm else 0
        bn_weights, params = params[:n_bn], params[n_bn:]
        layers = list(zip(params[::2], params[1::2], strict=True))
        *hidden, first, second = layers
        for i, (weight, bias) in enumerate(hidden):
            x = F.linear(x, weight, bias)
            if self._use_context_mod:
                x = self.context_mod_layers[i](x, weights=cm_weights[2 * i : 2 * i + 2])
            if self._use_batch_norm:
                layer = self.batchnorm_layers[i]
                mean, var = (None, None) if distilled_params is None else distilled_params[2 * i : 2 * i + 2]
                stats_id = condition
                if self._bn_track_stats and condition is None and mean is None:
                    stats_id = layer.num_stats - 1
                x = layer(x, running_mean=mean, running_var=var, weight=bn_weights[2 * i], bias=bn_weights[2 * i + 1],
                          stats_id=stats_id)  # fmt: skip
            if self._dropout_rate != -1:
                x = self._dropout(x)
            if self._a_fun is not None:
                x = self._a_fun(x)
        if self._use_context_mod and len(self.context_mod_layers) > len(hidden):
            raise ValueError("no_last_layer_context_mod must be set")
        heads = F.linear(x, *first), F.linear(x, *second)
        return heads if self._out_fn is None else tuple(self._out_fn(h) for h in heads)


class ScaledHMLP(HMLP):
    """An HMLP that writes ``forward`` itself, to scale its output."""

    def forward(
        self,
        uncond_input=None,
        cond_input=None,
        cond_id=None,
        weights=None,
        distilled_params=None,
        condition=None,
        ret_format="squeezed",
    ):
        uncond_input, cond_input, uncond_weights, _ = self._preprocess_forward_args(
            uncond_input=uncond_input,
            cond_input=cond_input,
            cond_id=cond_id,
            weights=weights,
            distilled_params=distilled_params,
            condition=condition,
            ret_format=ret_format,
        )
        parts = []
        if self._uncond_in_size > 0:
            parts.append(uncond_input)
        if self._cond_in_size > 0:
            parts.append(cond_input)
        h = torch.cat(parts, dim=1)
        num_bn = 2 * len(self.batchnorm_layers) if self._use_batch_norm else 0
        bn_weights, fc_weights = uncond_weights[:num_bn], uncond_weights[num_bn:]
        step = 2 if self.has_bias else 1
        for i in range(0, len(fc_weights), step):
            h = F.linear(h, *fc_weights[i : i + step])
            if i + step == len(fc_weights):
                break
            if self._use_batch_norm:
                layer = self.batchnorm_layers[i // step]
                scale, shift = bn_weights[2 * (i // step) : 2 * (i // step) + 2]
                h = layer(h, weight=scale, bias=shift, stats_id=layer.num_stats - 1 if condition is None else condition)
            if self._dropout_rate != -1:
                h = self._dropout(h)
            if self._act_fn is not None:
                h = self._act_fn(h)
        return self._flat_to_ret_format(0.5 * h, ret_format)
