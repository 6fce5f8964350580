# SPDX-License-Identifier: Apache-2.0
"""Select frames worth labelling: a bounded set of candidates from each recording, then a choice among all of them."""

from collections import Counter

from yoso_ros.evaluation.recordings.worst_frames import jpeg
from yoso_ros.files import write_file, write_json
from yoso_ros.images.overlay import build_palette, overlay_image
from yoso_ros.labelling.appearance import describe
from yoso_ros.labelling.candidates import CandidatePool, pool_bytes, read_pool
from yoso_ros.labelling.chosen_frames import frame_name, frames_at, image_file, recording_names
from yoso_ros.labelling.contact_sheet import contact_sheet
from yoso_ros.labelling.interest import frame_interests
from yoso_ros.labelling.selection import choose

POOL, WHOLE_POOL = 256, 1024  # candidates kept per recording, and in total; more if more frames are requested


def recording_candidates(number, source, decode, segmenter, *, count, same_look, second=None, every=1, watch=iter):
    """The candidates of one recording as the bytes of a part; see `pool_bytes`.

    Args:
        number: of the recording in the list.
        source, decode, segmenter, second, every: see `frame_interests`.
        count: number of frames to choose in total. same_look: see `CandidatePool`.
        watch: wraps the frames, for a progress bar.
    """
    pool, faults = CandidatePool(max(POOL, 2 * count), same_look), []
    for found in frame_interests(watch(source), decode, segmenter, second, every, number, faults):
        pool.add(found)
    lost = [f"{source.name}: {line}" for line in (*source.losses, *faults)]
    return pool_bytes(pool, lost)


def joined_candidates(parts, count, same_look):
    """One pool of the candidates of all recordings, in their order.

    Args:
        parts: paths of parts, None for a recording that has none.

    Returns:
        (`CandidatePool`, faults: list of str).
    """
    pool, faults = CandidatePool(max(WHOLE_POOL, 4 * count), same_look), []
    # The rarity of a class refers to all recordings, so everything is counted before anything is compared.
    for path in filter(None, parts):
        frames, seen, _, lost = read_pool(path)
        pool.count(frames, seen)
        faults += lost
    for path in filter(None, parts):
        for found in read_pool(path)[2]:
            pool.add(found, counted=True)
    return pool, faults


def labelled_looks(images, segmenter):
    """Descriptions of the labelled frames, and how many of them have each class: (list of uint8 (S + L,), Counter).

    Args:
        images: iterable of uint8 (H, W, 3) RGB.
    """
    looks, have = [], Counter()
    for image in images:
        result = segmenter(image)
        looks.append(describe(image, result, len(segmenter.label_set)))
        have.update({s.class_id for s in result.segments})
    return looks, have


def write_selection(folder, pool, count, segmenter, open_recording, sources, decode, facts, labelled=((), None)):
    """Choose, and write `folder`/images, selection.json and contact_sheet.html.

    Args:
        folder: pathlib.Path.
        pool: `CandidatePool` of all recordings. count: frames to choose.
        segmenter: its results are drawn on the contact sheet.
        open_recording: callable path -> source. sources: list of pathlib.Path, the recordings.
        decode: callable from a frame's image to uint8 (H, W, 3) RGB.
        facts: dict added to selection.json, with at least "command" and "faults".
        labelled: result of `labelled_looks`.

    Returns:
        the content of selection.json.
    """
    chosen = choose(list(pool), count, pool.rarity, pool.same_look, *labelled)
    places = [(c.frame.recording, c.frame.index) for c in chosen]
    recordings, files, pictures = recording_names(sources), {}, {}
    palette = build_palette(segmenter.label_set)
    for number in sorted({recording for recording, _ in places}):
        wanted = sorted(index for recording, index in places if recording == number)
        for index, frame in frames_at(open_recording(sources[number]), wanted):
            suffix, data = image_file(frame.image, decode)
            name = frame_name(recordings[number], index) + suffix
            write_file(folder / "images" / name, data)
            image = decode(frame.image)
            result = segmenter(image)
            seen = overlay_image(image, result.panoptic, palette, segments=result.segments)
            files[number, index] = name
            pictures[number, index] = {"frame": jpeg(image), "what the model sees": jpeg(seen)}
    names = [c.name for c in segmenter.label_set.classes]
    with_class = Counter(c for entry in chosen for c in entry.frame.classes)
    selection = {
        "frames": pool.frames,
        "recordings": [str(source) for source in sources],
        "chosen": [_entry(c, files, sources, names, pool) for c in chosen],
        "classes": [
            {"name": name, "frames": pool.seen[i], "chosen": with_class[i]} for i, name in enumerate(names)
        ],
        **facts,
    }  # fmt: skip
    write_json(folder / "selection.json", selection)
    write_file(folder / "contact_sheet.html", contact_sheet(selection, [pictures[place] for place in places]))
    return selection


def _entry(chosen, files, sources, names, pool):
    frame, rarest = chosen.frame, chosen.rarest
    return {
        "file_name": files[frame.recording, frame.index],
        "recording": str(sources[frame.recording]),
        "index": frame.index,
        "stamp_ns": frame.stamp_ns,
        "reasons": list(chosen.reasons),
        "uncertain_percent": frame.uncertain,
        "unrest_percent": frame.unrest,
        "disagreement_percent": frame.disagreement,
        "difference_percent": 100 * chosen.difference,
        "rarest": None if rarest is None else names[rarest],
        "rarest_percent": 0.0 if rarest is None else 100 * pool.seen[rarest] / max(pool.frames, 1),
        "classes": [names[c] for c in frame.classes],
    }
