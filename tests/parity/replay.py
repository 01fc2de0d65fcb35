"""Replay of recorded cases: what earlier versions of the library computed, described as plain data.

A case says how an object is constructed and called, and what comes out of it. Nothing random is stored: an array is
``numpy.random.RandomState(seed).standard_normal(shape)``, scaled and shifted (:func:`tensor`); tensor ``i`` of a list
of shapes has the seed ``1000 * seed + i`` (:func:`params`). Tensors in the expected results are their shape, sum, sum
of absolute values and up to 16 entries; a gradient is the absolute sum and the sum of that of ``0.5 * sum(output **
2)``.

Cases run in float64, unless they say otherwise, with relative tolerance 1e-9 against the entry plus the mean absolute
entry; float32 has 1e-5, and statistics of random initialisations 10 %. Further families of cases are further files in
``cases/``, a list of cases each.
"""

import contextlib
import importlib
import io
import itertools
import json
import warnings

import numpy as np
import torch
import torch.nn.functional as F

RTOL = {"float64": 1e-9, "float32": 1e-5}
DTYPE = {"float64": torch.float64, "float32": torch.float32}

ACTS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid, "elu": torch.nn.ELU}

###########################
### Deterministic recipe ##
###########################


def draw(seed, shape):
    """Standard normal array of the given shape (numpy, float64)."""
    return np.random.RandomState(seed).standard_normal(tuple(shape))


def default_scale(shape):
    if len(shape) > 1:
        return 1.0 / np.sqrt(np.prod(shape[1:]))
    return 0.3


def tensor(seed, shape, scale=1.0, offset=0.0, positive=False):
    a = draw(seed, shape)
    if positive:
        a = np.abs(a) + 0.1
    return torch.tensor(a * scale + offset, dtype=torch.get_default_dtype())


def params(shapes, seed, offset_idx=(), positive_idx=(), scale=None, batch=None):
    """The list of tensors for a list of shapes: tensor i uses RandomState
    ``seed*1000+i``."""
    ret = []
    for i, s in enumerate(shapes):
        sc = default_scale(s) if scale is None else scale
        s = list(s) if batch is None else [batch, *s]
        ret.append(tensor(seed * 1000 + i, s, sc, 1.0 if i in offset_idx else 0.0, i in positive_idx))
    return ret


##############################
### Assembly functions etc. ##
##############################


def _asm_extend(chunks):
    ret = []
    for c in chunks:
        ret.extend(c)
    return ret


def _asm_pairs(chunks):
    # Last two chunks are concatenated (tensor-wise) along the first dimension.
    ret = []
    for c in chunks[:-2]:
        ret.extend(c)
    return ret + [torch.cat([a, b], dim=0) for a, b in zip(chunks[-2], chunks[-1], strict=False)]


def _asm_container(hnet_tensors, uncond, cond):
    # hnet 0, unconditional, conditional, remaining hnets.
    ret = list(hnet_tensors[0]) if len(hnet_tensors) > 0 else []
    ret = ret + list(uncond) + list(cond)
    for t in hnet_tensors[1:]:
        ret = ret + list(t)
    return ret


def _handler_first(n):
    def fct(uncond_input=None, cond_input=None, cond_id=None):
        return uncond_input[:, :n], cond_input, cond_id

    return fct


def _handler_add_rest(n):
    def fct(hnet_out_int, uncond_input=None, cond_input=None, cond_id=None):
        return hnet_out_int + uncond_input[:, n:]

    return fct


def _make_fn(spec):
    name, args = (spec, []) if isinstance(spec, str) else (spec[0], spec[1:])
    table = {
        "extend": lambda: _asm_extend,
        "pairs": lambda: _asm_pairs,
        "container": lambda: _asm_container,
        "first_inputs": lambda: _handler_first(*args),
        "add_rest": lambda: _handler_add_rest(*args),
        "fill_cond": lambda: lambda e, cid: torch.nn.init.constant_(e, 1.0 + cid),
        "fill_chunk": lambda: (
            lambda e, cid, cond_id=None: torch.nn.init.constant_(e, 1.0 + cid + 10.0 * (cond_id or 0))
        ),
        "scale2": lambda: lambda x, seq_lengths=None: 2.0 * x,
    }
    return table[name]()


#################
### Evaluation ##
#################


def attr(obj, path):
    for p in path.split("."):
        obj = obj[int(p)] if p.lstrip("-").isdigit() else getattr(obj, p)
    return obj


