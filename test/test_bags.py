# SPDX-License-Identifier: Apache-2.0
"""Every kind of source, written here by other means and read back; bad ones end in one line."""

import itertools
import shutil

import cv2
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from yoso_ros.bags import CompressedImage, RawImage, open_source
from yoso_ros.bags.pictures import natural_order
from yoso_ros.errors import InputError

STORE = get_typestore(Stores.ROS2_JAZZY)
START_NS = 1_600_000_000 * 10**9


def message(name, **fields):
    return STORE.types[f"sensor_msgs/msg/{name}"](**fields)


def header(stamp_ns, frame_id="cam"):
    time = STORE.types["builtin_interfaces/msg/Time"](stamp_ns // 10**9, stamp_ns % 10**9)
    return STORE.types["std_msgs/msg/Header"](time, frame_id)


def raw(stamp_ns, pixels, encoding="bgr8", padding=0):
    rows = pixels.reshape(pixels.shape[0], -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    return message(
        "Image",
        header=header(stamp_ns),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=rows.shape[1],
        data=rows.reshape(-1),
    )


def camera_info(stamp_ns, focal):
    roi = message("RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    k = np.array([focal, 0, 3, 0, focal, 2, 0, 0, 1.0])
    return message(
        "CameraInfo",
        header=header(stamp_ns),
        height=4,
        width=6,
        distortion_model="plumb_bob",
        d=np.array([0.1, 0.2, 0, 0, 0]),
        k=k,
        r=np.eye(3).reshape(-1),
        p=np.append(k, [0, 0, 0]),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def write_bag(path, messages, plugin=StoragePlugin.MCAP):
    """`messages`: list of (topic, recorded ns, message)."""
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections = {}
        for topic, recorded, content in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, content.__msgtype__, typestore=STORE)
            writer.write(connections[topic], recorded, STORE.serialize_cdr(content, content.__msgtype__))
    return path


def pictures(count, height=4, width=6):
    return [np.random.default_rng(i).integers(0, 256, (height, width, 3), np.uint8) for i in range(count)]


@pytest.mark.parametrize("plugin", list(StoragePlugin))
@pytest.mark.parametrize("single_file", [False, True])
def test_raw_images_with_padding_and_calibration(tmp_path, plugin, single_file):
    stamps = [START_NS + i * 40_000_000 for i in range(5)]
    messages = []
    for i, (stamp, image) in enumerate(zip(stamps, pictures(5), strict=True)):
        messages.append(("/cam/image_raw", stamp + 1000, raw(stamp, image, padding=3)))
        messages.append(("/cam/camera_info", stamp + 2000, camera_info(stamp, 100.0 + i)))
        messages.append(("/cam/depth", stamp, raw(stamp, np.zeros((4, 6, 1), np.uint16), "16UC1")))
    path = write_bag(tmp_path / "bag", messages, plugin)
    source = open_source(next(p for p in path.iterdir() if p.suffix in (".mcap", ".db3")) if single_file else path)
    assert len(source) == 5 and source.rate_hz == pytest.approx(25)
    for _ in range(2):  # an iterator that starts anew
        frames = list(source)
        assert [f.stamp_ns for f in frames] == stamps
        for i, (frame, image) in enumerate(zip(frames, pictures(5), strict=True)):
            assert isinstance(frame.image, RawImage) and (frame.kind, frame.frame_id) == ("raw", "cam")
            assert (frame.image.encoding, frame.image.step) == ("bgr8", 21)
            np.testing.assert_array_equal(frame.image.data.reshape(4, 21)[:, :18].reshape(4, 6, 3), image)
            assert frame.camera_info.k[0] == 100.0 + i and frame.camera_info.d == (0.1, 0.2, 0, 0, 0)
    assert [f.camera_info.k[0] for f in source.part(2, 4)] == [102.0, 103.0]


def test_the_calibration_that_holds_may_be_old(tmp_path):
    stamps = [START_NS + i * 10**9 for i in range(30)]
    messages = [("/cam/image_raw", stamp, raw(stamp, pictures(1)[0])) for stamp in stamps]
    messages += [("/cam/camera_info", stamps[i] + 1000, camera_info(stamps[i], 100.0 + i)) for i in (2, 14)]
    source = open_source(write_bag(tmp_path / "bag", sorted(messages, key=lambda m: m[1])))
    focal = [f.camera_info.k[0] for f in source]
    assert focal == [102.0] * 14 + [114.0] * 16
    assert [f.camera_info.k[0] for f in source.part(10, 20)] == focal[10:20]
    assert [f.camera_info.k[0] for f in source.part(25)] == focal[25:]


def test_compressed_images_keep_their_bytes(tmp_path):
    data = [cv2.imencode(".jpg", image)[1].reshape(-1) for image in pictures(3, 32, 48)]
    messages = [
        ("/front/image_raw/compressed", START_NS + i * 10**8, message(
            "CompressedImage", header=header(START_NS + i * 10**8), format="bgr8; jpeg compressed bgr8", data=d
        ))
        for i, d in enumerate(data)
    ]  # fmt: skip
    source = open_source(write_bag(tmp_path / "bag", messages))
    for frame, expected in zip(source, data, strict=True):
        assert isinstance(frame.image, CompressedImage) and frame.kind == "compressed"
        assert frame.image.format == "bgr8; jpeg compressed bgr8"
        np.testing.assert_array_equal(frame.image.data, expected)
        assert frame.camera_info is None


def test_empty_stamps_are_replaced_by_recording_time(tmp_path):
    messages = [("/image", START_NS + i, raw(0, image)) for i, image in enumerate(pictures(3))]
    frames = list(open_source(write_bag(tmp_path / "bag", messages)))
    stamps = [f.stamp_ns for f in frames]
    assert stamps[1:] == [START_NS + 1, START_NS + 2] and len(set(stamps)) == 3


def test_several_cameras_need_a_choice(tmp_path):
    one, two = pictures(2)
    bag = write_bag(
        tmp_path / "bag", [("/left", START_NS, raw(START_NS, one)), ("/right", START_NS, raw(START_NS, two))]
    )
    with pytest.raises(InputError, match="several camera topics.*/left, /right"):
        open_source(bag)
    (frame,) = open_source(bag, "/right")
    np.testing.assert_array_equal(frame.image.data, two.reshape(-1))
    with pytest.raises(InputError, match="no image topic '/rear'.*/left, /right"):
        open_source(bag, "/rear")


def test_a_camera_recorded_in_both_forms_is_one_camera(tmp_path):
    (image,) = pictures(1)
    jpeg = message("CompressedImage", header=header(START_NS), format="jpeg", data=np.zeros(3, np.uint8))
    both = [("/cam/image_raw/compressed", START_NS, jpeg), ("/cam/image_raw", START_NS, raw(START_NS, image))]
    bag = write_bag(tmp_path / "bag", both)
    assert open_source(bag).topic == "/cam/image_raw"
    assert open_source(bag, "/cam/image_raw/compressed").topic == "/cam/image_raw/compressed"


def test_a_bag_without_camera_lists_its_topics(tmp_path):
    bag = write_bag(tmp_path / "bag", [("/info", START_NS, camera_info(START_NS, 1.0))])
    with pytest.raises(InputError, match=r"expected a camera image topic.*/info \(sensor_msgs/msg/CameraInfo\)"):
        open_source(bag)


@pytest.mark.parametrize("plugin", list(StoragePlugin))
@pytest.mark.parametrize("damage", ["cut", "overwritten", "missing"])
def test_bags_without_anything_readable_are_one_line(tmp_path, plugin, damage):
    messages = [("/image", START_NS + i, raw(START_NS + i, image)) for i, image in enumerate(pictures(20, 40, 60))]
    bag = write_bag(tmp_path / "bag", messages, plugin)
    data = next(p for p in bag.iterdir() if p.suffix in (".mcap", ".db3"))
    if damage == "cut":
        data.write_bytes(data.read_bytes()[:3000])
    elif damage == "overwritten":
        data.write_bytes(b"\x00" * data.stat().st_size)
    else:
        data.unlink()
    with pytest.raises(InputError) as caught:
        list(open_source(bag))
    assert str(bag) in str(caught.value) and "\n" not in str(caught.value)


def test_image_folder_in_natural_order(tmp_path):
    names = ["frame2.png", "frame10.png", "Frame1.PNG", "frame2b.png"]
    for name, image in zip(names, pictures(4), strict=True):
        cv2.imwrite(str(tmp_path / name.lower()), image[..., ::-1])
        (tmp_path / name.lower()).rename(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    frames = list(open_source(tmp_path))
    for frame, index in zip(frames, [2, 0, 3, 1], strict=True):
        np.testing.assert_array_equal(frame.image.data, pictures(4)[index].reshape(-1))
        assert frame.image.encoding == "rgb8"
    assert frames[0].stamp_ns > 0 and all(b.stamp_ns > a.stamp_ns for a, b in itertools.pairwise(frames))
    assert sorted(["a", "10", "9", "a1"], key=natural_order) == ["9", "10", "a", "a1"]


def test_single_image_and_broken_image(tmp_path):
    (image,) = pictures(1)
    cv2.imwrite(str(tmp_path / "one.png"), image[..., ::-1])
    (frame,) = open_source(tmp_path / "one.png")
    np.testing.assert_array_equal(frame.image.data, image.reshape(-1))
    (tmp_path / "two.jpg").write_bytes(b"not a picture")
    with pytest.raises(InputError, match="two.jpg"):
        list(open_source(tmp_path))


def test_video(tmp_path):
    path = tmp_path / "clip.avi"
    images = [np.full((48, 64, 3), (200, 40, 10 * i), np.uint8) for i in range(6)]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12.0, (64, 48))
    for image in images:
        writer.write(image[..., ::-1])
    writer.release()
    source = open_source(path)
    frames = list(source)
    assert len(source) == len(frames) == 6 and source.rate_hz == pytest.approx(12)
    for frame, image in zip(frames, images, strict=True):
        mean = frame.image.data.reshape(-1, 3).mean(axis=0)
        np.testing.assert_allclose(mean, image.reshape(-1, 3).mean(axis=0), atol=6)
    assert frames[3].stamp_ns - frames[0].stamp_ns == 250_000_000


def test_rendered_scene_has_truth_and_calibration():
    source = open_source("synthetic")
    first, second = itertools.islice(source, 2)
    assert len(source) > 10 and second.stamp_ns - first.stamp_ns == round(1e9 / source.rate_hz)
    height, width = first.image.height, first.image.width
    assert first.truth.shape == (height, width) and first.truth.dtype == np.uint16
    assert len(np.unique(first.truth)) > 5
    assert first.camera_info.k[2] == (width - 1) / 2 and first.camera_info.width == width


@pytest.mark.parametrize("name", ["nowhere", "empty", "text.txt", "fake.mp4", "fake.mcap", "fake.db3"])
def test_what_is_no_source_is_one_line(tmp_path, name):
    path = tmp_path / name
    if name == "empty":
        path.mkdir()
    elif name != "nowhere":
        path.write_text("nothing of the kind" * 100)
    with pytest.raises(InputError) as caught:
        list(open_source(path))
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("bag", "count", "rate", "kind", "size"),
    [
        ("highway_raw_sqlite3", 12, 25, "raw", (540, 960)),
        ("kitti_drive_mcap", 10, 10, "compressed", None),
        ("rgbd_office_mcap", 30, 30, "compressed", None),
    ],
)
def test_real_recordings(shared_data, bag, count, rate, kind, size):
    source = open_source(shared_data / "data/bags" / bag)
    frames = list(source)
    assert (len(source), len(frames)) == (count, count) and source.rate_hz == pytest.approx(rate, rel=1e-3)
    assert {f.kind for f in frames} == {kind} and all(f.camera_info is not None for f in frames)
    if size:
        assert (frames[0].image.height, frames[0].image.width) == size


def test_real_recording_cut_short(shared_data, tmp_path):
    bag = tmp_path / "cut"
    shutil.copytree(shared_data / "data/bags/kitti_drive_mcap", bag)
    (data,) = bag.glob("*.mcap")
    data.chmod(0o644)
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    source = open_source(bag)
    whole = list(open_source(shared_data / "data/bags/kitti_drive_mcap"))
    frames = list(source)
    assert 2 <= len(frames) == len(source) < 10
    for frame, expected in zip(frames, whole, strict=False):
        assert frame.stamp_ns == expected.stamp_ns
        np.testing.assert_array_equal(frame.image.data, expected.image.data)
    lost = f"{source.topic}: {10 - len(frames)} of 10 messages are lost"
    assert lost in source.losses and any("cut off" in line for line in source.bag.losses)


def test_rosbag1(tmp_path):
    store = get_typestore(Stores.ROS1_NOETIC)
    time = store.types["builtin_interfaces/msg/Time"](5, 7)
    head = store.types["std_msgs/msg/Header"](seq=0, stamp=time, frame_id="cam")
    (image,) = pictures(1)
    content = {
        "/cam/image_raw": store.types["sensor_msgs/msg/Image"](head, 4, 6, "rgb8", 0, 18, image.reshape(-1)),
        "/cam/camera_info": store.types["sensor_msgs/msg/CameraInfo"](
            head, 4, 6, "plumb_bob", np.zeros(5), np.arange(9.0), np.eye(3).reshape(-1), np.zeros(12), 0, 0,
            store.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
        ),
    }  # fmt: skip
    with Writer1(tmp_path / "old.bag") as writer:
        for topic, made in content.items():
            connection = writer.add_connection(topic, made.__msgtype__, typestore=store)
            writer.write(connection, START_NS, store.serialize_ros1(made, made.__msgtype__))
    (frame,) = open_source(tmp_path / "old.bag")
    assert frame.stamp_ns == 5 * 10**9 + 7 and frame.camera_info.k == tuple(range(9))
    np.testing.assert_array_equal(frame.image.data, image.reshape(-1))
