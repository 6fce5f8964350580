# SPDX-License-Identifier: Apache-2.0
"""The instance mask loss of DR1Mask: each location's mask within the crop of its true box (BlendMask).

Legend: `F` foreground locations of an image, `K` its things, `P` side of a crop.
"""

import torch
import torch.nn.functional as F

from yoso_ros.fusion.dr1mask import STRIDE
from yoso_ros.fusion.dr1mask_instances import CROP_SIDE
from yoso_ros.fusion.instance_attention import crop_logits
from yoso_ros.fusion.roi_align import roi_align

SAMPLES = 2  # of the true mask per crop pixel, in each direction


def cropped_mask_loss(prediction, things, instances, locations, weights, attention):
    """Sum over the locations of their centerness times the mean binary cross-entropy over the crop.

    Each embedding is supervised separately (section 3.3), at stride 4 and with the true box.

    Args:
        prediction: `Predictions` of one image.
        things: `ImageTargets`.
        instances, locations: int64 (F,), index of the thing and of the location.
        weights: (F,), centerness.
        attention: of the model.

    Returns:
        scalar.
    """
    total = (prediction.embeddings.sum() + prediction.basis.sum()) * 0.0  # gives every parameter a gradient
    if prediction.attention_components is not None:
        total = total + prediction.attention_components.sum() * 0.0
    # One thing after the other: all its locations share a crop.
    for thing in instances.unique().tolist():
        own, box = instances == thing, things.boxes[thing : thing + 1]
        crop = roi_align(prediction.basis, box, CROP_SIDE, STRIDE)
        wanted = crop_targets(things.instance_map == thing, box).to(crop.dtype)
        embeddings = prediction.embeddings[locations[own]]
        logits = crop_logits(
            crop.expand(len(embeddings), -1, -1, -1), embeddings, attention, prediction.attention_components
        )
        wanted = wanted.expand_as(logits)
        losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean((1, 2))
        total = total + (weights[own].to(losses.dtype) * losses).sum()
    return total


@torch.no_grad()
def crop_targets(mask, box):
    """A true mask in its box: bool (H, W), float32 (1, 4) -> bool (1, P, P), where it covers at least half a pixel."""
    return roi_align(mask[None].float(), box, CROP_SIDE, 1, SAMPLES)[:, 0] >= 0.5