def cm_shapes(net, invert=False):
    ret = []
    for s, m in zip(net.param_shapes, net.param_shapes_meta, strict=False):
        if (m["name"] in ("cm_scale", "cm_shift")) != invert:
            ret.append(s)
    return ret


def which_shapes(net, which):
    return {
        "params": lambda: net.param_shapes,
        "learned": lambda: net.hyper_shapes_learned,
        "distilled": lambda: net.hyper_shapes_distilled,
        "uncond": lambda: net.unconditional_param_shapes,
        "cond": lambda: net.conditional_param_shapes,
        "target": lambda: net.target_shapes,
        "chunk_embs": lambda: net.chunk_emb_shapes,
        "cm": lambda: cm_shapes(net),
        "non_cm": lambda: cm_shapes(net, invert=True),
        "weight_shapes": lambda: net.weight_shapes,
    }[which]()


class Env(dict):
    def __init__(self):
        super().__init__()
        self.leaves = []


def ev(v, env):
    """Evaluate the JSON mini-language (see README)."""
    if isinstance(v, list):
        return [ev(x, env) for x in v]
    if not isinstance(v, dict):
        return v
    if len(v) == 1:
        k, a = next(iter(v.items()))
        if k == "$t":
            return tensor(a["seed"], a["shape"], a.get("scale", 1.0), a.get("offset", 0.0), a.get("positive", False))
        if k == "$i":
            r = np.random.RandomState(a["seed"]).randint(0, a["high"], size=tuple(a["shape"]))
            return torch.tensor(r, dtype=torch.long)
        if k == "$onehot":
            r = np.random.RandomState(a["seed"]).randint(0, a["n"], size=tuple(a["shape"]))
            return torch.eye(a["n"])[torch.tensor(r, dtype=torch.long)]
        if k == "$act":
            return ACTS[a]()
        if k == "$fn":
            return _make_fn(a)
        if k == "$ref":
            return attr(env[a.split(".")[0]], ".".join(a.split(".")[1:])) if "." in a else env[a]
        if k == "$net":
            return build(a, env)
        if k == "$tuple":
            return tuple(ev(a, env))
        if k == "$list":
            return list(ev(a, env))
        if k == "$params":
            ps = params(
                which_shapes(env[a.get("of", "self")], a.get("which", "params")),
                a["seed"],
                a.get("offset_idx", ()),
                a.get("positive_idx", ()),
                a.get("scale"),
                a.get("batch"),
            )
            if a.get("sub") is not None:
                ps = [ps[i] for i in a["sub"]]
            if a.get("which") != "distilled":
                for p in ps:
                    p.requires_grad_(True)
                env.leaves.extend(ps)
            return ps
        if k == "$detached":
            return [p.detach().clone() for p in ev(a, env)]
        if k == "$cls":
            mod, cls = a.split(":")
            return getattr(importlib.import_module(mod), cls)
    return {k: ev(x, env) for k, x in v.items()}


def internal_list(net):
    for name in ["internal_params", "weights", "_weights"]:
        try:
            ret = getattr(net, name)
        except (AttributeError, NotImplementedError):
            continue
        return [] if ret is None else list(ret)
    return list(net.parameters())


def assign(net, w, env):
    """Overwrite internally maintained parameters by the recipe."""
    if w is None:
        return
    mode = w.get("assign", "meta")
    if mode == "named":
        with torch.no_grad():
            for i, (_, p) in enumerate(sorted(net.named_parameters())):
                p.copy_(params([p.shape], w["seed"] + i)[0])
        return
    if mode == "weight_shapes":
        shapes = net.weight_shapes
    else:
        shapes = net.param_shapes
    vals = params(shapes, w["seed"], w.get("offset_idx", ()), (), w.get("scale"))
    ints = internal_list(net)
    index = list(range(len(shapes)))
    if mode == "meta":
        index = [m["index"] for m in net.param_shapes_meta]
    with torch.no_grad():
        for i, ind in enumerate(index):
            if ind == -1:
                continue
            assert list(ints[ind].shape) == list(shapes[i]), f"internal parameter {ind} has unexpected shape"
            if w.get("add"):
                ints[ind].add_(vals[i] * w["add"])
            else:
                ints[ind].copy_(vals[i])


def build(spec, env):
    if "chunking" in spec:
        return build_chunked(spec, env)
    mod = importlib.import_module(spec["module"])
    cls = getattr(mod, spec["class"])
    torch.manual_seed(0)
    np.random.seed(0)
    obj = cls(*ev(spec.get("args", []), env), **ev(spec.get("kwargs", {}), env))
    if isinstance(obj, torch.nn.Module):
        obj.to(torch.get_default_dtype())
    if spec.get("weights") is not None:
        assign(obj, spec["weights"], env)
    return obj


