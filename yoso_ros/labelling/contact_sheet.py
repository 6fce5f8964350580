# SPDX-License-Identifier: Apache-2.0
"""The contact sheet of a selection: each chosen frame, what the model sees in it, and why it was chosen."""

from html import escape

from yoso_ros.evaluation.pages.page import card_row, page, section, table
from yoso_ros.evaluation.pages.sections import picture_row


def why(entry):
    """Why a frame was chosen, as text: str.

    Args:
        entry: dict of a chosen frame as in selection.json.
    """
    texts = {
        "uncertain": f"uncertain: confidence {100 - entry['uncertain_percent']:.0f} %",
        "unrest": f"unrest: {entry['unrest_percent']:.0f} % of the things appear or vanish in this frame only",
        "disagreement": f"two models disagree on {entry['disagreement_percent']:.0f} % of the pixels",
        "new": f"new: {entry['difference_percent']:.0f} % different from the most similar labelled or chosen frame",
        "rare": f"rare: {entry['rarest']}, in {entry['rarest_percent']:.1f} % of the frames",
    }
    return "; ".join(texts[name] for name in entry["reasons"])


def contact_sheet(selection, pictures):
    """The page: str.

    Args:
        selection: content of selection.json.
        pictures: for each chosen frame a dict of title to JPEG bytes.
    """
    chosen = selection["chosen"]
    cards = [
        ("frames looked at", f"{selection['frames']}"),
        ("recordings", f"{len(selection['recordings'])}"),
        ("chosen", f"{len(chosen)}"),
    ]
    main = [entry["reasons"][0] for entry in chosen]
    rows = [(name, main.count(name)) for name in dict.fromkeys(sorted(main, key=lambda n: -main.count(n)))]
    parts = [card_row(cards), section("Main reason", table(("reason", "frames"), rows))]
    parts += [f'<p class="lost">{escape(line)}</p>' for line in selection["faults"]]
    sheet = [
        f"<h3>{number}. {escape(entry['file_name'])}</h3><p>{escape(why(entry))}</p>{picture_row(pictures_of)}"
        for number, (entry, pictures_of) in enumerate(zip(chosen, pictures, strict=True), start=1)
    ]
    parts.append(section("Frames, in the order of choice", "".join(sheet)))
    classes = [(c["name"], c["frames"], c["chosen"]) for c in selection["classes"]]
    parts.append(section("Classes", table(("class", "frames with it", "chosen with it"), classes)))
    parts.append(section("How it was made", f"<p><code>{escape(selection['command'])}</code></p>"))
    return page("Frames worth labelling", ", ".join(selection["recordings"]), parts)
