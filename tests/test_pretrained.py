"""Hypernetworks in folders: what comes back is what went in, for every class; a damaged file is an error."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.common import descriptions
from hypnettorch.common.files import FileError
from hypnettorch.hnets import HMLP, ChunkedHMLP, HContainer, HDeconv, HLowRank, HResidual, HyperNetwork, StructuredHMLP
from hypnettorch.mnets import MLP, ModuleNet
from tests.conformance.registry import GLUE, HYPERNETWORKS, TARGETS, Entry
from tests.hnets import trunks

# HContainer-classes-of-users has members that are no HyperNetwork, which cannot be described.
DESCRIBED = [entry for entry in HYPERNETWORKS if "classes-of-users" not in entry.name]


def argument(hnet: Any, place: str) -> Any:
    """The function or module that stands at a place of a description, in the network that is described."""
    if place == "trunk" and hnet.hyper_shapes_learned:
        return trunks.perceptron()  # external parameters have been taken out of the module
    name, _, rest = place.partition(".")
    if rest:
        number, _, inner = rest.partition(".")
        members = getattr(hnet, name)
        return argument(members[int(number)], inner) if name == "hnets" else argument(members, rest)
    attribute = {
        "activation_fn": "_act_fn",
        "assembly_fct": "_assembly_fct",
        "input_handler": "_input_handler",
        "output_handler": "_output_handler",
    }.get(name, name)
    return getattr(hnet, attribute)


def numbers(hnet: Any) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in hnet.state_dict().items()}


@pytest.mark.parametrize("entry", DESCRIBED, ids=lambda entry: entry.name)
def test_every_class_comes_back(entry: Entry, tmp_path: Path) -> None:
    hnet = entry.build().double()
    before = numbers(hnet)
    hnet.save_pretrained(tmp_path)
    places = descriptions.places_of_given(descriptions.read(tmp_path)[0])
    given = {place: argument(hnet, place) for place in places}
    state = torch.get_rng_state()
    loaded = HyperNetwork.from_pretrained(tmp_path, given=given)
    assert torch.equal(torch.get_rng_state(), state)
    assert type(loaded) is type(hnet)
    assert not loaded.training
    assert list(loaded.state_dict()) == list(before)
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == before[name].dtype, name
        assert torch.equal(tensor, before[name]), name
    assert loaded.param_names == hnet.param_names
    assert loaded.target_shapes == hnet.target_shapes
    assert loaded.param_shapes_meta == hnet.param_shapes_meta
    loaded.save_pretrained(tmp_path / "again")
    assert descriptions.read(tmp_path / "again") == descriptions.read(tmp_path)


@pytest.mark.parametrize("table", [False, True])
def test_conditions_that_were_added_come_back(table: bool, tmp_path: Path) -> None:
    inner = HMLP(TARGETS, num_cond_embs=2, use_batch_norm=True, embedding_table=table, verbose=False)
    hnet = HResidual(inner, verbose=False)
    hnet.add_conditions(3)
    for _ in range(2):
        hnet(cond_id=[0, 1, 2, 3, 4])
    hnet.save_pretrained(tmp_path)
    loaded = HResidual.from_pretrained(tmp_path)
    assert loaded.num_known_conds == 5
    assert torch.equal(loaded(cond_id=4, ret_format="flattened"), hnet.eval()(cond_id=4, ret_format="flattened"))


def test_names_of_adapters_come_back(tmp_path: Path) -> None:
    net = ModuleNet(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), include="*.weight")
    hnet = HLowRank(lambda shapes: HMLP(shapes, verbose=False), net, rank={"0.*": 2, "*": 1}, alpha=3, verbose=False)
    nn.init.normal_(hnet.gates)
    hnet.save_pretrained(tmp_path)
    loaded, expected = HLowRank.from_pretrained(tmp_path).factors(cond_id=0), hnet.factors(cond_id=0)
    assert list(loaded) == list(expected) == ["0.weight", "2.weight"]
    for key, pair in expected.items():
        assert all(torch.equal(a, b) for a, b in zip(loaded[key], pair, strict=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda: HMLP(TARGETS, activation_fn=nn.LeakyReLU(0.2), verbose=False),
        lambda: HMLP(TARGETS, activation_fn=nn.GELU("tanh"), verbose=False),
        lambda: HMLP(TARGETS, activation_fn=nn.Softplus(2.0, 3.0), verbose=False),
        lambda: HDeconv(TARGETS, (5, 6), num_layers=3, kernel_size=(3, 5), sa_units=(), verbose=False),
        lambda: HDeconv(TARGETS, (5, 6), num_layers=3, kernel_size=[3, 5], sa_units=(), verbose=False),
        lambda: StructuredHMLP(
            TARGETS,
            [TARGETS[:2], [[2, 2]], TARGETS[3:]],
            [1, 2, 1],
            2,
            [{"layers": (5,)}, {"layers": [], "use_bias": False}, {"activation_fn": nn.Tanh()}],
            GLUE,
            verbose=False,
        ),
    ],
)
def test_options_come_back(make: Callable[[], Any], tmp_path: Path) -> None:
    hnet = make()
    hnet.save_pretrained(tmp_path)
    loaded = HyperNetwork.from_pretrained(tmp_path)
    assert torch.equal(loaded(cond_id=0, ret_format="flattened"), hnet(cond_id=0, ret_format="flattened"))


class Scaled(HMLP):
    """A class of a user's own, which hands its arguments on."""

    def __init__(self, *args: Any, factor: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.factor = factor


def test_classes_of_users_come_back(tmp_path: Path) -> None:
    hnet = Scaled(TARGETS, 0, 3, factor=0.5, layers=[4], verbose=False)
    hnet.save_pretrained(tmp_path)
    for cls in (Scaled, HMLP, HyperNetwork):
        loaded = cls.from_pretrained(tmp_path)
        assert type(loaded) is Scaled
        assert (loaded.factor, loaded.param_shapes) == (0.5, hnet.param_shapes)
    with pytest.raises(ValueError, match="folder: expected one with a network of class ChunkedHMLP, got a Scaled"):
        ChunkedHMLP.from_pretrained(tmp_path)


def test_a_constructor_keeps_nothing_that_it_is_given() -> None:
    hnet = HMLP(TARGETS, activation_fn=nn.ReLU(), verbose=False)
    around = HLowRank(lambda shapes: HMLP(shapes, verbose=False), TARGETS[::2], 1, verbose=False)
    assert pickle.loads(pickle.dumps(around))._arguments == around._arguments
    assert json.loads(json.dumps(hnet._arguments)) == hnet._arguments


def test_arguments_that_do_not_fit_are_refused_by_the_constructor() -> None:
    with pytest.raises(TypeError, match="no_such_argument"):
        HMLP(TARGETS, no_such_argument=1)


class TestWhatAFileCannotHold:
    def test_functions_have_to_be_given(self, tmp_path: Path) -> None:
        def doubled(chunks: Any, uncond: Any, cond: Any) -> list[Tensor]:
            return [2 * tensor for tensor in chunks[0]]

        member = HMLP(TARGETS, activation_fn=torch.sin, verbose=False)
        hnet = HContainer(TARGETS, doubled, [member], verbose=False)
        hnet.save_pretrained(tmp_path)
        with pytest.raises(
            ValueError, match=r"given: expected functions or modules for \['assembly_fct', 'hnets.0.act"
        ):
            HContainer.from_pretrained(tmp_path)
        given = {"assembly_fct": doubled, "hnets.0.activation_fn": torch.sin}
        with pytest.raises(ValueError, match=r"got .*'layers'"):
            HContainer.from_pretrained(tmp_path, given={**given, "layers": 3})
        loaded = HContainer.from_pretrained(tmp_path, given=given)
        assert torch.equal(loaded(cond_id=0, ret_format="flattened"), hnet(cond_id=0, ret_format="flattened"))

    def test_members_of_other_kinds_are_refused(self, tmp_path: Path) -> None:
        [entry] = [entry for entry in HYPERNETWORKS if "classes-of-users" in entry.name]
        with pytest.raises(TypeError, match="hnet: expected a hypernetwork whose constructor noted its arguments"):
            entry.build().save_pretrained(tmp_path)
        assert not list(tmp_path.iterdir())


class TestFiles:
    def test_a_failed_write_leaves_the_old_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        old = HMLP(TARGETS, verbose=False)
        old.save_pretrained(tmp_path)

        def fail(*paths: Any) -> None:
            raise OSError("no space left")

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="no space"):
            ChunkedHMLP(TARGETS, 7, verbose=False).save_pretrained(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
        assert torch.equal(HyperNetwork.from_pretrained(tmp_path).head.weight, old.head.weight)

    def test_description_and_tensors_agree_at_any_moment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever stops between the two files leaves a whole network: the description is in both."""
        HMLP(TARGETS, verbose=False).save_pretrained(tmp_path)
        monkeypatch.setattr(descriptions, "write_json", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ChunkedHMLP(TARGETS, 7, verbose=False).save_pretrained(tmp_path)
        assert type(HyperNetwork.from_pretrained(tmp_path)) is ChunkedHMLP

    def test_config_shows_the_description(self, tmp_path: Path) -> None:
        ChunkedHMLP(TARGETS, chunk_size=7, layers=[4], verbose=False).save_pretrained(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        assert (config["kind"], config["arguments"]["chunk_size"], config["arguments"]["layers"]) == (
            "ChunkedHMLP",
            7,
            [4],
        )
        assert config == descriptions.read(tmp_path)[0]

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            HMLP.from_pretrained(tmp_path)

    @pytest.mark.parametrize("damage", [lambda blob: b"", lambda blob: blob[:50], lambda blob: b"x" * 100])
    def test_damaged(self, damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
        HMLP(TARGETS, verbose=False).save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(FileError, match=r"model\.safetensors: it is damaged"):
            HMLP.from_pretrained(tmp_path)

    def test_truncated(self, tmp_path: Path) -> None:
        HMLP(TARGETS, verbose=False).save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-4])
        with pytest.raises(FileError, match="it is damaged"):
            HMLP.from_pretrained(tmp_path)

    def test_without_description(self, tmp_path: Path) -> None:
        from safetensors.torch import save_file

        save_file({"x": torch.zeros(2)}, tmp_path / "model.safetensors")
        with pytest.raises(FileError, match="got a file without a description"):
            HMLP.from_pretrained(tmp_path)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"version": 2}, "expected version 1, got 2"),
            ({"kind": "Network"}, "kind: expected one of .*, got 'Network'"),
            ({"kind": "os.system"}, "kind: expected one of .*, got 'os.system'"),
        ],
    )
    def test_other_descriptions(self, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
        from safetensors.torch import save

        HMLP(TARGETS, verbose=False).save_pretrained(tmp_path)
        description, _ = descriptions.read(tmp_path)
        descriptions.write(tmp_path, {**description, **changes}, lambda metadata: save({}, metadata))
        with pytest.raises(ValueError, match=message):
            HyperNetwork.from_pretrained(tmp_path)

    def test_activations_are_looked_up_in_a_list(self, tmp_path: Path) -> None:
        from safetensors.torch import save

        HMLP(TARGETS, verbose=False).save_pretrained(tmp_path)
        description, _ = descriptions.read(tmp_path)
        description["arguments"]["activation_fn"]["name"] = "Module"
        descriptions.write(tmp_path, description, lambda metadata: save({}, metadata))
        with pytest.raises(ValueError, match=r"activation: expected one of .*'ReLU'.*, got 'Module'"):
            HMLP.from_pretrained(tmp_path)


def test_a_main_network_is_no_part_of_the_file(tmp_path: Path) -> None:
    """What it says about targets is used by initialisations, which are over."""
    mnet = MLP(3, 2, [4], no_weights=True, verbose=False)
    hnet = HResidual(HMLP(mnet.hyper_shapes_learned, verbose=False), mnet=mnet, verbose=False)
    hnet.apply_hyperfan_init(mnet=mnet)
    hnet.save_pretrained(tmp_path)
    loaded = HResidual.from_pretrained(tmp_path)
    assert torch.equal(loaded(cond_id=0, ret_format="flattened"), hnet(cond_id=0, ret_format="flattened"))
