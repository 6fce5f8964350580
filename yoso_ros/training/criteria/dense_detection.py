# SPDX-License-Identifier: Apache-2.0
"""The training loss of RealTimePan (Eq. 8 to 19).

Legend: `B` batch, `T` thing classes, `C` classes, `L` locations of all levels, `F` foreground locations, `K` things of
an image, `P` = h w pixels at stride 4.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F

from yoso_ros.fusion.dense_boxes import MASK_STRIDE, location_score
from yoso_ros.fusion.detections import level_map_sizes
from yoso_ros.models.fcos import STRIDES, flatten_levels, grid_locations
from yoso_ros.models.realtimepan.head import dense_boxes
from yoso_ros.training.criteria.dense_targets import (
    UNLABELLED,
    LocationTargets,
    at_locations,
    centerness,
    image_targets,
    location_targets,
)

MOST_KNOWN = 64  # maximum number of images whose targets are kept from the normalizer to the losses


@dataclass(frozen=True, kw_only=True)
class DenseDetectionCriterionConfig:
    """Weights and switches; the defaults are the paper's for Cityscapes.

    `semantic_weight` is lambda of Eq. 19 (0.4 for COCO); `hardest_share` is the share of pixels in the semantic loss.
    `focal_average`: divisor of the focal loss, all locations (the paper) or the foreground ones (FCOS).
    `mask_loss` is the third switch of Table 3. `supervision: boxes` is the weakly supervised mode of section 5.6:
    boxes and semantics only, and no mask loss.
    """

    semantic_weight: float = 1.0
    hardest_share: float = 0.3
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    focal_average: Literal["locations", "foreground"] = "locations"
    mask_loss: bool = True
    supervision: Literal["masks", "boxes"] = "masks"


class _Normalizer(NamedTuple):
    foreground: float  # locations that belong to a thing, on the responsible level
    locations: float
    pixels: float  # at stride 4
    hardest: float  # labelled pixels that count in the semantic loss
    queries: float  # things with a foreground location


class _Image(NamedTuple):
    """An image's targets, computed once."""

    things: object  # `ImageTargets`
    levels: LocationTargets  # of the L locations; instances is -1 where another level is responsible
    dense: LocationTargets  # of the P pixels at stride 4
    semantic: torch.Tensor  # int64 (P,)