def build_chunked(spec, env):
    """A StructuredHMLP built from a chunking helper function."""
    c = spec["chunking"]
    mnet = build(c["mnet"], env)
    env["mnet"] = mnet
    mod, fct = c["function"].split(":")
    ret = getattr(importlib.import_module(mod), fct)(mnet, **c["options"])
    chunk_shapes, num_per_chunk, assembly_fct = ret
    env["chunk_shapes"] = [[list(s) for s in cs] for cs in chunk_shapes]
    env["num_per_chunk"] = [int(n) for n in num_per_chunk]
    target = [list(s) for s in mnet.param_shapes]
    metas = mnet.param_shapes_meta
    keep = list(range(len(target)))
    if c.get("drop_bn"):
        keep = [i for i in keep if not metas[i]["name"].startswith("bn_")]
    if c.get("drop_out"):
        keep = keep[: -c["drop_out"]]
    target = [target[i] for i in keep]
    mod = importlib.import_module(spec["module"])
    torch.manual_seed(0)
    obj = getattr(mod, spec["class"])(
        target, chunk_shapes, num_per_chunk, assembly_fct=assembly_fct, **ev(spec["kwargs"], env)
    )
    obj.to(torch.get_default_dtype())
    assign(obj, spec.get("weights"), env)
    return obj


############
### Facts ##
############


def _shapes(x):
    return None if x is None else [[int(d) for d in s] for s in x]


def _bias_idx(net):
    """For every bias (bn/cm shift) the position of the weight (bn/cm scale) in
    ``param_shapes`` that is declared to be part of the same layer."""
    metas = net.param_shapes_meta
    pair = {"bias": "weight", "bn_shift": "bn_scale", "cm_shift": "cm_scale"}
    ret = []
    for i, m in enumerate(metas):
        if m["name"] in pair and m["layer"] != -1:
            ret.append(
                [i, [j for j, k in enumerate(metas) if k["name"] == pair[m["name"]] and k["layer"] == m["layer"]]]
            )
    return ret


def _n(x):
    return 0 if x is None else len(x)


FACTS = {
    "param_shapes": lambda n: _shapes(n.param_shapes),
    "hyper_shapes_learned": lambda n: _shapes(n.hyper_shapes_learned) or [],
    "hyper_shapes_learned_ref": lambda n: list(n.hyper_shapes_learned_ref or []),
    "hyper_shapes_distilled": lambda n: _shapes(n.hyper_shapes_distilled) or [],
    "num_params": lambda n: int(n.num_params),
    "num_internal_params": lambda n: int(n.num_internal_params),
    "len_internal_params": lambda n: _n(n.internal_params),
    "internal_shapes": lambda n: _shapes(
        [p.shape for p in (n.internal_params if n.internal_params is not None else [])]
    ),
    "has_bias": lambda n: bool(n.has_bias),
    "has_fc_out": lambda n: bool(n.has_fc_out),
    "mask_fc_out": lambda n: bool(n.mask_fc_out),
    "has_linear_out": lambda n: bool(n.has_linear_out),
    "layer_weight_shapes": lambda n: _shapes([p.shape for p in n.layer_weight_tensors]),
    "n_batchnorm_layers": lambda n: _n(n.batchnorm_layers),
    "n_context_mod_layers": lambda n: _n(n.context_mod_layers),
    "meta_names": lambda n: [m["name"] for m in n.param_shapes_meta],
    "meta_index": lambda n: [m["index"] for m in n.param_shapes_meta],
    "meta_same_layer": _bias_idx,
    "internal_params_ref": lambda n: list(n.internal_params_ref or []),
    "unconditional_param_shapes_ref": lambda n: list(n.unconditional_param_shapes_ref),
    "conditional_param_shapes_ref": lambda n: list(n.conditional_param_shapes_ref),
    "unconditional_param_shapes": lambda n: _shapes(n.unconditional_param_shapes),
    "conditional_param_shapes": lambda n: _shapes(n.conditional_param_shapes),
    "unconditional_params_ref": lambda n: list(n.unconditional_params_ref or []),
    "n_unconditional_params": lambda n: _n(n.unconditional_params),
    "n_conditional_params": lambda n: _n(n.conditional_params),
    "num_outputs": lambda n: int(n.num_outputs),
    "target_shapes": lambda n: _shapes(n.target_shapes),
    "num_known_conds": lambda n: int(n.num_known_conds),
    "num_chunks": lambda n: int(n.num_chunks),
    "chunk_emb_size": lambda n: int(n.chunk_emb_size),
    "chunk_emb_shapes": lambda n: _shapes(n.chunk_emb_shapes),
    "cond_chunk_embs": lambda n: bool(n.cond_chunk_embs),
    "n_internal_hnets": lambda n: len(n.internal_hnets),
    "num_rec_layers": lambda n: int(n.num_rec_layers),
    "use_lstm": lambda n: bool(n.use_lstm),
    "num_classes": lambda n: int(n.num_classes),
    "weight_shapes": lambda n: _shapes(n.weight_shapes),
    "num_stats": lambda n: int(n.num_stats),
    "num_ckpts": lambda n: int(n.num_ckpts),
    "has_gains": lambda n: bool(n.has_gains),
    "has_shifts": lambda n: bool(n.has_shifts),
    "gain_offset_applied": lambda n: bool(n.gain_offset_applied),
    "gain_softplus_applied": lambda n: bool(n.gain_softplus_applied),
    "out_height": lambda n: int(n.out_height),
    "out_width": lambda n: int(n.out_width),
}


