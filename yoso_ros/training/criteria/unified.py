# SPDX-License-Identifier: Apache-2.0
"""The training loss of DR1Mask (sections 3.2.3 and 3.3), with FCOS's losses and targets.

Legend: `B` batch, `T` thing classes, `S` stuff classes, `L` locations of all levels, `K` things of an image, `D` width,
`h w` map at stride 4.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from yoso_ros.fusion.detections import level_map_sizes
from yoso_ros.fusion.dr1mask import MARGIN, inside_boxes
from yoso_ros.fusion.instance_attention import map_logits
from yoso_ros.models.fcos import LEVEL_LIMITS, STRIDES, grid_locations
from yoso_ros.training.criteria.cropped_masks import cropped_mask_loss
from yoso_ros.training.criteria.dense_detection import focal_loss
from yoso_ros.training.criteria.dense_targets import UNLABELLED, at_locations, centerness, image_targets

IGNORED = -1  # pixels without a label, or of a thing without an embedding


@dataclass(frozen=True, kw_only=True)
class UnifiedCriterionConfig:
    """Weights of the losses; `center_radius` is in strides (FCOS). `auxiliary_weight` is section 4.1's 0.3.

    `panoptic_weight` is for mode panoptic, `mask_weight` for mode instance.
    """

    panoptic_weight: float = 1.0
    mask_weight: float = 1.0
    auxiliary_weight: float = 0.3
    center_radius: float = 1.5
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0


class UnifiedCriterion:
    """Losses `loss_{class, box, centerness, panoptic or mask, auxiliary}` of a training forward pass.

    Args:
        model_config: a `Dr1MaskConfig`.
        config: a `UnifiedCriterionConfig`.
    """

    def __init__(self, model_config, config):
        self.config, self.mode, self.attention = config, model_config.mode, model_config.attention
        self.thing_ids = list(model_config.label_set.thing_ids)
        self.stuff_ids = [i for i in range(model_config.num_classes) if i not in self.thing_ids]

    def normalizer(self, targets, image_size):
        """Denominators: float32 (4,): foreground locations, their centerness, pixels at stride 4 and 8 with a label.

        Args:
            targets: list of `Target` of one padded size.
            image_size: (H, W) of the padded images.
        """
        counts = torch.zeros(4)
        for target in targets:
            things, instances, offsets = self._image(target, image_size)
            foreground = instances >= 0
            coarse, fine = _map_sizes(image_size)
            panoptic, _ = self._panoptic_targets(things, instances, fine)
            semantic = at_locations(things.semantic_map, coarse, 8, UNLABELLED)
            weights = centerness(offsets[foreground])
            counts += torch.tensor(
                [foreground.sum(), weights.sum(), (panoptic != IGNORED).sum(), (semantic != UNLABELLED).sum()]
            )
        return counts

    def __call__(self, predictions, targets, normalizer):
        """Compute the weighted losses.

        Args:
            predictions: `Predictions` of B images.
            targets: B `Target` of the padded size.
            normalizer: of the batch that these targets are part of.

        Returns:
            dict of name to scalar; their plain sum is the training loss.
        """
        foreground, weight, fine, coarse = normalizer.clamp(min=1e-6).tolist()
        losses = [self._image_losses(predictions, i, target) for i, target in enumerate(targets)]
        focal, box, center, masks, auxiliary = (sum(parts) for parts in zip(*losses, strict=True))
        if self.mode == "panoptic":
            masks = {"loss_panoptic": self.config.panoptic_weight * masks / max(fine, 1.0)}
        else:
            masks = {"loss_mask": self.config.mask_weight * masks / weight}
        return {
            "loss_class": focal / max(foreground, 1.0),
            "loss_box": box / weight,
            "loss_centerness": center / max(foreground, 1.0),
            **masks,
            "loss_auxiliary": self.config.auxiliary_weight * auxiliary / max(coarse, 1.0),
        }

    def _image(self, target, image_size):
        things = image_targets(target, self.thing_ids)
        parts = [
            fcos_targets(things.boxes, size, level, self.config.center_radius)
            for level, size in enumerate(level_map_sizes(*image_size))
        ]
        instances, offsets = (torch.cat(part) for part in zip(*parts, strict=True))
        return things, instances, offsets

    def _panoptic_targets(self, things, instances, size):
        """int64 (h w,), 0..S-1 stuff, S.. instances in the order of `present`; and `present`, int64 (P,).

        `present` are the things that have a location and therefore an embedding; pixels of other things are ignored.
        """
        present = instances[instances >= 0].unique()
        number = len(self.stuff_ids)
        device = instances.device
        channel = torch.full((256,), IGNORED, device=device)
        channel[self.stuff_ids] = torch.arange(number, device=device)
        semantic = at_locations(things.semantic_map, size, 4, UNLABELLED)
        covering = at_locations(things.instance_map, size, 4, -1)
        place = torch.full((len(things.boxes) + 1,), IGNORED, device=device)
        place[present] = number + torch.arange(len(present), device=device)
        return torch.where(covering >= 0, place[covering], channel[semantic]), present

    def _image_losses(self, predictions, index, target):
        fields = (None if field is None else _float(field[index]) for field in predictions)
        prediction = type(predictions)(*fields)
        things, instances, wanted = self._image(target, target.masks.shape[1:])
        foreground = instances >= 0
        own, classes = instances[foreground], torch.zeros_like(prediction.class_logits)
        classes[foreground.nonzero()[:, 0], things.classes[own]] = 1.0
        focal = focal_loss(prediction.class_logits, classes, self.config.focal_alpha, self.config.focal_gamma)
        wanted = wanted[foreground].to(prediction.offsets.dtype)
        weights = centerness(wanted)
        box = (weights * giou_loss(prediction.offsets[foreground], wanted)).sum()
        center = F.binary_cross_entropy_with_logits(prediction.centerness_logits[foreground], weights, reduction="sum")
        if self.mode == "panoptic":
            masks = self._panoptic_loss(prediction, things, instances)
        else:
            masks = cropped_mask_loss(prediction, things, own, foreground.nonzero()[:, 0], weights, self.attention)
        auxiliary = prediction.semantic_logits
        semantic = at_locations(things.semantic_map, auxiliary.shape[1:], 8, UNLABELLED)
        auxiliary = F.cross_entropy(auxiliary.flatten(1).T, semantic, ignore_index=UNLABELLED, reduction="sum")
        return focal, box, center, masks, auxiliary

    def _panoptic_loss(self, prediction, things, instances):
        """Summed cross-entropy of the unified layer, with the mean embedding of each thing (Eq. 9)."""
        size = prediction.basis.shape[1:]
        wanted, present = self._panoptic_targets(things, instances, size)
        stuff = prediction.stuff_logits
        means = mean_embeddings(prediction.embeddings, instances, present)
        boxes = things.boxes[present]
        logits = map_logits(prediction.basis, means, boxes, self.attention, prediction.attention_components)
        floor = stuff.detach().amax(0) - MARGIN
        logits = torch.where(inside_boxes(boxes, size), logits, floor)
        logits = torch.cat([stuff, logits]).flatten(1).T
        return F.cross_entropy(logits, wanted, ignore_index=IGNORED, reduction="sum")


def mean_embeddings(embeddings, instances, present):
    """Mean over the locations of each instance (Eq. 9).

    Args:
        embeddings: (L, D). instances: int64 (L,), -1 for none.
        present: int64 (P,), the requested instances, each with a location.

    Returns:
        (P, D).
    """
    mine = (instances[None] == present[:, None]).to(embeddings.dtype)
    return mine @ embeddings / mine.sum(1, keepdim=True).clamp(min=1)


def fcos_targets(boxes, size, level, radius):
    """Assign locations of a level to boxes (FCOS): the smallest box around them within the level's size range.

    A location must lie inside the box and within `radius` strides of its centre.

    Args:
        boxes: float32 (K, 4). size: (h, w) of the map. level: 0 for P3.

    Returns:
        int64 (h w,), -1 for none; float32 (h w, 4), offsets to that box, undefined if there is none.
    """
    stride = STRIDES[level]
    points = grid_locations(*size, stride, boxes.device)
    if not len(boxes):
        return torch.full((len(points),), -1, device=boxes.device), boxes.new_zeros((len(points), 4))
    offsets = torch.cat([points[:, None] - boxes[None, :, :2], boxes[None, :, 2:] - points[:, None]], -1)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = (points[:, None] - centers[None]).abs().amax(-1) <= radius * stride
    greatest = offsets.amax(-1)
    mine = (offsets.amin(-1) > 0) & near & (greatest > LEVEL_LIMITS[level]) & (greatest <= LEVEL_LIMITS[level + 1])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    smallest, index = torch.where(mine, area, torch.inf).min(1)
    return torch.where(smallest.isfinite(), index, -1), offsets[torch.arange(len(points)), index]


def giou_loss(a, b):
    """1 - generalised IoU of boxes given by offsets from one location inside both: (F, 4), (F, 4) -> (F,)."""
    smaller, larger = torch.minimum(a, b), torch.maximum(a, b)
    area_a, area_b, intersection, hull = ((x[:, :2] + x[:, 2:]).prod(1) for x in (a, b, smaller, larger))
    union = area_a + area_b - intersection
    return 1 - intersection / union.clamp(min=1e-7) + (hull - union) / hull.clamp(min=1e-7)


def _map_sizes(image_size):
    height, width = level_map_sizes(*image_size)[0]
    return (height, width), (2 * height, 2 * width)


def _float(tensor):
    """Half precision to float32; float64 is kept for gradient checks."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
