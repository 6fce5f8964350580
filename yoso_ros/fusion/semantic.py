# SPDX-License-Identifier: Apache-2.0
"""Semantic map from a mask classification network (YOSO): class and mask logits of one image to a class per pixel.

Legend: `N` proposals, `C` classes; `h w` stride-4 map; `H W` output size.
"""

import torch

from yoso_ros.fusion.dense import chunks_of_masks, resize_mask_logits


@torch.no_grad()
def find_semantic_map(
    class_logits: torch.Tensor, mask_logits: torch.Tensor, input_size: tuple[int, int], output_size: tuple[int, int]
) -> torch.Tensor:
    """The class with the largest sum over the proposals of class probability times mask probability, at each pixel.

    As in the YOSO authors' semantic inference, the probability of "no object" is dropped and the others are not
    renormalised, so every pixel has a class.

    Args:
        class_logits: float (N, C+1), divided by the temperature; the last class is "no object".
        mask_logits: float (N, h, w), at stride 4 of the padded network input (4h, 4w), on the same device.
        input_size: (height, width) of the network input before padding at the right and bottom.
        output_size: (H, W) of the map.

    Returns:
        uint8 (H, W) class ids, on the device of the logits.
    """
    probabilities = class_logits.float().softmax(-1)[:, :-1].T
    sums = torch.zeros((len(probabilities), output_size[0] * output_size[1]), device=class_logits.device)
    for part in chunks_of_masks(mask_logits.shape[0], output_size):
        masks = resize_mask_logits(mask_logits[part].float(), tuple(input_size), tuple(output_size)).sigmoid_()
        sums.addmm_(probabilities[:, part], masks.flatten(1))
    return sums.argmax(0).to(torch.uint8).view(*output_size)
