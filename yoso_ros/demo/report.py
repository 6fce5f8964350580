# SPDX-License-Identifier: Apache-2.0
"""Collects the answers of a demonstration and writes the files: video, contact sheet, segments.csv, summary.json."""

import csv
import json
from pathlib import Path

import numpy as np

from yoso_ros.demo.pictures import OverlayVideo, contact_sheet, write_png
from yoso_ros.evaluation import PanopticQuality
from yoso_ros.files import atomic_path, write_file
from yoso_ros.results import UNLABELLED_ID
from yoso_ros.tables import csv_text

RESULTS = ("overlay.mp4", "contact_sheet.png", "segments.csv", "summary.json")
SHEET_FRAMES = 8
PERCENTILES = (50, 95)
BOX_COLUMNS = ("box_x", "box_y", "box_width", "box_height")
CENTROID_COLUMNS = ("centroid_x", "centroid_y")
SEGMENT_COLUMNS = ("id", "class_id", "class_name", "is_thing", "instance_id", "score", "area")
COUNTS = ("sent", "lost", "received", "processed", "answered", "dropped", "failed")
# Name in the terminal for what ~/stats calls latency: the sum of the stages before it.
STAGE_NAMES = {"latency_ms": "arrival to publication"}


class Report:
    """Takes the answers one by one, in order, and keeps only the images that the contact sheet needs.

    Args:
        folder: where the files go; created if missing.
        label_set: `LabelSet` of the model.
        expected: number of frames that will be sent.
        rate_hz: of the video.
        show: function from a `Frame` to its image, uint8 (H, W, 3) RGB.
    """

    def __init__(self, folder, label_set, expected, rate_hz, show):
        self._folder, self._label_set, self._show = Path(folder), label_set, show
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in RESULTS:  # of an earlier run; next to the new log they would be misleading
            (self._folder / name).unlink(missing_ok=True)
        self._video = OverlayVideo(self._folder, rate_hz)
        count = min(SHEET_FRAMES, expected)
        self._slots = [round((i + 0.5) * expected / count - 0.5) for i in range(count)]
        self._pairs, self._seen_classes = [], set()
        self._stages, self._latency, self._times = {}, [], []
        self._inconsistent = 0
        self._quality = None
        self._rows_whole = atomic_path(self._folder / "segments.csv")
        self._rows_path = self._rows_whole.__enter__()
        self._rows_file = open(self._rows_path, "w", newline="")  # noqa: SIM115 (closed by finish)
        self._rows = csv.writer(self._rows_file)
        self._rows.writerow(("stamp", "frame", *SEGMENT_COLUMNS, *BOX_COLUMNS, *CENTROID_COLUMNS))

    @property
    def count(self):
        """Number of answers so far."""
        return len(self._latency)

    def add(self, answer):
        """Take one `Answer`."""
        self._video.add(answer.overlay, answer.index)
        self._latency.append(answer.latency_ms)
        self._times.append((answer.sent_s, answer.received_s))
        for name, value in answer.stages_ms.items():
            self._stages.setdefault(name, []).append(value)
        self._inconsistent += not np.array_equal(answer.panoptic >> 8, answer.semantic)
        self._seen_classes.update(s.class_id for s in answer.segments)
        stamp = f"{answer.frame.stamp_ns // 10**9}.{answer.frame.stamp_ns % 10**9:09d}"
        for s in answer.segments:
            name = csv_text(s.class_name)
            plain = (s.id, s.class_id, name, int(s.is_thing), s.instance_id, f"{s.score:.4f}", s.area)
            centroid = (f"{value:.1f}" for value in s.centroid_xy)
            self._rows.writerow((stamp, answer.index, *plain, *s.box_xywh, *centroid))
        if self._slots and answer.index >= self._slots[0]:
            self._slots = [slot for slot in self._slots if slot > answer.index]
            caption = f"frame {answer.index}, {len(answer.segments)} segments"
            self._pairs.append((caption, self._show(answer.frame), answer.overlay.copy()))
        if answer.frame.truth is not None and self._label_set.name == "synthetic":
            self._compare(answer)

    def _compare(self, answer):
        if self._quality is None:
            self._quality = PanopticQuality(self._label_set.coco_categories())
        self._quality.update(
            *self._coco(answer.panoptic), *self._coco(answer.frame.truth.reshape(answer.panoptic.shape))
        )

    def _coco(self, panoptic):
        """Ids (H, W) with 0 = void, and `segments_info`, from a map by the package's id rule, whose first id is 0."""
        ids = np.where(panoptic == UNLABELLED_ID, 0, panoptic.astype(np.int64) + 1)
        present = np.unique(ids[ids > 0]).tolist()
        classes = self._label_set.classes
        return ids, [{"id": i, "category_id": classes[(i - 1) >> 8].dataset_id} for i in present]

    def discard(self):
        """Remove the unfinished files."""
        self._rows_file.close()
        self._rows_path.unlink(missing_ok=True)
        self._video.discard()

    def finish(self, facts, counts):
        """Write the remaining files and return the summary.

        Args:
            facts: dict of plain values that identify the run: source, model, weights, backend, mode.
            counts: dict of int: frames in_source, asked_for, sent, lost (in transit), received, processed, dropped,
                failed.

        Returns:
            dict, the contents of summary.json.
        """
        self._rows_file.close()
        self._rows_whole.__exit__(None, None, None)
        video = self._video.close()
        files = ["node.log", "segments.csv", "summary.json", *([video.name] if video else [])]
        summary = {**facts, "frames": {**counts, "answered": self.count}}
        if self.count:
            seconds = self._times[-1][1] - self._times[0][0]
            summary["frames_per_second"] = self.count / seconds
            summary["label_images_that_disagree"] = self._inconsistent
            summary["latency_ms"] = _percentiles(self._latency)
            summary["stages_ms"] = {name: _percentiles(values) for name, values in self._stages.items()}
            if self._quality is not None:
                groups = self._quality.compute()
                summary["panoptic_quality"] = {name: groups[name] for name in ("All", "Things", "Stuff")}
            write_png(self._folder / "contact_sheet.png", self._sheet(summary))
            files.append("contact_sheet.png")
        summary["files"] = sorted(files)
        write_file(self._folder / "summary.json", json.dumps(summary, indent=2, default=float) + "\n")
        return summary

    def _sheet(self, summary):
        classes = [self._label_set.classes[i] for i in sorted(self._seen_classes)]
        latency = summary["latency_ms"]
        lines = [
            f"{summary['model']} on {summary['backend']}; {self.count} frames, {summary['frames_per_second']:.1f} "
            f"frames/s, publish to receipt {latency['p50']:.0f} ms (p95 {latency['p95']:.0f} ms)",
            "left: input; right: overlay published by the node. Instances of a class are shades of its colour.",
        ]
        legend = [(c.name, c.color) for c in classes]
        return contact_sheet(self._pairs, f"yoso_ros: {Path(summary['source']).name}", lines, legend)


