"""
A recurrent hypernetwork
========================

The weights of a recurrent network are the same at every time step. If a second recurrent network reads the sequence and
generates them, they can follow what has been read (Ha, Dai, Le, *HyperNetworks*, ICLR 2017, section 3.2,
https://arxiv.org/abs/1609.09106). That pays where one symbol changes the meaning of those that follow.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from hypnettorch.hnets import HMLP, HRecurrent, HScaling
from hypnettorch.mnets import ModuleNet

torch.manual_seed(0)

# %%
# Strings with changing rules
# ---------------------------
#
# An alphabet of sixteen letters has eight orders, numbered by digits. After a digit, each letter is followed by its
# successor in the order with this number, until another digit changes the rule. Where digits appear is random; the
# letters between them are not, so that a perfect model predicts all of them.

LETTERS, DIGITS = "abcdefghijklmnop", "01234567"
SYMBOLS = LETTERS + DIGITS
SUCCESSOR = torch.stack([torch.randperm(16) for _ in DIGITS])


def draw_strings(n, length=16):
    """Strings as numbers ``[length, n]``, beginning with a letter and a digit."""
    letter, digit = torch.randint(16, (n,)), torch.randint(8, (n,))
    rows = [letter, 16 + digit]
    for _ in range(length - 2):
        change = torch.rand(n) < 0.15
        digit = torch.where(change, torch.randint(8, (n,)), digit)
        letter = torch.where(change, letter, SUCCESSOR[digit, letter])
        rows.append(torch.where(change, 16 + digit, letter))
    return torch.stack(rows)


def as_text(column):
    return "".join(SYMBOLS[symbol] for symbol in column)


print("\n".join(as_text(string) for string in draw_strings(4).T))

# %%
# The main network and its hypernetwork
# -------------------------------------
#
# The main network is a plain recurrent cell. ``HRecurrent`` puts a second cell in front of any weight generator: it
# reads the string, and its state (here eight numbers) is the condition for the weights of the main cell. The generator
# is linear and has no conditions of its own.


class Cell(nn.Module):
    """``h' = tanh(W [x, h] + b)``."""

    def __init__(self, inputs, size):
        super().__init__()
        self.linear = nn.Linear(inputs + size, size)

    def forward(self, x, h):
        return self.linear(torch.cat([x, h], dim=-1)).tanh()


def linear_generator(shapes):
    return HMLP(shapes, cond_in_size=8, num_cond_embs=0, no_cond_weights=True, layers=(), verbose=False)


class HyperRNN(nn.Module):
    def __init__(self, size=32):
        super().__init__()
        self.size = size
        self.cell = ModuleNet(Cell(len(SYMBOLS), size))
        generator = linear_generator(self.cell.hyper_shapes_learned)
        generator.apply_calibrated_init(self.cell)
        self.hyper = HRecurrent(generator, input_size=len(SYMBOLS), cell="gru", verbose=False)
        self.output = nn.Linear(size, len(SYMBOLS))

    def forward(self, x):
        steps, n, _ = x.shape
        weights = self.hyper(cond_input=x, ret_format="stacked")  # those of all time steps and strings at once
        weights = [w.unflatten(0, (steps, n)) for w in weights]
        h, states = x.new_zeros(n, self.size), []
        for t in range(steps):
            h = self.cell.batched_forward(x[t], h, weights=[w[t] for w in weights])
            states.append(h)
        return self.output(torch.stack(states))


# %%
# An LSTM for comparison
# ----------------------
#
# It gets more parameters than the recurrent hypernetwork and its main network together.


class LSTM(nn.Module):
    def __init__(self, size=64):
        super().__init__()
        self.lstm = nn.LSTM(len(SYMBOLS), size)
        self.output = nn.Linear(size, len(SYMBOLS))

    def forward(self, x):
        return self.output(self.lstm(x)[0])


def train(model, steps=200):
    """Shares of letters that are predicted, one for every ten steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    curve = []
    for step in range(1, steps + 1):
        strings = draw_strings(32)
        targets = strings[2:]
        logits = model(nn.functional.one_hot(strings[:-1], len(SYMBOLS)).float())[1:]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 10 == 0:
            is_letter = targets < 16
            hits = logits[..., :16].argmax(dim=-1) == targets
            curve.append(hits[is_letter].float().mean().item())
    return curve


models = {"recurrent hypernetwork": HyperRNN(), "LSTM": LSTM()}
curves = {name: train(model) for name, model in models.items()}

figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
for name, curve in curves.items():
    size = sum(p.numel() for p in models[name].parameters())
    axis.plot(range(10, 201, 10), curve, label=f"{name} ({size:,} parameters)")
axis.set(xlabel="step", ylabel="letters predicted", ylim=(0, 1))
axis.legend(loc="lower right")

# %%
# Step by step
# ------------
#
# Where a string is being written, it is not known in advance. ``step`` reads one symbol and returns the weights that
# follow from it, with the new state.

model = models["recurrent hypernetwork"]


def write(start, length=16):
    text, h, state = start, torch.zeros(1, model.size), None
    while len(text) < length:
        # all of the start is read first, then what was written
        for symbol in text if state is None else text[-1]:
            x = nn.functional.one_hot(torch.tensor([SYMBOLS.index(symbol)]), len(SYMBOLS)).float()
            weights, state = model.hyper.step(x, state)
            h = model.cell(x, h, weights=weights)
        text += LETTERS[model.output(h)[0, :16].argmax()]
    return text


def follow_rule(start, length=16):
    letter, digit = SYMBOLS.index(start[0]), int(start[1])
    text = start
    while len(text) < length:
        letter = SUCCESSOR[digit, letter]
        text += LETTERS[letter]
    return text


starts = ["a3", "h3", "a5"]
with torch.no_grad():
    written = [write(start) for start in starts]
for text, start in zip(written, starts, strict=True):
    print(f"written {text}, by the rule {follow_rule(start)}")

# %%
# The weights can be full matrices, as here, or what any other hypernetwork makes of the state. The HyperLSTM of Ha et
# al. scales the rows of learned matrices, and a scale per row is far less to generate. Only the generator changes:

cell = ModuleNet(Cell(len(SYMBOLS), 32))
scales = linear_generator(HScaling.factor_shapes(cell.hyper_shapes_learned))
scaled = HScaling(scales, base=cell.initial_weights(), verbose=False)
hyper = HRecurrent(scaled, input_size=len(SYMBOLS), cell="lstm", verbose=False)

print(f"generated for each step: {scales.num_outputs} scales instead of {hyper.num_outputs} weights")

# sphinx_gallery_start_ignore
letters, lstm = (sum(curve[-5:]) / 5 for curve in curves.values())
sizes = [sum(p.numel() for p in model.parameters()) for model in models.values()]
if sizes[0] > sizes[1] or letters < lstm + 0.04 or letters < 0.8:
    raise RuntimeError(f"expected the hypernetwork to predict more letters, got {letters:.2f} and {lstm:.2f}, {sizes}")
if sum(text == follow_rule(start) for text, start in zip(written, starts, strict=True)) < 2:
    raise RuntimeError(f"expected strings that follow the rule, got {written}")
# sphinx_gallery_end_ignore
plt.show()
