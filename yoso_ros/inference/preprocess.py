# SPDX-License-Identifier: Apache-2.0
"""Frames to network input: resized by the configuration's rule, padded at the right and bottom with its colour.

Legend: `B` batch, frames uint8 (h, w, 3) RGB, network input float32 (B, 3, H, W) RGB 0..255.
"""

import numpy as np
import torch
import torch.nn.functional as F


def check_frame(frame):
    """Raise `TypeError` or `ValueError` describing the input, unless it is uint8 (H, W, 3) with H, W >= 1."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
        kind = getattr(frame, "dtype", type(frame).__name__)
        raise TypeError(f"expected a frame of numpy uint8 (H, W, 3) RGB, found {kind}")
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(f"expected a frame (H, W, 3) with H and W at least 1, found shape {frame.shape}")


def resize_frame(frame, size):
    """Resize a uint8 frame to (height, width), bilinear and antialiased; unchanged if equal.

    The authors use Pillow. This takes a fifth of the time and differs by at most one grey level, because the weights
    are rounded differently: in 0 to 2 of 100 values of photographs, more at a few sizes, and in none at half the size.
    """
    if frame.shape[:2] == tuple(size):
        return frame
    image = _tensor(frame)[None].permute(0, 3, 1, 2)  # in this order torch recognises the channels-last layout
    return F.interpolate(image, size=tuple(size), mode="bilinear", antialias=True).permute(0, 2, 3, 1)[0].numpy()


def _tensor(frame):
    # ROS messages and decoders return read-only arrays, about which torch warns.
    return torch.from_numpy(np.require(frame, requirements="CW"))


def padded_size(sizes, divisor):
    """Smallest (height, width), multiples of `divisor`, that fits images of all `sizes` (height, width, ...)."""
    return tuple(-(-max(size[axis] for size in sizes) // divisor) * divisor for axis in (0, 1))


def network_input(frames, config, divisor):
    """Frames of any sizes as a single network input.

    Args:
        frames: list of uint8 (h, w, 3) RGB.
        config: a `ModelConfig`.
        divisor: the network's `size_divisor`.

    Returns:
        (float32 (B, 3, H, W) as from `batch_frames`, list of the (height, width) of each frame in it).
    """
    sizes = [config.network_size(*frame.shape[:2]) for frame in frames]
    resized = [resize_frame(frame, size) for frame, size in zip(frames, sizes, strict=True)]
    return batch_frames(resized, config.padding_color, divisor), sizes


def batch_frames(frames, color, divisor):
    """Stack frames of any sizes, padded at the right and bottom; the pixel mean is zero after normalisation.

    Args:
        frames: list of uint8 (h, w, 3).
        color: of the padding, RGB 0..255.
        divisor: the network's `size_divisor`, which must divide the sides of its input.

    Returns:
        float32 (B, 3, H, W) with H and W the smallest common multiples of `divisor`, channels-last in memory.
    """
    height, width = padded_size([frame.shape for frame in frames], divisor)
    batch = torch.tensor(color, dtype=torch.float32).repeat(len(frames), height, width, 1)
    for image, frame in zip(batch, frames, strict=True):
        image[: frame.shape[0], : frame.shape[1]] = _tensor(frame)
    return batch.permute(0, 3, 1, 2)


def resize_on_device(frame, size):
    """`resize_frame` on the device of the frame; differs from it by at most one grey level (rounding of the weights).

    Args:
        frame: uint8 (h, w, 3) tensor.
        size: (height, width).

    Returns:
        float32 (1, 3, height, width), whole numbers 0..255.
    """
    image = frame.permute(2, 0, 1)[None].float()
    # Like Pillow if height and width both shrink or both grow: first along the rows, rounded, then along the columns.
    for step in ((frame.shape[0], size[1]), tuple(size)):
        if step != tuple(image.shape[2:]):
            image = F.interpolate(image, size=step, mode="bilinear", antialias=True, align_corners=False)
            image = (image + 0.5).floor().clamp(0.0, 255.0)
    return image


def batch_on_device(frames, sizes, color, divisor):
    """`resize_frame` and `batch_frames` on one device.

    Args:
        frames: list of uint8 (h, w, 3) tensors.
        sizes: the (height, width) to resize each to.
        color: of the padding, float32 (3,) RGB 0..255, on the same device.
        divisor: as in `batch_frames`.

    Returns:
        float32 (B, 3, H, W) as from `batch_frames`, channels-last in memory.
    """
    height, width = padded_size(sizes, divisor)
    batch = color.repeat(len(frames), height, width, 1).permute(0, 3, 1, 2)
    for image, frame, size in zip(batch, frames, sizes, strict=True):
        image[:, : size[0], : size[1]] = resize_on_device(frame, size)[0]
    return batch
