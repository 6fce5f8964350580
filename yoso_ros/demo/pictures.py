# SPDX-License-Identifier: Apache-2.0
"""The overlay video, and a contact sheet with input and overlay side by side and a legend of the class colours.

Legend: images are uint8 (H, W, 3) RGB.
"""

from pathlib import Path

import cv2
import numpy as np

from yoso_ros.files import atomic_path, write_file

CODEC = "mp4v"  # the encoder that every build of OpenCV includes
MIN_VIDEO_RATE, MAX_VIDEO_RATE = 1.0, 60.0  # frames/s
PAIRS_PER_ROW = 2
CELL_WIDTH = 400  # width in pixels of one image on the contact sheet
GAP = 8  # pixels
PAPER, INK, PALE_INK = (250, 250, 248), (25, 25, 30), (110, 110, 115)
FONT = cv2.FONT_HERSHEY_DUPLEX
TEXT_SCALE, LINE_HEIGHT = 0.5, 24


def write_png(path, picture):
    """Write an image, uint8 (H, W, 3) RGB, as PNG."""
    _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    write_file(path, data.tobytes())


def fit(picture, width, height):
    """The image scaled to fit into `width` x `height`, centred on black."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    if size == picture.shape[1::-1] == (width, height):
        return picture
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    return cv2.copyMakeBorder(small, top, height - size[1] - top, left, width - size[0] - left, cv2.BORDER_CONSTANT)


class OverlayVideo:
    """Writes overlay.mp4 into a folder, or a folder `overlay` of PNG files if OpenCV has no encoder.

    All frames get the size of the first one, rounded down to even numbers for the codec.
    """

    def __init__(self, folder, rate_hz):
        self._folder, self._rate = Path(folder), float(np.clip(rate_hz, MIN_VIDEO_RATE, MAX_VIDEO_RATE))
        self._writer, self._size, self._last, self._count = None, None, None, 0
        self._whole, self._partial = atomic_path(self._folder / "overlay.mp4"), None

    def add(self, picture, index):
        """Append the image of source frame `index`, repeating the last one up to there to keep the timing right."""
        if self._size is None:
            self._size = tuple(max(2, s - s % 2) for s in picture.shape[1::-1])
            self._partial = self._whole.__enter__()
            self._writer = cv2.VideoWriter(str(self._partial), cv2.VideoWriter_fourcc(*CODEC), self._rate, self._size)
        picture = fit(picture, *self._size)
        if not self._writer.isOpened():
            (self._folder / "overlay").mkdir(exist_ok=True)
            write_png(self._folder / "overlay" / f"{index:06d}.png", picture)
            return
        for _ in range(self._count, index) if self._last is not None else ():
            self._writer.write(self._last)
        self._last = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        self._writer.write(self._last)
        self._count = index + 1

    def discard(self):
        """Remove the unfinished file."""
        if self._writer is not None:
            self._writer.release()
            self._partial.unlink(missing_ok=True)

    def close(self):
        """Finish the file; returns its path, or the folder of PNG files, or None if there was no frame."""
        if self._writer is None:
            return None
        encoded = self._writer.isOpened()
        self._writer.release()
        if not encoded:
            return self._folder / "overlay"
        self._whole.__exit__(None, None, None)
        return self._folder / "overlay.mp4"


def contact_sheet(pairs, title, lines, classes):
    """Images of a run on a single sheet.

    Args:
        pairs: list of (caption, input image, overlay image).
        title: first line. lines: list of str, smaller, below it.
        classes: list of (name, RGB color) for the legend.

    Returns:
        the sheet.
    """
    first = pairs[0][1]
    cell_height = round(CELL_WIDTH * first.shape[0] / first.shape[1])
    pair_width, row_height = 2 * CELL_WIDTH + GAP // 2, cell_height + LINE_HEIGHT
    columns = min(PAIRS_PER_ROW, len(pairs))
    rows = -(-len(pairs) // columns)
    width = columns * pair_width + (columns + 1) * GAP
    legend = _legend_positions(classes, width)
    head = LINE_HEIGHT * (1 + len(lines)) + 2 * GAP
    foot = (max(y for _, _, y, _ in legend) + LINE_HEIGHT if legend else 0) + GAP
    sheet = np.full((head + rows * (row_height + GAP) + foot, width, 3), PAPER, np.uint8)
    _write(sheet, title, GAP, GAP + 17, INK, 0.62)
    for number, line in enumerate(lines, start=1):
        _write(sheet, line, GAP, GAP + 17 + number * LINE_HEIGHT, PALE_INK)
    for number, (caption, picture, overlay) in enumerate(pairs):
        x = GAP + number % columns * (pair_width + GAP)
        y = head + number // columns * (row_height + GAP)
        _write(sheet, caption, x, y + 16, PALE_INK)
        for offset, image in ((0, picture), (CELL_WIDTH + GAP // 2, overlay)):
            cell = fit(image, CELL_WIDTH, cell_height)
            sheet[y + LINE_HEIGHT : y + row_height, x + offset : x + offset + CELL_WIDTH] = cell
    top = sheet.shape[0] - foot
    for (name, color), (_, x, y, _) in zip(classes, legend, strict=True):
        cv2.rectangle(sheet, (x, top + y + 4), (x + 16, top + y + 20), tuple(map(int, color)), cv2.FILLED)
        _write(sheet, name, x + 22, top + y + 17, INK)
    return sheet


def _legend_positions(classes, width):
    """(name, x, y, width) of each legend entry, wrapped to the sheet's width."""
    positions, x, y = [], GAP, 0
    for name, _ in classes:
        entry = 22 + cv2.getTextSize(name, FONT, TEXT_SCALE, 1)[0][0] + 3 * GAP
        if x + entry > width and x > GAP:
            x, y = GAP, y + LINE_HEIGHT
        positions.append((name, x, y, entry))
        x += entry
    return positions


def _write(sheet, text, x, y, color, scale=TEXT_SCALE):
    # The font has only Latin letters; anything else would become a row of question marks.
    text = text.encode("ascii", "replace").decode()
    cv2.putText(sheet, text, (x, y), FONT, scale, color, 1, cv2.LINE_AA)
