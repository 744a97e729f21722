"""The detector: whatever it is sure of, its boxes keep the contract."""

import numpy as np
import pytest
import torch
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_fpn

from data.errors import UserError
from data.files.boxes import MAX_BOXES
from trainables.inputs.detector import PERSON, BoxDetector, load_detector

DOG = 18


@pytest.fixture(scope="module")
def random_state():
    torch.manual_seed(0)
    return fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None).state_dict()


def convinced_of(state, label):
    """Random weights that take every proposal for one class, in the layout of the published file."""
    logits = "roi_heads.box_predictor.cls_score"
    bias = torch.zeros(91)
    bias[label] = 5.0
    fixed = {f"{logits}.weight": torch.zeros(91, 1024), f"{logits}.bias": bias}
    return {key: value for key, value in {**state, **fixed}.items() if not key.endswith("num_batches_tracked")}


@pytest.fixture(scope="module")
def pictures():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), dtype=np.uint8)
    return pictures[[0, 0, 1]]


@pytest.fixture(scope="module")
def boxes(random_state, pictures):
    return BoxDetector(convinced_of(random_state, PERSON))(pictures)


def test_boxes_keep_the_contract(boxes, pictures):
    assert boxes.shape == (len(pictures), MAX_BOXES, 5)
    assert boxes.dtype == np.float32
    left, top, right, bottom, score = np.moveaxis(boxes, -1, 0)
    assert (left >= 0).all()
    assert (left < right).all()
    assert (right <= 1).all()
    assert (top >= 0).all()
    assert (top < bottom).all()
    assert (bottom <= 1).all()
    np.testing.assert_allclose(score, np.exp(5) / (np.exp(5) + 90), rtol=1e-5)
    assert (np.diff(score) <= 0).all()


def test_corners_are_fractions_of_width_and_height(random_state, boxes, pictures):
    network = fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None).eval()
    network.load_state_dict(convinced_of(random_state, PERSON), strict=False)
    with torch.no_grad():
        (found,) = network([torch.from_numpy(pictures[2]).movedim(-1, 0) / 255])
    corners = found["boxes"][:MAX_BOXES].numpy() / (64, 32, 64, 32)
    np.testing.assert_allclose(boxes[2, :, :4], corners, atol=1e-5)


def test_a_picture_that_stays_keeps_its_boxes(boxes):
    np.testing.assert_array_equal(boxes[0], boxes[1])
    assert not np.array_equal(boxes[1], boxes[2])


def test_only_people_that_it_is_sure_of_have_boxes(random_state, pictures):
    assert not BoxDetector(convinced_of(random_state, DOG))(pictures[:1]).any()
    assert not BoxDetector(convinced_of(random_state, PERSON), min_score=0.7)(pictures[:1]).any()


def test_weights_come_from_a_file_and_have_to_fit(tmp_path, random_state, pictures, boxes):
    path = tmp_path / "detector.pth"
    torch.save(convinced_of(random_state, PERSON), path)
    np.testing.assert_array_equal(load_detector(str(path))(pictures[:1]), boxes[:1])
    torch.save({"conv1.weight": torch.zeros(2)}, path.with_name("other.pth"))
    with pytest.raises(
        UserError, match=r"visual\.detector = '.*other\.pth' does not fit .*backbone\.body\.0\.0\.weight \(missing\)"
    ):
        load_detector(str(path.with_name("other.pth")))
    with pytest.raises(UserError, match=r"visual\.detector = '.*nowhere\.pth' cannot be read"):
        load_detector(str(tmp_path / "nowhere.pth"))