class DenseDetectionCriterion:
    """Losses `loss_{box, centerness, class, semantic, levelness, mask}` of a training forward pass.

    Args:
        model_config: a `RealTimePanConfig`.
        config: a `DenseDetectionCriterionConfig`.
    """

    def __init__(self, model_config, config):
        self.config = config
        self.thing_ids, self.levelness = model_config.label_set.thing_ids, model_config.levelness
        self.with_masks = config.mask_loss and config.supervision == "masks"
        self._known = []  # (target, `_Image`) of the last normalizers; the passes of a step follow directly

    def normalizer(self, targets, image_size):
        """Denominators of the losses, which depend only on the targets; summed over parts they are the joint batch's.

        Args:
            targets: list of `Target` of one padded size.
            image_size: (H, W) of the padded images.

        Returns:
            float32 (5,): foreground locations, locations, pixels at stride 4, hardest pixels, things to query.
        """
        images = [self._image(target, image_size) for target in targets]
        self._known = [*self._known, *zip(targets, images, strict=True)][-MOST_KNOWN:]
        counts = [
            [
                (image.levels.instances >= 0).sum(),
                len(image.levels.instances),
                len(image.semantic),
                self._hardest(image),
                len(_queried(image)),
            ]
            for image in images
        ]
        return torch.tensor(counts, dtype=torch.float32).sum(0)

    def __call__(self, predictions, targets, normalizer):
        """Compute the weighted losses.

        Args:
            predictions: `Predictions` of B images.
            targets: B `Target` of the padded size.
            normalizer: of the batch that these targets are part of.

        Returns:
            dict of name to scalar; their plain sum is the training loss (Eq. 19).
        """
        normalizer = _Normalizer(*normalizer.clamp(min=1.0).tolist())
        images = [self._known_image(target) for target in targets]
        losses = self._location_losses(predictions, images, normalizer)
        losses["loss_semantic"] = self._semantic_loss(predictions.semantic_logits, images, predictions.dense_size)
        losses["loss_semantic"] = self.config.semantic_weight * losses["loss_semantic"] / normalizer.hardest
        if self.levelness:
            logits = flatten_levels([predictions.levelness_logits]).flatten(0, 1)
            wanted = torch.cat([image.dense.levels + 1 for image in images])
            losses["loss_levelness"] = F.cross_entropy(_float(logits), wanted, reduction="sum") / normalizer.pixels
        if self.with_masks:
            losses["loss_mask"] = self._mask_loss(predictions, images) / normalizer.queries
        return losses

    def _known_image(self, target):
        for known, image in self._known:
            if known is target:
                return image
        return self._image(target, target.masks.shape[1:])

    def _image(self, target, image_size):
        sizes = level_map_sizes(*image_size)
        dense_size = 2 * sizes[0][0], 2 * sizes[0][1]
        things = image_targets(target, self.thing_ids)
        supervision = self.config.supervision
        levels = []
        for level, (size, stride) in enumerate(zip(sizes, STRIDES, strict=True)):
            asked = location_targets(things, size, stride, supervision)
            levels.append(asked._replace(instances=torch.where(asked.levels == level, asked.instances, -1)))
        return _Image(
            things,
            LocationTargets(*(torch.cat(parts) for parts in zip(*levels, strict=True))),
            location_targets(things, dense_size, MASK_STRIDE, supervision),
            at_locations(things.semantic_map, dense_size, MASK_STRIDE, UNLABELLED),
        )

    def _location_losses(self, predictions, images, normalizer):
        """Eq. 11 and 12, and the focal loss."""
        class_logits = _float(flatten_levels(predictions.box_class_logits))
        offsets = _float(flatten_levels(predictions.box_offsets))
        centers = _float(flatten_levels(predictions.centerness_logits))[..., 0]
        instances = torch.stack([image.levels.instances for image in images])
        foreground = instances >= 0
        wanted_offsets = torch.stack([image.levels.offsets for image in images])[foreground].to(offsets.dtype)
        box = -_iou_of_offsets(offsets[foreground], wanted_offsets).log().sum()
        center = F.binary_cross_entropy_with_logits(centers[foreground], centerness(wanted_offsets), reduction="sum")
        wanted = torch.zeros_like(class_logits)
        image_index, location = foreground.nonzero(as_tuple=True)
        classes = [image.things.classes[i[i >= 0]] for image, i in zip(images, instances, strict=True)]
        wanted[image_index, location, torch.cat(classes)] = 1.0
        focal = focal_loss(class_logits, wanted, self.config.focal_alpha, self.config.focal_gamma)
        average = normalizer.locations if self.config.focal_average == "locations" else normalizer.foreground
        return {
            "loss_box": box / normalizer.foreground,
            "loss_centerness": center / normalizer.foreground,
            "loss_class": focal / average,
        }

    def _hardest(self, image):
        return -int(-(self.config.hardest_share * (image.semantic != UNLABELLED).sum().item()) // 1)

    def _semantic_loss(self, logits, images, size):
        """Sum over the hardest pixels of each image (Eq. 15), so that the distribution of a batch does not matter."""
        logits = F.interpolate(_float(logits), size=size, mode="bilinear", align_corners=False)
        wanted = torch.stack([image.semantic for image in images])
        losses = F.cross_entropy(logits.flatten(2), wanted, ignore_index=UNLABELLED, reduction="none")
        return sum(one.topk(self._hardest(image)).values.sum() for one, image in zip(losses, images, strict=True))

    def _mask_loss(self, predictions, images):
        """Sum over the queries of Eq. 16: of each thing the box of its best foreground location."""
        size = predictions.dense_size
        dense = _float(dense_boxes(predictions.box_offsets, predictions.levelness_logits, size)).flatten(2)
        offsets = _float(flatten_levels(predictions.box_offsets))
        class_logits, centers = (
            flatten_levels(maps).detach() for maps in (predictions.box_class_logits, predictions.centerness_logits)
        )
        points = _points(images[0], predictions, offsets)
        total = dense.sum() * 0.0  # keeps every parameter in the graph if there are no queries
        for index, image in enumerate(images):
            queried = _queried(image)
            if not len(queried):
                continue
            scores = class_logits[index].sigmoid() * centers[index].sigmoid()
            best = _best_locations(image, scores, queried)
            boxes = torch.cat([points[best] - offsets[index, best, :2], points[best] + offsets[index, best, 2:]], 1)
            truth = image.things.boxes[queried].to(boxes.dtype)
            agreement = location_score(boxes.detach().T, truth.T, "iou")
            inside = image.dense.instances[None] == queried[:, None]
            total = total + mask_loss(dense[index], boxes, agreement, inside)
        return total


def _float(tensor):
    """Half precision to float32: areas of boxes pass its largest number. float64 stays, for checks of gradients."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _points(image, predictions, like):
    maps = zip(predictions.box_offsets, STRIDES, strict=True)
    return torch.cat([grid_locations(*m.shape[-2:], stride, like.device) for m, stride in maps]).to(like.dtype)


def _queried(image):
    """Things with a foreground location: int64."""
    return image.levels.instances[image.levels.instances >= 0].unique()


def _best_locations(image, scores, queried):
    """Of each queried thing the foreground location with the best score (L, T) for its class: int64."""
    own = scores.gather(1, image.things.classes[image.levels.instances.clamp(min=0)][:, None])[:, 0]
    mine = image.levels.instances[None] == queried[:, None]
    return torch.where(mine, own, -1.0).argmax(1)


def _iou_of_offsets(a, b):
    """IoU of boxes given by offsets from one location inside both: (F, 4), (F, 4) -> (F,)."""
    smaller, sides_a, sides_b = torch.minimum(a, b), a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:]
    intersection = (smaller[:, :2] + smaller[:, 2:]).prod(1)
    union = sides_a.prod(1) + sides_b.prod(1) - intersection
    return (intersection / union.clamp(min=1e-7)).clamp(min=1e-7)


def focal_loss(logits, wanted, alpha, gamma):
    """Sigmoid focal loss (RetinaNet, Eq. 5), summed: logits and targets (0 or 1) of one shape -> scalar."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    probability = logits.sigmoid()
    wrong = probability + wanted - 2 * probability * wanted  # 1 - probability of the truth
    weight = alpha * wanted + (1 - alpha) * (1 - wanted)
    return (weight * wrong**gamma * cross_entropy).sum()


def mask_loss(dense, boxes, agreement, inside):
    """Sum over queries of Eq. 16, with Eq. 17 and 18.

    Args:
        dense: (4, P) or without levelness (20, P), dense boxes.
        boxes: (K, 4) of the queries.
        agreement: (K,), beta of Eq. 16, a weight without gradient.
        inside: bool (K, P), pixels of the true masks.

    Returns:
        scalar.
    """
    levels = dense.view(-1, 4, 1, dense.shape[1])
    overlap = torch.stack([location_score(boxes.T[:, :, None], one, "iou") for one in levels]).amax(0)
    wrong = torch.where(inside, 1 - overlap, overlap)
    return (agreement * wrong.sum(1) / inside.sum(1).clamp(min=1)).sum()