def _percentiles(values):
    """{"p50", "p95"} of the numbers that are not NaN; None if there are none."""
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    return {f"p{p}": float(np.percentile(known, p)) if known.size else None for p in PERCENTILES}


def table(summary):
    """The summary as lines of text for a terminal."""
    frames = summary["frames"]
    lines = [
        f"source     {summary['source']}",
        f"model      {summary['model']}  ({summary['weights']})",
        f"backend    {summary['backend']}",
        f"mode       {summary['mode']}",
        "frames     " + ", ".join(f"{frames[n]} {n}" for n in COUNTS if n in frames),
    ]
    if "latency_ms" not in summary:
        return [*lines, "the node answered no frame"]
    lines.append(f"speed      {summary['frames_per_second']:.1f} frames/s")
    lines.append(f"{'milliseconds':24}{'p50':>9}{'p95':>9}")
    rows = {**summary["stages_ms"], "publish to receipt": summary["latency_ms"]}
    for name, value in rows.items():
        numbers = "".join(f"{'-' if v is None else format(v, '.1f'):>9}" for v in value.values())
        lines.append(f"  {STAGE_NAMES.get(name, name.removesuffix('_ms')):22}{numbers}")
    for name, group in summary.get("panoptic_quality", {}).items():
        lines.append(f"PQ {name:8}{group['PQ']:6.1f}   SQ {group['SQ']:5.1f}   RQ {group['RQ']:5.1f}")
    if summary["label_images_that_disagree"]:
        lines.append(f"{summary['label_images_that_disagree']} frames with panoptic >> 8 != semantic")
    return lines
