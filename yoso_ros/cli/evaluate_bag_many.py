# SPDX-License-Identifier: Apache-2.0
"""Many recordings in `yoso-ros evaluate-bag`: distributed under torchrun, each processed once, one combined report."""

import argparse
import io
import json
import shlex
import sys
import zipfile
from pathlib import Path

from yoso_ros.cli.segment import load_from_arguments
from yoso_ros.cli.shared_out import joined, model_settings

NOT_IN_A_PART = ("bag", "output", "command", "run", "device", "weights")


def run(arguments, open_recording, evaluate):
    """Evaluate each recording into a folder named after it, and write a combined report.html, report.json, report.md.

    Args:
        arguments: of the command; `bag` is a list.
        open_recording: callable arguments -> source. evaluate: callable (arguments, source, output, segmenter).
    """
    with joined(arguments):
        return _run(arguments, open_recording, evaluate)


def _run(arguments, open_recording, evaluate):
    from yoso_ros.labelling.chosen_frames import recording_names
    from yoso_ros.labelling.recordings import parts_of
    from yoso_ros.processes import is_first

    output, names = Path(arguments.output), recording_names([Path(bag) for bag in arguments.bag])
    segmenter = load_from_arguments(arguments)
    settings = {k: v for k, v in vars(arguments).items() if k not in NOT_IN_A_PART}
    settings["model"] = model_settings(segmenter, arguments.weights)

    def work(number, bag):
        own = argparse.Namespace(**(vars(arguments) | {"bag": bag, "output": str(output / names[number])}))
        evaluate(own, open_recording(own), output / names[number], segmenter)
        return _packed(output / names[number])

    parts, faults = parts_of(arguments.bag, work, output, settings)
    if not is_first():
        return 0
    done = {name: part for name, part in zip(names, parts, strict=True) if part}
    facts = {"command": f"yoso-ros {shlex.join(sys.argv[1:])}", "model": segmenter.config.name}
    _write(output, done, facts | {"backend": segmenter.backend, "faults": faults})
    for line in faults:
        print(f"lost: {line}")
    print(f"{len(done)} of {len(names)} recordings: {output}/report.html")
    return 0


def _packed(folder):
    """The files of a recording's report as a zip: bytes. Label images stay where they were written."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(p for p in folder.iterdir() if p.is_file()):
            archive.write(path, path.name)
    return content.getvalue()


def _write(output, parts, facts):
    from yoso_ros.evaluation.pages.many import html_page, markdown
    from yoso_ros.evaluation.recordings.frame_counts import FILE_NAME, read_frame_counts, write_frame_counts
    from yoso_ros.evaluation.recordings.many import join_reports
    from yoso_ros.files import write_file, write_json

    reports, counts = {}, {}
    for name, part in parts.items():
        with zipfile.ZipFile(part) as archive:
            for file in archive.namelist():
                write_file(output / name / file, archive.read(file))
            reports[name] = json.loads(archive.read("report.json"), parse_constant=float)
            if FILE_NAME in archive.namelist():
                counts[name] = read_frame_counts(output / name)
    report, together = join_reports(reports, counts)
    report = facts | report
    write_json(output / "report.json", report)
    write_file(output / "report.html", html_page(report))
    write_file(output / "report.md", markdown(report))
    if together is not None:
        write_frame_counts(together, output)
        print(", ".join(f"{name} {value:.2f}" for name, value in report["measures"].items()))
