# SPDX-License-Identifier: Apache-2.0
"""The renderer against a march along the rays and a polygon, and the data set that `yoso-ros synthesize` writes."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from yoso_ros import cli
from yoso_ros.data.coco_panoptic import CocoPanoptic
from yoso_ros.data.synthetic import Renderer, random_scene
from yoso_ros.data.synthetic import scene as scenes
from yoso_ros.data.synthetic.camera import Intrinsics, look_along, project
from yoso_ros.data.synthetic.dataset import Synthesis, coco_png, depth_millimetres, synthesized_frames
from yoso_ros.data.synthetic.shapes import BALL, BOX, CYLINDER, upright
from yoso_ros.errors import InputError
from yoso_ros.label_sets import load_label_set


def unproject(frame):
    """World point of every pixel that has a depth, by the pinhole formula: float64 (n, 3), and their mask (H, W)."""
    seen = np.isfinite(frame.depth)
    v, u = np.nonzero(seen)
    k, z = frame.intrinsics, frame.depth[seen].astype(np.float64)
    camera = np.stack([(u - k.cx) / k.fx * z, (v - k.cy) / k.fy * z, z], axis=1)
    return camera @ frame.pose.rotation.T + frame.pose.position, seen


def test_class_ids_are_those_of_the_label_set():
    names = [c.name for c in load_label_set("synthetic").classes]
    ids = (scenes.FLOOR, scenes.WALL, scenes.SKY, scenes.BOX_CLASS, scenes.CYLINDER_CLASS, scenes.PERSON_CLASS)
    assert [names[i] for i in ids] == ["floor", "wall", "sky", "box", "cylinder", "person"]


def test_same_seed_same_frame_other_seed_other_frame():
    def render(seed, noise_seed=0):
        return Renderer(96, 64).render(random_scene(seed), 3.0, noise_seed)

    one, two, other, noise = render(5), render(5), render(6), render(5, 1)
    for name in ("image", "semantic", "instance", "depth"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        if name != "image":
            np.testing.assert_array_equal(getattr(one, name), getattr(noise, name))
    assert (one.semantic != other.semantic).any()
    assert (one.image != noise.image).mean() > 0.3


def test_camera_looks_where_it_says():
    pose = look_along([1.0, 2.0, 1.5], np.pi / 2, 0.0)
    k = Intrinsics.from_field_of_view(101, 81, 90)
    ahead, left_up = project(np.array([[1.0, 7.0, 1.5], [0.0, 7.0, 2.5]]), pose, k)[0]
    np.testing.assert_allclose(ahead, [50, 40], atol=1e-9)
    np.testing.assert_allclose(left_up, [50 - 50.5 / 5, 40 - 50.5 / 5], atol=1e-9)


@pytest.mark.parametrize("seed", [0, 3, 10, 11])
def test_depth_and_class_agree_with_the_world(seed):
    scene = random_scene(seed)
    frame = Renderer(160, 120).render(scene, 4.0)
    points, seen = unproject(frame)
    semantic, instance = frame.semantic[seen], frame.instance[seen]
    assert (frame.semantic[~seen] == scenes.SKY).all() and (semantic != scenes.SKY).all()
    assert np.abs(points[semantic == scenes.FLOOR, 2]).max() < 1e-3
    wall = points[semantic == scenes.WALL]
    gap = np.abs(np.abs(wall[:, :2]) - scene.half_size).min(axis=1)
    assert gap.max() < 1e-3 and wall[:, 2].max() <= scene.wall_height + 1e-3 and wall[:, 2].min() > -1e-3
    for item in scene.items:
        local = (points[instance == item.object_id] - item.solids.centre[0]) @ item.solids.to_local()[0].T
        if item.class_id == scenes.BOX_CLASS:
            surface = np.abs(local).max(axis=1)
        else:
            surface = np.maximum(np.hypot(local[:, 0], local[:, 1]), np.abs(local[:, 2]))
        assert np.abs(surface - 1).max(initial=0) < 5e-3
        assert (semantic[instance == item.object_id] == item.class_id).all()
    people = instance > len(scene.items)
    np.testing.assert_array_equal(people, semantic == scenes.PERSON_CLASS)


def test_occlusion_and_shapes_against_a_march_along_the_rays():
    """The first solid that a point moving along each ray is inside of; no equation of a ray and a surface is solved."""
    scene, time, step = random_scene(10), 11.0, 0.01
    renderer = Renderer(32, 24)
    frame = renderer.render(scene, time)
    solids, k = scene.solids(time), renderer.intrinsics
    v, u = np.mgrid[0 : k.height, 0 : k.width]
    rays = np.stack([(u - k.cx) / k.fx, (v - k.cy) / k.fy, np.ones(u.shape)], axis=-1) @ frame.pose.rotation.T
    found, first = np.zeros(u.shape, np.uint8), np.full(u.shape, np.inf)
    distances = np.arange(step, 16, step)
    for kind, centre, to_local, number in zip(
        solids.kind, solids.centre, solids.to_local(), solids.object_id, strict=True
    ):
        start, along = to_local @ (frame.pose.position - centre), rays.reshape(-1, 3) @ to_local.T
        # Only rays that pass the centre nearby are marched, by the radius of the bounding ball.
        toward = centre - frame.pose.position
        offset = np.cross(rays.reshape(-1, 3), toward) / np.linalg.norm(rays.reshape(-1, 3), axis=1, keepdims=True)
        near = np.flatnonzero(
            np.linalg.norm(offset, axis=1) <= 1.01 * np.linalg.norm(np.linalg.inv(to_local), 2) * 3**0.5
        )
        local = start + distances[:, None, None] * along[near]
        x, y, z = np.moveaxis(local, -1, 0)
        if kind == BOX:
            inside = np.abs(local).max(axis=-1) <= 1
        elif kind == CYLINDER:
            inside = (x * x + y * y <= 1) & (np.abs(z) <= 1)
        else:
            assert kind == BALL
            inside = x * x + y * y + z * z <= 1
        depth = np.where(inside.any(axis=0), distances[inside.argmax(axis=0)], np.inf)
        nearer = depth < first.reshape(-1)[near]
        first.reshape(-1)[near[nearer]], found.reshape(-1)[near[nearer]] = depth[nearer], number
    agree = found == frame.instance
    assert len(set(found.reshape(-1).tolist())) >= 6, "the view should hold several things"
    assert agree.mean() > 0.985, f"{(~agree).sum()} of {agree.size} pixels differ"
    things = agree & (found > 0)
    assert np.abs(first[things] - frame.depth[things]).max() < 2 * step


def test_a_known_box_lands_where_its_corners_project():
    box = upright(BOX, 2.0, 0.5, 0.0, (0.4, 0.6, 0.5), 0.7, 1)
    item = scenes.Item(1, scenes.BOX_CLASS, box, np.array([0.5, 0.3, 0.1]), 2)
    scene = dataclasses.replace(random_scene(1), items=(item,), people=(), path=(3.0, 3.0, np.pi, -1.0, 1.2, -0.1, 0.5))
    renderer = Renderer(320, 240)
    frame = next(f for t in range(60) if ((f := renderer.render(scene, t)).instance == 1).sum() > 2000)
    uv, depth = project(box.corners()[0], frame.pose, renderer.intrinsics)
    assert (depth > 0).all()
    outline = np.zeros((240, 320), np.uint8)
    hull = cv2.convexHull(np.round(uv * 256).astype(np.int32))
    cv2.fillConvexPoly(outline, hull, 1, shift=8)
    border = cv2.dilate(outline, np.ones((3, 3), np.uint8)) - cv2.erode(outline, np.ones((3, 3), np.uint8))
    differ = (frame.instance == 1) != (outline == 1)
    assert not (differ & (border == 0)).any()
    assert (frame.semantic[frame.instance == 1] == scenes.BOX_CLASS).all()


def test_people_walk_and_keep_their_ids():
    scene = random_scene(10)
    renderer = Renderer(160, 120)
    first, later = renderer.render(scene, 11.0), renderer.render(scene, 11.4)
    shared = set(np.unique(first.instance)) & set(np.unique(later.instance)) - {0}
    classes = scene.class_of_object
    assert len(shared) >= 4
    for number in shared:
        for frame in (first, later):
            assert (frame.semantic[frame.instance == number] == classes[number]).all()
    assert (first.panoptic != later.panoptic).any()
    np.testing.assert_array_equal(first.panoptic >> 8, first.semantic)


def test_data_set_round_trip(tmp_path, capsys):
    arguments = [
        "--count",
        "5",
        "--size",
        "96x72",
        "--seed",
        "4",
        "--frames-per-scene",
        "2",
        "--format",
        "png",
        "--depth",
    ]
    assert cli.main(["synthesize", "--output", str(tmp_path), "--split", "val", *arguments]) == 0
    with capsys.disabled():
        print(f"\n  {capsys.readouterr().out.splitlines()[0]}")
    label_set = load_label_set("synthetic")
    data = CocoPanoptic.from_root(tmp_path, "val", label_set)
    assert len(data) == 5 and not list(data.find_faults())
    expected = synthesized_frames(Synthesis(count=5, width=96, height=72, seed=4, frames_per_scene=2))
    for sample, (_, _, frame) in zip(data, expected, strict=True):
        np.testing.assert_array_equal(sample.image, frame.image)
        class_of = {s["id"]: label_set.contiguous_id[s["category_id"]] for s in sample.segments}
        semantic = np.vectorize(class_of.__getitem__)(sample.ids)
        np.testing.assert_array_equal(semantic, frame.semantic)
        tracks = {s["id"]: s["track_id"] for s in sample.segments}
        np.testing.assert_array_equal(np.vectorize(tracks.__getitem__)(sample.ids), frame.instance)
        stored = cv2.imread(str(tmp_path / "depth_val" / Path(sample.file_name).name), cv2.IMREAD_UNCHANGED)
        near = np.isfinite(frame.depth)
        assert np.abs(stored[near] / 1000 - frame.depth[near]).max() <= 0.00051 and not stored[~near].any()
    content = json.loads((tmp_path / "panoptic_val.json").read_text())
    assert [i["scene"] for i in content["images"]] == [0, 0, 1, 1, 2]
    for annotation in content["annotations"]:
        ids = cv2.imread(str(tmp_path / "panoptic_val" / annotation["file_name"]))[..., ::-1].astype(int) @ [
            1,
            256,
            65536,
        ]
        for segment in annotation["segments_info"]:
            y, x = np.nonzero(ids == segment["id"])
            box = [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]
            assert (segment["area"], segment["bbox"]) == (len(x), box)
    assert not list(tmp_path.rglob("*.part"))


def test_recording_has_the_truth_of_every_pixel_with_tracks(tmp_path):
    from yoso_ros.bags.bag import Bag
    from yoso_ros.bags.labels import TRUTH_PREFIX, Labels

    options = ["--count", "4", "--size", "96x72", "--seed", "4", "--frames-per-scene", "4", "--format", "png"]
    assert cli.main(["synthesize", "--output", str(tmp_path / "data"), "--bag", str(tmp_path / "bag"), *options]) == 0
    bag = Bag(tmp_path / "bag")
    frames = [frame for _, _, frame in synthesized_frames(Synthesis(count=4, width=96, height=72, seed=4))]
    infos = [message for _, _, message in bag.messages(["/camera/camera_info"])]
    depths = [message for _, _, message in bag.messages(["/camera/depth/image_raw"])]
    object_of_track = {}
    for frame, label, info, depth in zip(frames, Labels(bag, TRUTH_PREFIX), infos, depths, strict=True):
        np.testing.assert_array_equal(label.panoptic >> 8, frame.semantic)
        for segment in label.segments:
            objects = np.unique(frame.instance[label.panoptic == segment.id])
            assert len(objects) == 1 and (frame.instance == objects[0])[label.panoptic == segment.id].all()
            if segment.is_thing:
                assert object_of_track.setdefault(segment.track_id, objects[0]) == objects[0] > 0
        np.testing.assert_allclose(info.k, frame.intrinsics.k)
        stored = np.frombuffer(bytes(depth.data), np.uint16).reshape(72, 96)
        np.testing.assert_array_equal(stored, depth_millimetres(frame.depth))
    assert len(object_of_track) == len(set(object_of_track.values())) > 1
    assert cli.main(["synthesize", "--output", str(tmp_path / "more"), "--bag", str(tmp_path / "bag"), *options]) == 2
    assert not (tmp_path / "more").exists()


def test_existing_split_is_not_overwritten(tmp_path, capsys):
    arguments = ["synthesize", "--output", str(tmp_path), "--count", "1", "--size", "32x24"]
    assert cli.main(arguments) == 0
    before = (tmp_path / "panoptic_train.json").read_bytes()
    assert cli.main([*arguments, "--seed", "1"]) == 2
    assert "already exists" in capsys.readouterr().err
    assert (tmp_path / "panoptic_train.json").read_bytes() == before


@pytest.mark.parametrize("option", [["--size", "12"], ["--size", "4x4"], ["--count", "0"], ["--seed", "-1"]])
def test_bad_options_are_one_line_and_status_2(tmp_path, capsys, option):
    assert cli.main(["synthesize", "--output", str(tmp_path / "new"), *option]) == 2
    error = capsys.readouterr().err.strip()
    assert option[0] in error and error.count("\n") == 0
    assert not (tmp_path / "new").exists()


def test_png_ids_and_depth_limits():
    label_set = load_label_set("synthetic")
    png = coco_png(np.array([[0 << 8, 5 << 8 | 255]], np.uint16), label_set)
    assert png.tolist() == [[[0, 1, 0], [255, 6, 0]]]
    assert depth_millimetres(np.array([1.2344, 65.6, np.inf], np.float32)).tolist() == [1234, 0, 0]


def test_unknown_texture_style_is_named():
    with pytest.raises(InputError, match="carpet"):
        Renderer(32, 24).render(dataclasses.replace(random_scene(0), floor_style="carpet"), 0.0)
