r"""
Adapters for a transformer, from a description
==============================================

A transformer was trained to count: after 3, 4, 5 it says 6. Now it is to count in other steps as well, without being
trained again. From a description of the step, a hypernetwork makes an adapter: thin matrices :math:`A_i, B_i` whose
products are added to the frozen weights of the transformer,

.. math:: W_i + g_i B_i A_i.

The products are never formed, and many descriptions are served in one pass, each with an adapter of its own.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn

from hypnettorch.core.low_rank import sum_of_stacked
from hypnettorch.hnets import HMLP, HLowRank
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import ModuleNet
from hypnettorch.utils.peft_adapters import load_peft_adapter, save_peft_adapter

torch.manual_seed(0)

# %%
# The base model
# --------------
#
# A small causal transformer, written as anybody would, reads numbers on a clock of twelve and predicts the next one.

NUMBERS, LENGTH, WIDTH, HEADS = 12, 10, 32, 4


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(-2, -3) for part in self.qkv(self.norm1(x)).chunk(3, -1))
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(-2, -3).flatten(-2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(NUMBERS, WIDTH), nn.Parameter(0.1 * torch.randn(LENGTH, WIDTH))
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, NUMBERS))

    def forward(self, numbers):
        return self.head(self.blocks(self.tokens(numbers) + self.positions))


def sequences(steps, count):
    """Numbers ``[len(steps), count, LENGTH]`` and what follows each of them."""
    start = torch.randint(NUMBERS, (len(steps), count, 1))
    numbers = (start + torch.tensor(steps)[:, None, None] * torch.arange(LENGTH + 1)) % NUMBERS
    return numbers[..., :-1], numbers[..., 1:]


def loss_of(logits, following):
    return F.cross_entropy(logits.flatten(0, -2), following.flatten())


transformer = Transformer()
optimizer = torch.optim.Adam(transformer.parameters(), lr=3e-3)
for _ in range(200):
    numbers, following = (part[0] for part in sequences([1], 64))
    loss = loss_of(transformer(numbers), following)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
# A hypernetwork of factors
# -------------------------
#
# ``include`` says what adapters change: here the linear layers inside of the blocks, whose names are those of the
# module's parameters. All other weights and the base values of these stay as they are. ``HLowRank`` turns any
# hypernetwork into one that makes factors; the rank may differ between layers.

for parameter in transformer.parameters():
    parameter.requires_grad_(False)
net = ModuleNet(transformer, include=["blocks.*.qkv.weight", "blocks.*.up.weight", "blocks.*.down.weight"])
hnet = HLowRank(
    lambda shapes: HMLP(shapes, cond_in_size=6, num_cond_embs=0, no_cond_weights=True, layers=(64,), verbose=False),
    net,
    rank={"*.qkv.weight": 8, "*": 4},
    verbose=False,
)
hnet.apply_calibrated_init(net)
weights = sum(weight.numel() for weight in net.initial_weights())
print(f"{hnet.internal_hnet.num_outputs} outputs instead of {weights}")

# %%
# A step is described by its direction on the clock. Each weight has a gate :math:`g_i` that starts at 0, so before
# training every description leaves exactly the base model.


def describe(steps):
    angles = 2 * torch.pi * torch.tensor(steps)[:, None] * torch.tensor([1, 2, 3]) / NUMBERS
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


test_numbers, test_following = sequences([5], 64)
with torch.no_grad():
    adapter = hnet.factors(cond_input=describe([5]))
    print(torch.equal(net(test_numbers[0], weights=adapter), transformer(test_numbers[0])))

# %%
# Training
# --------
#
# ``HyperModel`` passes the factors on. All steps are trained at once: ``numbers`` is ``[12, 16, 10]``, and each of the
# twelve batches is computed with another adapter.

model = HyperModel(hnet, net)
STEPS = list(range(NUMBERS))


def accuracy(model):
    numbers, following = sequences(STEPS, 32)
    with torch.no_grad():
        return (model(numbers) == following).float().mean(dim=(1, 2))


before = accuracy(lambda numbers: transformer(numbers.flatten(0, 1)).argmax(-1).view(numbers.shape))
optimizer = torch.optim.Adam(hnet.parameters(), lr=3e-3)
losses = []
for _ in range(200):
    numbers, following = sequences(STEPS, 16)
    loss = loss_of(model(numbers, cond_input=describe(STEPS)), following)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
after = accuracy(lambda numbers: model(numbers, cond_input=describe(STEPS)).argmax(-1))

figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
axes[0].semilogy(losses)
axes[0].set(xlabel="iteration", ylabel="loss")
axes[1].bar(torch.arange(NUMBERS) - 0.2, before, 0.4, label="base model")
axes[1].bar(torch.arange(NUMBERS) + 0.2, after, 0.4, label="with generated adapters")
axes[1].set(xlabel="step", ylabel="accuracy", xticks=STEPS)
axes[1].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)

# %%
# A different adapter for each sample
# -----------------------------------
#
# Requests come mixed. Factors of many descriptions are stacked, ``A [N, r, in]`` and ``B [N, out, r]``, and
# ``batched_forward`` computes sample ``n`` with adapter ``n``.

wanted = [7, 2, 2, 11, 5]
requests, answers = sequences(wanted, 1)
with torch.no_grad():
    adapters = hnet.factors(cond_input=describe(wanted))
    replies = net.batched_forward(requests, weights=adapters).argmax(-1)
for step, request, reply in zip(wanted, requests[:, 0], replies[:, 0], strict=True):
    print(f"in steps of {step:2d}: {request[:4].tolist()}, then {reply[3].item()}")

# %%
# Adapters are small things
# -------------------------
#
# They add up by having their factors side by side, which makes one adapter of the summed rank. A single one can be
# written as a LoRA of the library PEFT and read back, or merged into an ordinary module that needs no hypernetwork.

with torch.no_grad():
    print({name: pair.rank for name, pair in sum_of_stacked(adapters).items() if "blocks.0" in name})
    adapter = hnet.factors(cond_input=describe([5]))
    with tempfile.TemporaryDirectory() as folder:
        save_peft_adapter(folder, adapter, net)
        print(sorted(path.name for path in Path(folder).iterdir()))
        loaded = load_peft_adapter(folder, net)
    merged = net.materialize(loaded)
    right = (merged(test_numbers[0]).argmax(-1) == test_following[0]).float().mean()
print(f"merged network: {right:.0%} of the numbers in steps of 5")

# sphinx_gallery_start_ignore
if before[1] < 0.95 or before.sum() > 3:
    raise RuntimeError(f"expected a base model that counts in steps of 1, got {before}")
if after.min() < 0.95 or not torch.equal(replies, answers) or right < 0.95:
    raise RuntimeError(f"expected adapters that count in all steps, got {after}")
# sphinx_gallery_end_ignore
plt.show()