def facts(net, names=None):
    ret = {}
    for k in FACTS if names is None else names:
        try:
            ret[k] = FACTS[k](net)
        except Exception as e:
            if names is not None:
                ret[k] = f"raised {type(e).__name__}"
    return ret


def summarize(x, nvals=16):
    if isinstance(x, torch.Tensor):
        a = x.detach().cpu().reshape(-1)
        a = a.to(torch.float64).numpy()
        n = a.size
        m = min(n, nvals)
        idx = [(k * (n - 1)) // (m - 1) if m > 1 else 0 for k in range(m)]
        return {
            "shape": [int(d) for d in x.shape],
            "sum": float(a.sum()),
            "abs": float(np.abs(a).sum()),
            "vals": [float(a[i]) for i in idx],
        }
    if isinstance(x, (list, tuple, torch.nn.ParameterList)):
        return {"list": [summarize(e, nvals) for e in x]}
    if isinstance(x, dict):
        return {"dict": {str(k): summarize(e, nvals) for k, e in x.items()}}
    if isinstance(x, (bool, np.bool_)):
        return bool(x)
    if isinstance(x, (int, np.integer)):
        return int(x)
    if isinstance(x, (float, np.floating)):
        return {"num": float(x)}
    if x is None or isinstance(x, str):
        return x
    if isinstance(x, np.ndarray):
        return summarize(torch.tensor(x), nvals)
    raise TypeError(f"cannot summarize {type(x).__name__}")


def tensors_of(x):
    if isinstance(x, torch.Tensor):
        return [x] if x.is_floating_point() else []
    if isinstance(x, (list, tuple)):
        return list(itertools.chain(*[tensors_of(e) for e in x]))
    return []


def grads(loss, leaves):
    gs = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [[float(g.abs().sum()), float(g.sum())] if g is not None else [0.0, 0.0] for g in gs]


#################
### Generic run #
#################


def run_generic(case):
    env = Env()
    exp = {}
    nv = case.get("nvals", 16)
    for name, spec in case.get("objects", []):
        env[name] = build(spec, env)
    if "class" in case:
        env["self"] = build(case, env)
        if "facts" in case:
            exp["facts"] = facts(env["self"], case["facts"])
        if "chunking" in case:
            exp["chunk_shapes"] = env["chunk_shapes"]
            exp["num_per_chunk"] = env["num_per_chunk"]
    exp["calls"] = []
    for call in case.get("calls", []):
        exp["calls"].append(run_call(call, env, nv))
    return exp


def run_call(call, env, nv):
    env.leaves = []
    rec = {}
    if "assign" in call:  # Overwrite internal weights.
        assign(env[call.get("on", "self")], call["assign"], env)
        return rec
    if "setattr" in call:
        setattr(env[call.get("on", "self")], *call["setattr"])
        return rec
    if "set" in call:  # Store a value for later use.
        env[call["set"]] = ev(call["value"], env)
        return rec
    if "train" in call:
        env[call.get("on", "self")].train(call["train"])
    if "np_seed" in call:
        np.random.seed(call["np_seed"])
    if "torch_seed" in call:
        torch.manual_seed(call["torch_seed"])
    args = ev(call.get("args", []), env)
    kwargs = ev(call.get("kwargs", {}), env)
    leaves = list(env.leaves)
    if "fn" in call:
        mod, fct = call["fn"].split(":")
        fct = attr(importlib.import_module(mod), fct)
    elif "attr" in call:
        val = attr(env[call.get("on", "self")], call["attr"])
        rec["out"] = summarize(val, nv)
        return rec
    else:
        fct = attr(env[call.get("on", "self")], call.get("method", "forward"))
    if call.get("raises"):
        try:
            fct(*args, **kwargs)
        except Exception:
            rec["raised"] = True
        else:
            rec["raised"] = False
        return rec
    out = fct(*args, **kwargs)
    if call.get("save"):
        env[call["save"]] = out
    if call.get("record", True):
        rec["out"] = summarize(out, nv)
        ts = tensors_of(out)
        if len(ts) > 0 and torch.get_default_dtype() == torch.float32:
            rec["dtype"] = str(ts[0].dtype)
    if call.get("grad"):
        if call["grad"] == "leaves":
            src = leaves
        else:
            src = [p for p in internal_list(env[call.get("grad_of", "self")]) if p.requires_grad]
        loss = 0
        for t in tensors_of(out):
            loss = loss + 0.5 * (t**2).sum()
        rec["grad"] = grads(loss, src)
    for p in call.get("probe", []):
        val = attr(env[call.get("on", "self")], p["attr"])
        if "method" in p:
            val = getattr(val, p["method"])(*p.get("args", []))
        rec.setdefault("probe", []).append(summarize(val, nv))
    return rec


##################
### Special runs #
##################


def run_hyperfan(case):
    """Variance of every generated tensor, pooled over several inits and many
    random zero-mean inputs."""
    env = Env()
    mnet = build(case["mnet"], env) if case.get("mnet") else None
    hnet = build(case, env)
    kw = ev(case["init"], env)
    if mnet is not None:
        kw["mnet"] = mnet
    nb, n_in_u, n_in_c = case["batch"], case["uncond"], case["cond"]
    acc = None
    for r in range(case["repeats"]):
        torch.manual_seed(case["seed"] + r)
        np.random.seed(case["seed"] + r)
        if case["kind"] == "chunked_hyperfan":
            hnet.apply_chunked_hyperfan_init(**kw)
        else:
            hnet.apply_hyperfan_init(**kw)
        ui = ci = None
        if n_in_u:
            ui = tensor(case["seed"] * 1000 + 2 * r, [nb, n_in_u], np.sqrt(kw.get("uncond_var", 1.0)))
        if n_in_c:
            ci = tensor(case["seed"] * 1000 + 2 * r + 1, [nb, n_in_c], np.sqrt(kw.get("cond_var", 1.0)))
        with torch.no_grad():
            W = hnet.forward(uncond_input=ui, cond_input=ci, ret_format="flattened")
        sizes = [int(np.prod(s)) for s in hnet.target_shapes]
        m2 = np.array([float((w**2).mean()) for w in torch.split(W, sizes, dim=1)])
        acc = m2 if acc is None else acc + m2
    return {"second_moment": [float(a) for a in acc / case["repeats"]]}


class _Data:
    """Minimal in-memory stand-in for a dataset handler."""

    def __init__(self, x, y, classification, time_series=False):
        self.x, self.y = x, y
        self.ts = time_series
        self.classification = classification
        self.is_one_hot = True if classification else None
        self.num_classes = y.shape[-1] if classification else None
        self.out_shape = [y.shape[-1]]
        self.in_shape = [x.shape[-1]]
        self.num_train_samples = x.shape[1] if time_series else x.shape[0]
        self.num_test_samples = self.num_val_samples = 0
        self.reset_batch_generator()

    def reset_batch_generator(self, train=True, test=True, val=True):
        self.pos = 0

    def next_train_batch(self, batch_size, use_one_hot=None, return_ids=False):
        n = self.num_train_samples
        ids = np.array([(self.pos + i) % n for i in range(batch_size)])
        self.pos = (self.pos + batch_size) % n
        ret = [ids.reshape(-1, 1), ids.reshape(-1, 1)]
        return [*ret, ids] if return_ids else ret

    def _take(self, t, ids):
        ids = torch.tensor(np.asarray(ids).reshape(-1))
        return t[:, ids] if self.ts else t[ids]

    def input_to_torch_tensor(self, x, device=None, mode="inference", force_no_preprocessing=False, sample_ids=None):
        return self._take(self.x, x)

    def output_to_torch_tensor(self, y, device=None, mode="inference", force_no_preprocessing=False, sample_ids=None):
        return self._take(self.y, y)


def run_ewc(case):
    from hypnettorch.utils.ewc_regularizer import compute_fisher, context_mod_forward, ewc_regularizer

    env = Env()
    mnet = build(case, env)
    env["self"] = mnet
    ps = list(mnet.internal_params)
    kw0 = {}
    if case.get("mod_weights"):
        mod = [p.detach() for p in ev(case["mod_weights"], env)]
        kw0["custom_forward"] = context_mod_forward(mod_weights=mod)
    ret = {"regs": []}
    online = case.get("online", False)
    for t, task in enumerate(case["tasks"]):
        data = _Data(
            ev(task["x"], env), ev(task["y"], env), not case.get("regression", False), case.get("time_series", False)
        )
        kw = dict(case.get("fisher_kwargs", {}))
        kw.update(task.get("fisher_kwargs", {}))
        kw.update(kw0)
        compute_fisher(
            t,
            data,
            ps,
            torch.device("cpu"),
            mnet,
            online=online,
            regression=case.get("regression", False),
            time_series=case.get("time_series", False),
            **kw,
        )
        zero = ewc_regularizer(t + 1, ps, mnet, online=online)
        assign(mnet, task["shift"], env)
        reg = ewc_regularizer(t + 1, ps, mnet, online=online)
        ret["regs"].append({"reg": summarize(reg), "grad": grads(reg, ps), "zero": summarize(zero)})
    return ret


def run_si(case):
    from hypnettorch.utils.si_regularizer import (
        si_compute_importance,
        si_post_optim_step,
        si_pre_optim_step,
        si_regularizer,
    )

    env = Env()
    net = build(case, env)
    ps = list(net.internal_params)
    ret = {"regs": []}
    name = case.get("params_name")
    for _t, task in enumerate(case["tasks"]):
        for s in range(task["steps"]):
            x = tensor(task["seed"] + 2 * s, task["x"])
            y = tensor(task["seed"] + 2 * s + 1, task["y"])
            use_delta = case.get("use_delta", False)
            si_pre_optim_step(net, ps, params_name=name, no_pre_step_ckpt=use_delta)
            for p in ps:
                p.grad = None
            F.mse_loss(net.forward(x), y).backward()
            deltas = [-task["lr"] * p.grad.detach().clone() for p in ps]
            with torch.no_grad():
                for p, d in zip(ps, deltas, strict=False):
                    p.add_(d)
            si_post_optim_step(net, ps, params_name=name, delta_params=deltas if use_delta else None)
        kw = {}
        if "epsilon" in case:
            kw["epsilon"] = case["epsilon"]
        si_compute_importance(net, ps, params_name=name, **kw)
        with torch.no_grad():
            noise = params([p.shape for p in ps], task["seed"])
            for p, e in zip(ps, noise, strict=False):
                p.add_(0.1 * e)
        reg = si_regularizer(net, ps, params_name=name)
        ret["regs"].append({"reg": summarize(reg), "grad": grads(reg, ps)})
    return ret


def run_optim(case):
    from hypnettorch.utils.optim_step import calc_delta_theta

    shapes = case["shapes"]
    ps = [torch.nn.Parameter(p) for p in params(shapes, case["seed"])]
    opt = getattr(torch.optim, case["optimizer"])(ps, **case["opt_kwargs"])
    ret = {"steps": []}
    for s in range(case["steps"]):
        opt.zero_grad()
        tgt = params(shapes, case["seed"] + 10 + s)
        loss = sum((torch.sin(p) * t + 0.5 * (p - t) ** 2).sum() for p, t in zip(ps, tgt, strict=False))
        loss.backward()
        before = [p.detach().clone() for p in ps]
        d = calc_delta_theta(opt, case["use_sgd_change"], lr=case.get("lr"), detach_dt=case.get("detach_dt", True))
        opt.step()
        rec = {"delta": summarize(list(d))}
        if not case["use_sgd_change"]:
            rec["matches_step"] = all(
                bool(torch.allclose(p.detach() - b, e, rtol=1e-3, atol=1e-12))
                for p, b, e in zip(ps, before, d, strict=False)
            )
        ret["steps"].append(rec)
    return ret


def run_leapfrog(case):
    from hypnettorch.utils.hmc import leapfrog

    q = tensor(case["seed"], [case["dim"]]).requires_grad_(True)
    p = tensor(case["seed"] + 1, [case["dim"]])
    A = tensor(case["seed"] + 2, [case["dim"], case["dim"]])
    A = A @ A.t() / case["dim"] + torch.eye(case["dim"])

    def pot(x):
        return 0.5 * torch.dot(x, A @ x) + torch.cos(x).sum()

    m = ev(case["inv_mass"], Env())
    if isinstance(m, torch.Tensor) and m.dim() == 2:
        m = m @ m.t() / m.shape[0] + torch.eye(m.shape[0])
    q2, p2 = leapfrog(q, p, case["stepsize"], case["num_steps"], m, pot)
    return {"position": summarize(q2), "momentum": summarize(p2)}


def run_pot_energy(case):
    from hypnettorch.utils import hmc

    env = Env()
    net = build(case, env)
    env["self"] = net
    x, y = ev(case["x"], env), ev(case["y"], env)

    def prior(q):
        return hmc.log_prob_standard_normal_prior(q, **case["prior"])

    fct = hmc.nn_pot_energy(net, x, y, prior, **case["options"])
    q = torch.cat([p.flatten() for p in params(net.param_shapes, case["seed"])]).detach().requires_grad_(True)
    u = fct(q)
    (g,) = torch.autograd.grad(u, q)
    return {"u": summarize(u), "prior": summarize(prior(q)), "grad": summarize(g)}


def run_hmc(case):
    """Long chains on an anisotropic Gaussian: moments, in standard
    deviations."""
    from hypnettorch.utils import hmc

    std = torch.tensor(case["std"])

    def pot(q):
        return (0.5 * (q / std) ** 2).sum()

    torch.manual_seed(case["seed"])
    np.random.seed(case["seed"])
    q0 = torch.zeros(len(case["std"]))
    chain = getattr(hmc, case["class"])(q0, pot, **case["kwargs"])
    chain.simulate_chain(case["states"])
    pos = torch.stack([p.detach() for p in chain.position_trajectory])
    var = (pos[case["states"] // 10 :] / std).var(dim=0)
    return {
        "num_states": int(chain.num_states),
        "var_ok": bool(((var - 1.0).abs() < case["tol"]).all()),
        "accept_ok": bool(0.0 < float(chain.acceptance_probability) <= 1.0) if case["class"] != "NUTS" else True,
    }


def run_reg_subset(case):
    """Option batch_size smaller than the number of previous tasks."""
    from hypnettorch.utils.hnet_regularizer import calc_fix_target_reg, get_current_targets

    env = Env()
    hnet = build(case, env)
    T, B = case["task_id"], case["batch_size"]
    targets = get_current_targets(T, hnet)
    assign(hnet, case["shift"], env)
    single = []
    for t in range(T):
        sc = [0.0] * T
        sc[t] = float(T)
        single.append(float(calc_fix_target_reg(hnet, T, targets=targets, reg_scaling=sc)))
    allowed = [np.mean(c) for c in itertools.combinations(single, B)]
    seen = set()
    ok = True
    for r in range(25):
        torch.manual_seed(r)
        np.random.seed(r)
        v = float(calc_fix_target_reg(hnet, T, targets=targets, batch_size=B))
        d = [abs(v - a) / abs(a) for a in allowed]
        ok = ok and min(d) < 1e-9
        seen.add(int(np.argmin(d)))
    return {"single": [{"num": s} for s in single], "subset_ok": bool(ok), "random": len(seen) > 1}


def run_random_init(case):
    """Moments and range of a random init function."""
    mod, fct = case["fn"].split(":")
    fct = attr(importlib.import_module(mod), fct)
    torch.manual_seed(case["seed"])
    t = [torch.empty(*s) for s in case["shapes"]]
    fct(*t, **case.get("kwargs", {}))
    return {"second_moment": [float((a**2).mean()) for a in t], "range_moment": [float(a.abs().max()) for a in t]}


def run_net_init(case):
    """Orthogonality/second moment of internally initialized weights."""
    env = Env()
    net = build(case, env)
    for c in case.get("calls", []):
        getattr(net, c["method"])(**c.get("kwargs", {}))
    ret = {}
    if case.get("orthogonal"):
        errs = []
        for w in [net.internal_params[i] for i in case["orthogonal"]]:
            n = w.shape[1]
            for blk in torch.split(w.detach(), n, dim=0):
                errs.append(float((blk @ blk.t() - torch.eye(n)).abs().max()))
        ret["orthogonal_ok"] = bool(max(errs) < 1e-6)
    if case.get("moments"):
        ret["second_moment"] = [float((net.internal_params[i] ** 2).mean()) for i in case["moments"]]
    if case.get("zeros"):
        ret["zeros_ok"] = all(bool((net.internal_params[i] == 0).all()) for i in case["zeros"])
    return ret


KINDS = {
    "net": run_generic,
    "func": run_generic,
    "hyperfan": run_hyperfan,
    "chunked_hyperfan": run_hyperfan,
    "ewc": run_ewc,
    "si": run_si,
    "optim": run_optim,
    "leapfrog": run_leapfrog,
    "pot_energy": run_pot_energy,
    "hmc": run_hmc,
    "reg_subset": run_reg_subset,
    "random_init": run_random_init,
    "net_init": run_net_init,
}


def run_case(case):
    """Replay a case and return the observed results (JSON-compatible)."""
    old = torch.get_default_dtype()
    torch.set_default_dtype(DTYPE[case.get("dtype", "float64")])
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            return json.loads(json.dumps(KINDS[case["kind"]](case)))
    finally:
        torch.set_default_dtype(old)


##############
### Compare ##
##############


def _close(a, b, rtol, scale):
    return abs(a - b) <= rtol * (abs(b) + scale) + 1e-300


def _is_num(x):
    return isinstance(x, (int, float)) and not isinstance(x, bool)


def compare(got, exp, rtol, path=""):
    """Return ``None`` if ``got`` agrees with ``exp``, else a reason."""
    if isinstance(exp, dict):
        if not isinstance(got, dict):
            return f"{path}: expected a structure, got {got!r}"
        if "vals" in exp and "shape" in exp:
            if got.get("shape") != exp["shape"]:
                return "{}: shape {}, expected {}".format(path, got.get("shape"), exp["shape"])
            n = max(1, int(np.prod(exp["shape"])))
            mean = exp["abs"] / n
            for i, (a, b) in enumerate(zip(got["vals"], exp["vals"], strict=False)):
                if not _close(a, b, rtol, mean):
                    return f"{path}: entry {i} is {a:.12g}, expected {b:.12g}"
            for k in ["abs", "sum"]:
                if not _close(got[k], exp[k], rtol, exp["abs"]):
                    return f"{path}: {k} is {got[k]:.12g}, expected {exp[k]:.12g}"
            return None
        if set(exp) == {"num"}:
            if not isinstance(got.get("num"), float) or not _close(got["num"], exp["num"], rtol, 0.0):
                return "{}: is {}, expected {}".format(path, got.get("num"), exp["num"])
            return None
        for k in exp:
            if k not in got:
                return f"{path}.{k} is missing"
            if k in ("second_moment", "range_moment"):  # Statistical.
                for i, (a, b) in enumerate(zip(got[k], exp[k], strict=False)):
                    if not abs(a - b) <= 0.1 * abs(b) + 1e-12:
                        return f"{path}.{k}[{i}] is {a:.6g}, expected {b:.6g} +- 10%"
                if len(got[k]) != len(exp[k]):
                    return f"{path}.{k} has wrong length"
                continue
            if k == "grad" and isinstance(exp[k], list):
                if len(got[k]) != len(exp[k]):
                    return f"{path}.grad: {len(got[k])} tensors, expected {len(exp[k])}"
                top = max([e[0] for e in exp[k]] + [0.0])
                for i, (a, b) in enumerate(zip(got[k], exp[k], strict=False)):
                    for x, y in zip(a, b, strict=False):
                        if not _close(x, y, 10 * rtol, b[0] + 1e-3 * top):
                            return f"{path}.grad[{i}] is {x:.12g}, expected {y:.12g}"
                continue
            r = compare(got[k], exp[k], rtol, path + "." + k)
            if r is not None:
                return r
        return None
    if isinstance(exp, list):
        if not isinstance(got, list) or len(got) != len(exp):
            return f"{path}: {str(got)[:60]}, expected {str(exp)[:60]}"
        for i, (a, b) in enumerate(zip(got, exp, strict=False)):
            r = compare(a, b, rtol, f"{path}[{i}]")
            if r is not None:
                return r
        return None
    if isinstance(exp, float) and _is_num(got):
        return None if _close(got, exp, rtol, 0.0) else f"{path}: {got!r}, expected {exp!r}"
    if got != exp or type(got) is not type(exp):
        return f"{path}: {got!r}, expected {exp!r}"
    return None


def rtol_of(case):
    return case.get("rtol", RTOL[case.get("dtype", "float64")])


def check_case(case):
    """Return ``None`` if the case passes, else the reason (a string)."""
    try:
        got = run_case(case)
        return compare(got, case["expected"], rtol_of(case))
    except Exception as e:
        return f"crashed: {type(e).__name__}: {e}"
