# SPDX-License-Identifier: Apache-2.0
"""Visualisation of a panoptic segmentation: one colour per id blended over the frame, with borders and names.

Legend: `H W` size of the frame in pixels. No ROS here; images are uint8 (H, W, 3) RGB.
"""

import colorsys

import cv2
import numpy as np

from yoso_ros.results import MAX_INSTANCES, UNLABELLED_ID, panoptic_id

# Steps between instance shades in hue and in brightness: powers of 1 / (the plastic number), the two-dimensional
# counterpart of the golden ratio, spread any number of points evenly over a square.
HUE_STEP, VALUE_STEP = 0.7548776662466927, 0.5698402909980532
HUE_SPREAD = 0.25  # fraction of the colour circle shared by the instances of a class, around the colour of the class
VALUE_RANGE = (0.5, 1.0)  # darkest and brightest shade of an instance
SMALLEST_SATURATION = 0.6  # grey has no hue to vary
NAME_HEIGHT = 1 / 36  # letter height as a fraction of the frame's height
SMALLEST_NAMED_AREA = 1 / 500  # fraction of the frame below which a segment gets no name


def build_palette(label_set):
    """Colour of every possible panoptic id of a label set.

    Stuff has the colour of its class. Instances of things have shades around it, and consecutive instance numbers
    differ most. Ids unknown to the label set, and 65535, are black.

    Args:
        label_set: `yoso_ros.label_sets.LabelSet`.

    Returns:
        uint8 (65536, 4), RGBA; A is 255 for ids known to the label set and 0 for all others.
    """
    palette = np.zeros((UNLABELLED_ID + 1, 4), np.uint8)
    for class_id, label in enumerate(label_set.classes):
        first = panoptic_id(class_id, 0)
        palette[first] = (*label.color, 255)
        for instance in range(1, MAX_INSTANCES + 1):
            shade = _instance_color(label.color, instance) if label.is_thing else label.color
            palette[first + instance] = (*shade, 255)
    return palette


def _instance_color(color, instance):
    hue, saturation, value = colorsys.rgb_to_hsv(*(c / 255 for c in color))
    turn = (instance * HUE_STEP) % 1.0 - 0.5
    low, high = VALUE_RANGE
    value = low + (high - low) * ((value + instance * VALUE_STEP) % 1.0)
    shade = colorsys.hsv_to_rgb((hue + HUE_SPREAD * turn) % 1.0, max(saturation, SMALLEST_SATURATION), value)
    return tuple(round(255 * part) for part in shade)


def color_image(panoptic, palette):
    """The colour of each pixel's id.

    Args:
        panoptic: uint16 (H, W) panoptic ids.
        palette: `build_palette(label_set)`.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    return cv2.cvtColor(_colors_with_alpha(panoptic, palette), cv2.COLOR_RGBA2RGB)


def _colors_with_alpha(panoptic, palette):
    # One 32-bit word per id: indexing words is several times faster than indexing rows of three bytes.
    words = palette.view(np.uint32).reshape(-1)
    return np.take(words, panoptic).view(np.uint8).reshape(*panoptic.shape, 4)


def border_mask(panoptic):
    """Pixels whose id differs from that of the pixel to the right or below.

    Args:
        panoptic: uint16 (H, W) panoptic ids.

    Returns:
        uint8 (H, W), 255 on borders, 0 elsewhere.
    """
    border = np.zeros(panoptic.shape, np.bool_)
    np.not_equal(panoptic[:, 1:], panoptic[:, :-1], out=border[:, :-1])
    border[:-1] |= panoptic[1:] != panoptic[:-1]
    return border.view(np.uint8) * np.uint8(255)


def overlay_image(frame, panoptic, palette, alpha=0.5, segments=()):
    """The frame with the colours of the segments blended over it, their borders, and their names.

    Args:
        frame: uint8 (H, W, 3) RGB.
        panoptic: uint16 (H, W) panoptic ids; unlabelled pixels keep the frame's colour.
        palette: `build_palette(label_set)`.
        alpha: 0 shows the frame alone (with borders and names), 1 the colours alone.
        segments: list of `yoso_ros.results.Segment` whose names are drawn; empty for none.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    colors = _colors_with_alpha(panoptic, palette)
    picture = cv2.addWeighted(frame, 1.0 - alpha, cv2.cvtColor(colors, cv2.COLOR_RGBA2RGB), alpha, 0.0)
    if UNLABELLED_ID in panoptic:
        unknown = (panoptic == UNLABELLED_ID).view(np.uint8)
        picture = cv2.copyTo(np.ascontiguousarray(frame), unknown, picture)
    picture = cv2.max(picture, cv2.cvtColor(border_mask(panoptic), cv2.COLOR_GRAY2RGB))  # white borders
    _write_names(picture, segments)
    return picture


def _write_names(picture, segments):
    height, width = picture.shape[:2]
    scale = cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, max(9, round(height * NAME_HEIGHT)))
    for segment in segments:
        if segment.area < SMALLEST_NAMED_AREA * height * width:
            continue
        text = f"{segment.class_name} {segment.instance_id}" if segment.is_thing else segment.class_name
        (text_width, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        x = int(np.clip(segment.centroid_xy[0] - text_width / 2, 0, max(0, width - text_width)))
        y = int(np.clip(segment.centroid_xy[1] + text_height / 2, text_height, height))
        # White with a black shadow is readable on any colour. Thicker letters would also be wider.
        for shift, shade in ((1, (0, 0, 0)), (0, (255, 255, 255))):
            cv2.putText(picture, text, (x + shift, y + shift), cv2.FONT_HERSHEY_SIMPLEX, scale, shade, 1, cv2.LINE_AA)
