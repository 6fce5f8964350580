# SPDX-License-Identifier: Apache-2.0
"""The node as a process of its own with a segmenter that tells what it was made for and given."""

import sys

from node_with_test_segmenter import ColourSegmenter

from yoso_ros.ros.node import main


class TellingSegmenter(ColourSegmenter):
    """A `ColourSegmenter` that prints its options and the shapes of its frames."""

    def __init__(self, model, engine_path=None, force_rebuild=False, **options):
        super().__init__(model, **options)
        print(f"engine {options['engine']} path {engine_path} rebuild {force_rebuild}", flush=True)

    def prepare(self, frames):
        print(f"batch {[frame.shape for frame in frames]}", flush=True)
        return super().prepare(frames)


if __name__ == "__main__":
    sys.exit(main(load_segmenter=TellingSegmenter))
