import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from personae.errors import DataError
from personae.subjects.box import Box
from personae.subjects.subject import Reference
from personae.vision.embedders.crops import (
    image_tensor,
    reference_crop,
    square_crop,
    square_crop_batch,
    square_crops,
    square_padded,
)


def picture(height=40, width=60, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def slow_square(image, box, fill=255):
    """The crop before resizing, by loops."""
    left, top, right, bottom = (int(v) for v in box.xyxy)
    side = max(right - left, bottom - top)
    out = np.full((side, side, 3), fill, np.uint8)
    x0, y0 = (side - (right - left)) // 2, (side - (bottom - top)) // 2
    for y in range(top, bottom):
        for x in range(left, right):
            out[y0 + y - top, x0 + x - left] = image[y, x]
    return out


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 50), st.integers(0, 30), st.integers(1, 30), st.integers(1, 30))
def test_a_crop_at_its_own_size_is_the_slow_one(left, top, width, height):
    image = picture()
    box = Box(left, top, min(left + width, 60), min(top + height, 40))
    side = int(max(box.width, box.height))
    crop = square_crop(image, box, side)
    expected = slow_square(image, box).transpose(2, 0, 1) / 255
    assert np.allclose(crop.numpy(), expected, atol=1e-6)


def test_batch_and_tensor_crops_agree_with_single_ones():
    image, other = picture(seed=1), picture(seed=2)
    boxes = [Box(3, 4, 33, 20), Box(10, 0, 20, 40)]
    single = torch.stack([square_crop(image, box, 32) for box in boxes])
    assert torch.equal(square_crop_batch(image, boxes, 32), single)
    stack = torch.stack([image_tensor(other), image_tensor(image)])
    assert torch.equal(square_crops(stack, boxes, [1, 1], 32), single)
    assert single.min() >= 0 and single.max() <= 1


def test_gradient_flows_to_the_pixels_inside_the_box_and_nowhere_else():
    images = torch.rand(1, 3, 20, 30, dtype=torch.float64, requires_grad=True)
    crops = square_crops(images, [Box(5, 6, 17, 14)], [0], 8)
    crops.square().sum().backward()
    touched = images.grad[0].abs().sum(0) > 0
    assert touched[6:14, 5:17].all()
    assert touched.sum() == 8 * 12
    small = torch.rand(1, 3, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: square_crops(x, [Box(1, 1, 6, 4)], [0], 4), small)


def test_no_boxes_give_no_crops():
    assert square_crop_batch(picture(), [], 16).shape == (0, 3, 16, 16)


def test_boxes_are_clipped_and_tiny_ones_keep_a_pixel():
    image = picture()
    assert torch.equal(square_crop(image, Box(-9, -9, 20, 20), 16),
                       square_crop(image, Box(0, 0, 20, 20), 16))  # fmt: skip
    assert square_crop(image, Box(59.9, 39.9, 60, 40), 16).shape == (3, 16, 16)


def test_a_box_outside_says_so():
    with pytest.raises(DataError, match="outside the picture of 60 x 40"):
        square_crop(picture(), Box(70, 0, 80, 10), 16)


def test_mask_makes_the_background_white_only_where_asked():
    image, mask = picture(), np.zeros((40, 60), bool)
    mask[10:20, 20:40] = True
    mask[15, 30] = False
    reference = Reference(image, mask)
    kept, white = reference_crop(reference, 20), reference_crop(reference, 20, True)
    assert torch.equal(kept[:, 10, 10], image_tensor(image)[:, 15, 30])
    assert torch.equal(white[:, 10, 10], torch.ones(3))
    assert torch.equal(white[:, 10, 11], kept[:, 10, 11])


def test_reference_without_mask_is_whole():
    image = picture()
    whole = reference_crop(Reference(image), 60)
    assert torch.equal(whole, square_padded(image_tensor(image)))
