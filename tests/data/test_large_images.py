"""Handlers of data sets whose images stay on disk, on small trees of real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from hypnettorch.data import CelebAData, LargeImgDataset, UdacityCh2Data, permute_pixels, split_classes
from hypnettorch.data.cub_200_2011_data import CUB2002011
from hypnettorch.data.ilsvrc2012_data import ILSVRC2012Data
from hypnettorch.data.samples import Samples
from tests.data import writers


@pytest.fixture
def ilsvrc(tmp_path: Path) -> Path:
    writers.write_ilsvrc(tmp_path)
    return tmp_path


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    writers.write_cub(tmp_path)
    return tmp_path


def stems(names: np.ndarray) -> list[str]:
    return [Path(name).stem for name in names[:, 0]]


@pytest.mark.filterwarnings("ignore:ILSVRC2012")
def test_ilsvrc(ilsvrc: Path) -> None:
    data = ILSVRC2012Data(ilsvrc, num_val_per_class=1)
    assert (data.in_shape, data.num_classes, data.get_identifier()) == ([224, 224, 3], 3, "ILSVRC2012")
    assert stems(data.get_train_inputs()) == ["n01_1", "n01_2", "n02_1", "n02_2", "n03_1", "n03_2"]
    assert data.get_train_outputs().ravel().tolist() == [1, 1, 2, 2, 0, 0]  # identifier - 1, not alphabetical
    assert stems(data.get_val_inputs()) == ["n01_0", "n02_0", "n03_0"]
    assert stems(data.get_test_inputs()) == ["n01_0", "n01_1", "n02_0", "n02_1", "n03_0", "n03_1"]
    assert [data.get_train_ids()[0], data.get_val_ids()[0], data.get_test_ids()[0]] == [0, 6, 9]
    assert data.class_names[0] == "word n03"
    assert data.imgs_path == ""
    assert not data.png_format_used


@pytest.mark.filterwarnings("ignore:ILSVRC2012")
def test_ilsvrc_common_labels(ilsvrc: Path) -> None:
    data = ILSVRC2012Data(ilsvrc, use_one_hot=True)
    labels = np.array([[0], [1], [2]])
    common = [2, 0, 1]  # n03, n01, n02 in alphabetical order
    assert data.to_common_labels(labels).ravel().tolist() == common
    assert labels.ravel().tolist() == [0, 1, 2]
    assert data.to_common_labels(np.eye(3)).argmax(axis=1).tolist() == common
    assert data.to_common_labels(torch.tensor([0, 1, 2])).tolist() == common
    with pytest.raises(ValueError, match="outputs: expected integer labels or one-hot vectors of 3 classes"):
        data.to_common_labels(np.zeros((2, 4)))


def test_ilsvrc_warns_of_its_size_and_takes_parts(ilsvrc: Path) -> None:
    for part in ("train", "val"):
        for path in (ilsvrc / part / "n01").iterdir():
            path.unlink()
    with pytest.warns(UserWarning, match=r"ILSVRC2012: found 6 images for training and 4 for testing"):
        data = ILSVRC2012Data(ilsvrc)
    assert data.num_classes == 3
    assert set(data.get_train_outputs().ravel().tolist()) == {0, 2}


@pytest.mark.filterwarnings("ignore:ILSVRC2012")
def test_wrong_ilsvrc_is_refused(ilsvrc: Path) -> None:
    with pytest.raises(ValueError, match="num_val_per_class: expected less than the 3 training images"):
        ILSVRC2012Data(ilsvrc, num_val_per_class=3)
    (ilsvrc / "val" / "n09").mkdir()
    with pytest.raises(ValueError, match=r"one folder per class of meta.mat, got also \['n09'\]"):
        ILSVRC2012Data(ilsvrc)
    meta = ilsvrc / "meta" / "data" / "meta.mat"
    meta.write_bytes(meta.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"meta.mat: expected a complete MATLAB file"):
        ILSVRC2012Data(ilsvrc)


@pytest.mark.filterwarnings("ignore:ILSVRC2012")
def test_images_for_a_loader(ilsvrc: Path) -> None:
    data = ILSVRC2012Data(ilsvrc, use_one_hot=True)
    assert data.torch_val is None
    x, y = next(iter(DataLoader(data.torch_train, batch_size=4)))
    assert (x.shape, x.dtype, y.tolist()) == (torch.Size([4, 3, 224, 224]), torch.float32, [1, 1, 1, 2])
    again = ILSVRC2012Data(ilsvrc)
    assert torch.equal(next(iter(DataLoader(again.torch_train, batch_size=4)))[0], x)
    assert torch.equal(data.torch_test[0][0], again.torch_test[0][0])
    other = ILSVRC2012Data(ilsvrc, seed=3)
    assert not torch.equal(next(iter(DataLoader(other.torch_train, batch_size=4)))[0], x)
    data.torch_transforms = (lambda photo: torch.zeros(photo.size), lambda photo: torch.ones(photo.size))
    assert torch.equal(data.torch_train[0][0], torch.zeros(8, 6))
    assert torch.equal(data.torch_test[1][0], torch.ones(8, 6))


@pytest.mark.filterwarnings("ignore:ILSVRC2012")
def test_any_function_on_data_sets_takes_them(ilsvrc: Path) -> None:
    data = ILSVRC2012Data(ilsvrc)
    first, second, third = split_classes(data, 1, validation_size=1)
    assert isinstance(first, LargeImgDataset)
    assert stems(second.get_train_inputs()) == ["n01_1", "n01_2"]
    assert second.torch_train[0][0].shape == (3, 224, 224)
    assert second.torch_train[0][1] == 0
    assert third.class_names == ("word n02",)
    with pytest.raises(NotImplementedError, match="preprocessing: not available"):
        permute_pixels(data, 2)


def test_cub(cub: Path) -> None:
    data = CUB2002011(cub, num_val_per_class=1)
    assert (data.in_shape, data.num_classes, data.get_identifier()) == ([224, 224, 3], 2, "CUB-200-2011")
    assert stems(data.get_train_inputs()) == ["a3", "b2", "b3"]
    assert stems(data.get_val_inputs()) == ["a1", "b1"]
    assert stems(data.get_test_inputs()) == ["a2", "b4"]
    assert data.get_train_outputs().ravel().tolist() == [0, 1, 1]
    assert data.class_names == ("Albatross", "Auklet")
    assert data.torch_val[1][1] == 1


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("images.txt", "1 001.Albatross/a1.jpg extra\n", "lines '<id> <value>'"),
        ("images.txt", "", "lines '<id> <value>'"),
        ("train_test_split.txt", "1 1\n", "one line for each of the 7 images"),
        ("train_test_split.txt", "".join(f"{i} 2\n" for i in range(1, 8)), "numbers between 0 and 1"),
        ("image_class_labels.txt", "".join(f"{i} 2\n" for i in range(1, 8)), "the class of '001.Albatross/a1.jpg'"),
    ],
)
def test_wrong_lists_of_cub_are_refused(name: str, content: str, expected: str, cub: Path) -> None:
    path = cub / "cub_200_2011" / "CUB_200_2011" / name
    path.write_text(content)
    with pytest.raises(ValueError, match=expected) as caught:
        CUB2002011(cub)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("png", [False, True])
def test_celeba(png: bool, tmp_path: Path) -> None:
    images = writers.write_celeba(tmp_path, png)
    data = CelebAData(tmp_path, use_png=png)
    assert (data.in_shape, data.out_shape, data.get_identifier()) == ([218, 178, 3], [3], "CelebA")
    assert (data.classification, data.num_classes, data.png_format_used) == (False, None, png)
    assert data.get_attribute_names() == ["Bald", "Smiling", "Young"]
    assert (data.get_train_ids().tolist(), data.get_test_ids().tolist(), data.get_val_ids().tolist()) == (
        [0, 2],
        [1],
        [3],
    )
    assert data.get_train_outputs().tolist() == [[0, 1, 0], [0, 0, 0]]
    assert data.get_train_outputs().dtype == np.float32
    pixels = data.read_images(data.get_test_inputs())
    np.testing.assert_allclose(pixels, images[1].reshape(1, -1) / 255, atol=1e-6)
    small = CelebAData(tmp_path, use_png=png, shape=(4, 5))
    assert small.in_shape == [4, 5, 3]
    assert small.read_images(small.get_train_inputs()).shape == (2, 60)
    with pytest.raises(NotImplementedError, match="torch_transforms"):
        _ = data.torch_train
    with pytest.raises(NotImplementedError, match="input_to_torch_tensor"):
        data.input_to_torch_tensor(data.get_test_inputs())
    with pytest.raises(NotImplementedError, match="tf_input_map"):
        data.tf_input_map()


def test_wrong_celeba_is_refused(tmp_path: Path) -> None:
    writers.write_celeba(tmp_path)
    with pytest.raises(ValueError, match="shape: expected 2 entries"):
        CelebAData(tmp_path, shape=[3])
    with pytest.raises(FileNotFoundError, match="img_align_celeba_png"):
        CelebAData(tmp_path, use_png=True)
    partition = tmp_path / "CelebA" / "Eval" / "list_eval_partition.txt"
    partition.write_text("000001.jpg 0\n")
    with pytest.raises(ValueError, match=r"list_eval_partition.txt: expected a line for each image .* 000002.jpg"):
        CelebAData(tmp_path)
    attributes = tmp_path / "CelebA" / "Anno" / "list_attr_celeba.txt"
    for content, expected in [("5\nBald\na.jpg 1\n", "the number of images"), ("1\nBald\na.jpg 2\n", "1 or -1")]:
        attributes.write_text(content)
        with pytest.raises(ValueError, match=f"list_attr_celeba.txt: expected .*{expected}"):
            CelebAData(tmp_path)


@pytest.mark.filterwarnings("ignore:UdacityCh2")
def test_udacity(tmp_path: Path) -> None:
    writers.write_udacity(tmp_path)
    data = UdacityCh2Data(tmp_path)
    assert (data.in_shape, data.out_shape, data.get_identifier()) == ([192, 256, 3], [1], "UdacityCh2")
    assert data.test_angles_available
    np.testing.assert_allclose(data.get_train_outputs().ravel(), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5], atol=1e-6)
    image, angle = data.torch_train[3]
    assert image.shape == (3, 192, 256)
    assert angle.item() == pytest.approx(0.3)
    assert 0 <= image.min() < image.max() <= 1
    with_val = UdacityCh2Data(tmp_path, num_val=2)
    order = np.random.RandomState(42).permutation(6)
    np.testing.assert_allclose(with_val.get_val_outputs().ravel(), 0.1 * order[:2], atol=1e-6)
    np.testing.assert_allclose(with_val.get_train_outputs().ravel(), 0.1 * order[2:], atol=1e-6)
    with pytest.raises(ValueError, match="num_val: expected less than the 6"):
        UdacityCh2Data(tmp_path, num_val=6)


def test_udacity_warnings(tmp_path: Path) -> None:
    writers.write_udacity(tmp_path, test_angle=0.0)
    with (
        pytest.warns(UserWarning, match="all steering values of the test set are 0"),
        pytest.warns(UserWarning, match="found 6 images for training and 2 for testing"),
    ):
        assert not UdacityCh2Data(tmp_path).test_angles_available


def test_wrong_udacity_is_refused(tmp_path: Path) -> None:
    writers.write_udacity(tmp_path)
    writers.write_photo(tmp_path / "Ch2_001" / "center" / "999.jpg")
    table = tmp_path / "Ch2_001" / "interpolated.csv"
    with pytest.raises(ValueError, match=r"a row of the center_camera for each image, got none for 'center/999.jpg'"):
        UdacityCh2Data(tmp_path)
    for content, expected in [
        ("a,b\n1,2\n", "the columns"),
        ("frame_id,filename,angle\ncenter_camera,a,x\n", "a number"),
    ]:
        table.write_text(content)
        with pytest.raises(ValueError, match=f"interpolated.csv: expected {expected}"):
            UdacityCh2Data(tmp_path)


@pytest.mark.parametrize(
    ("handler", "wanted"),
    [
        (ILSVRC2012Data, "meta.mat"),
        (CUB2002011, "classes.txt"),
        (CelebAData, "img_align_celeba"),
        (UdacityCh2Data, "Ch2_002"),
    ],
)
def test_missing_files_say_what_to_put_where(handler: type, wanted: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=wanted) as caught:
        handler(tmp_path)
    assert f"into '{tmp_path}'" in str(caught.value)


def test_plots_take_names_and_pixels(cub: Path, tmp_path: Path) -> None:
    data = CUB2002011(cub, use_one_hot=True)
    x, y = data.next_train_batch(2)
    picture = tmp_path / "samples.png"
    for inputs in (x, data.read_images(x)):
        data.plot_samples("Birds", inputs, y, predictions=np.eye(2), show=False, filename=picture)
        assert picture.read_bytes().startswith(b"\x89PNG")
        picture.unlink()


def test_names_belong_to_a_folder(tmp_path: Path) -> None:
    writers.write_photo(tmp_path / "a.png", seed=1)
    samples = Samples(np.array([["a.png"]]), np.array([[0]]), (6, 8, 3), 1, train_ids=np.array([0]))
    data = LargeImgDataset(tmp_path, samples=samples, seed=1)
    assert data.imgs_path == str(tmp_path)
    assert data.next_train_batch(1)[0].tolist() == [["a.png"]]
    assert data.read_images(["a.png"]).shape == (1, 144)
