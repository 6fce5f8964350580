# SPDX-License-Identifier: Apache-2.0
"""All faults of a data set, for `yoso-ros train --check` and after an import."""

from pathlib import Path

from yoso_ros.errors import InputError


def check_dataset(root, splits, label_set_out=None):
    """Read whole splits and print each fault; returns the exit code 0.

    Args:
        root: root of the data set. splits: names. label_set_out: where to write its classes as a label set, or None.

    Raises:
        InputError: there are faults; the message has their number.
    """
    from tqdm import tqdm

    from yoso_ros.data import open_dataset
    from yoso_ros.data.formats.exchange import write_label_set

    count, label_set = 0, None
    for split in dict.fromkeys(splits):
        try:
            dataset = open_dataset(root, split)
        except InputError as error:
            faults = [str(error)]
        else:
            label_set = label_set or dataset.label_set
            print(f"{split}: {len(dataset)} images, {len(dataset.label_set)} classes")
            faults = dataset.find_faults(lambda indices, name=split: tqdm(indices, desc=name, unit="image"))
        for fault in faults:
            count += 1
            tqdm.write(fault)
    if label_set_out and label_set:
        path = Path(label_set_out)
        write_label_set(label_set, path, path.stem)
        print(f"{len(label_set)} classes: {path}")
    if count:
        raise InputError(f"{root} has {count} fault{'s' * (count > 1)}, listed above")
    print(f"{root}: no faults")
    return 0
