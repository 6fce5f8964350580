# SPDX-License-Identifier: Apache-2.0
"""The person who corrects pre-labels, played by the exact truth of rendered scenes."""

import dataclasses

import numpy as np

from yoso_ros.evaluation.segment_maps import semantic_map
from yoso_ros.labelling.chosen_frames import frame_index


class Corrected:
    """A pre-labelled data set whose labels are the truth of the recording that its frames are from.

    Args:
        prelabels: data set that `bag label` has made of one recording.
        truth: data set that the recording was made of, frame by frame.
    """

    def __init__(self, prelabels, truth):
        self.label_set, self._prelabels, self._truth = truth.label_set, prelabels, truth

    def __len__(self):
        return len(self._prelabels)

    def __getitem__(self, index):
        sample = self._prelabels[index]
        truth = self._truth[frame_index(sample.file_name)]
        return dataclasses.replace(sample, ids=truth.ids, segments=truth.segments)

    def share_to_change(self):
        """Part of the pixels to which the pre-labels give no class or another than the truth, 0..1."""
        wrong = []
        for index in range(len(self)):
            maps = [
                semantic_map(sample.ids, sample.segments, data.label_set)
                for sample, data in ((self._prelabels[index], self._prelabels), (self[index], self))
            ]
            wrong.append(np.mean(maps[0] != maps[1]))
        return float(np.mean(wrong))
