# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the person who corrects pre-labels: the exact ground truth of rendered scenes."""

import dataclasses

import numpy as np

from yoso_ros.evaluation.segment_maps import semantic_map
from yoso_ros.labelling.chosen_frames import frame_index


class Corrected:
    """A pre-labelled data set with its labels replaced by the ground truth of the recording.

    Args:
        prelabels: data set made by `bag label` from one recording.
        truth: data set that the recording was made from, frame by frame.
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
        """Share of the pixels that have no class, or a wrong one, in the pre-labels, 0..1."""
        wrong = []
        for index in range(len(self)):
            maps = [
                semantic_map(sample.ids, sample.segments, data.label_set)
                for sample, data in ((self._prelabels[index], self._prelabels), (self[index], self))
            ]
            wrong.append(np.mean(maps[0] != maps[1]))
        return float(np.mean(wrong))
