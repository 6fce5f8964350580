# SPDX-License-Identifier: Apache-2.0
"""A recipe's augmentation as a single callable: sample in, image with labels and masks out."""

from yoso_ros.data.samples import training_targets
from yoso_ros.data.transforms import (
    ColorDistortion,
    LargeScaleJitter,
    RandomCrop,
    RandomFlip,
    RandomScale,
    RandomShortestEdge,
    apply_transforms,
    pad_sample,
)
from yoso_ros.data.weather import CameraFaults, Lighting, Weather

FLIP_PROBABILITY = 0.5


class Augmentation:
    """Augments samples according to a recipe.

    Args:
        config: an `AugmentationConfig`.
        label_set: maps the data set's category ids to class ids.
    """

    def __init__(self, config, label_set):
        self.label_set = label_set
        self.size = config.crop_height, config.crop_width
        height, width = self.size
        if config.resize == "jitter":
            jitter = LargeScaleJitter(
                height=height, width=width, min_scale=config.scale_min, max_scale=config.scale_max
            )
            self.transforms = [jitter]
        elif config.resize == "after_crop":
            crop = RandomCrop(height=height, width=width, max_category_ratio=config.max_category_ratio)
            self.transforms = [crop, RandomScale(smallest=config.scale_min, largest=config.scale_max)]
            self.size = 0, 0  # the output size varies
        else:
            self.transforms = [RandomShortestEdge(edges=config.shortest_edges, longest=config.longest_edge)]
            if height:
                crop = RandomCrop(height=height, width=width, max_category_ratio=config.max_category_ratio)
                self.transforms.append(crop)
        if config.flip:
            self.transforms.append(RandomFlip(probability=FLIP_PROBABILITY))
        if config.color:
            self.transforms.append(ColorDistortion())
        if config.weather:
            self.transforms.append(Weather(probability=config.weather))
        if config.lighting:
            self.transforms.append(Lighting(probability=config.lighting))
        if config.camera_faults:
            self.transforms.append(CameraFaults(probability=config.camera_faults))

    def __call__(self, sample, generator):
        """`PanopticSample`, numpy Generator -> image uint8 (h, w, 3), labels int64 (n,), masks bool (n, h, w)."""
        sample = apply_transforms(self.transforms, sample, generator)
        if self.size[0]:
            sample = pad_sample(sample, *self.size)
        return sample.image, *training_targets(sample.ids, sample.segments, self.label_set)
