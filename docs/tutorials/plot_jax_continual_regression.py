r"""
Trained in JAX, evaluated in PyTorch
====================================

Three functions are learned one after the other, each without the data of those before. A hypernetwork has an embedding
for each of them and produces the weights of a small perceptron. While it learns function :math:`t`, a regulariser keeps
what it produces for the earlier ones,

.. math:: R = \frac{1}{t} \sum_{j < t} \| h(e_j^*, θ^*) - h(e_j, θ) \|^2.

All of this is one compiled loop in JAX. The result is a folder, from which PyTorch goes on.
"""

import tempfile

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
import torch

import hypnettorch.jax as hj
from hypnettorch.hnets import HyperNetwork
from hypnettorch.mnets import MLP

# %%
# The tasks
# ---------
#
# Each function is known on a part of the line only.

FUNCTIONS = [lambda x: x + 2.0, lambda x: 2 * jnp.square(x) - 1.0, lambda x: 0.4 * x**3 - 1.5 * x]
RANGES = jnp.array([[-4.0, -1.8], [-1.5, 1.5], [1.8, 4.0]])
x = RANGES[:, :1] + (RANGES[:, 1:] - RANGES[:, :1]) * jnp.linspace(0, 1, 50)
y = jnp.stack([function(row) for function, row in zip(FUNCTIONS, x, strict=True)])

# %%
# The perceptron has its weights as PyTorch has them, ``[out, in]``, and so they fit ``MLP`` later.

SHAPES = [[20, 1], [20], [20, 20], [20], [1, 20], [1]]


def predict(weights, x):
    *hidden, last = zip(weights[::2], weights[1::2], strict=True)
    h = x[:, None]
    for weight, bias in hidden:
        h = jax.nn.sigmoid(h @ weight.T + bias)
    return (h @ last[0].T + last[1])[:, 0]


# %%
# Learning one task after the other
# ---------------------------------
#
# ``spec`` says what the hypernetwork is, and ``params`` holds its tensors by name. The number of the task is an input
# of the compiled loop.

spec = hj.HMLP(SHAPES, cond_in_size=4, layers=(10, 10), activation_fn="Sigmoid", num_cond_embs=3)
optimizer = optax.adam(1e-2)


def learn(strength, steps=1000):
    def task(params, task_id):
        targets = hj.get_current_targets(spec, params)

        def loss(params):
            error = jnp.square(predict(hj.generate(spec, params, task_id), x[task_id]) - y[task_id]).mean()
            return error + strength * hj.calc_fix_target_reg(spec, params, task_id, targets)

        def step(state, _):
            params, moments = state
            updates, moments = optimizer.update(jax.grad(loss)(params), moments)
            return (optax.apply_updates(params, updates), moments), None

        return jax.lax.scan(step, (params, optimizer.init(params)), None, steps)[0][0], None

    return jax.lax.scan(task, hj.init(spec, jax.random.key(1)), jnp.arange(3))[0]


params = jax.jit(learn)(0.5)
forgetful = jax.jit(learn)(0.0)


def errors(params):
    weights = hj.generate(spec, params, jnp.arange(3))
    return jnp.square(jax.vmap(predict)(weights, x) - y).mean(axis=1)


print("with the regulariser   ", [f"{error:.3f}" for error in errors(params)])
print("without the regulariser", [f"{error:.3f}" for error in errors(forgetful)])

# %%
# On to PyTorch
# -------------

with tempfile.TemporaryDirectory() as folder:
    hj.save(folder, spec, params)
    hnet = HyperNetwork.from_pretrained(folder)
mnet = MLP(1, 1, [20, 20], activation_fn=torch.nn.Sigmoid(), no_weights=True, verbose=False)
print(hnet)

figure, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
differences = []
with torch.no_grad():
    for task, function in enumerate(FUNCTIONS):
        points = torch.tensor(x[task].tolist())
        predicted = mnet(points[:, None], weights=hnet(cond_id=task))[:, 0]
        axes.plot(x[task], function(x[task]), color=f"C{task}", linewidth=6, alpha=0.3)
        axes.plot(points, predicted, color=f"C{task}", label=f"task {task + 1}")
        axes.plot(x[task], predict(hj.generate(spec, forgetful, task), x[task]), ":", color=f"C{task}")
        in_jax = predict(hj.generate(spec, params, task), x[task])
        differences.append(abs(predicted - torch.tensor(in_jax.tolist())).max().item())
axes.set(xlabel="x", ylabel="y", title="wide: the functions; dotted: learned without the regulariser")
axes.legend()

# sphinx_gallery_start_ignore
if max(differences) > 1e-4:
    raise RuntimeError(f"expected the same in both halves, got differences of {differences}")
if errors(params).max() > 0.1 or errors(forgetful)[0] < 0.5:
    raise RuntimeError(f"expected tasks to be remembered with the regulariser only, got {errors(params)}")
# sphinx_gallery_end_ignore
plt.show()
