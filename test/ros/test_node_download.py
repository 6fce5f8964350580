# SPDX-License-Identifier: Apache-2.0
"""The node and weights that are not on the machine: never fetched silently."""

import http.server
import sys
import threading

import pytest

pytestmark = pytest.mark.ros
MODEL = "model:=yoso_r50_coco"


@pytest.fixture
def start_node(ros_domain, start_process, tmp_path):
    """Start the node with the model and an empty cache; returns (exit status, output)."""

    def start(*parameters, **environment):
        words = [word for parameter in (MODEL, *parameters) for word in ("-p", parameter)]
        environment |= {"YOSO_CACHE": str(tmp_path), "NO_PROXY": "127.0.0.1"}
        process = start_process([sys.executable, "-m", "yoso_ros.ros.node", "--ros-args", *words], 40, environment)
        return process.wait(), process.output()

    return start


def test_the_error_names_the_command_and_the_place(start_node, tmp_path):
    status, output = start_node()
    assert status == 2
    assert "run `yoso-ros download yoso_r50_coco`; without a network, copy https://github.com/" in output
    assert f"yoso_res50_coco.pth to {tmp_path}/weights/yoso_res50_coco.pth" in output


def test_download_when_asked(start_node):
    asked = []

    class NotFound(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    with http.server.HTTPServer(("127.0.0.1", 0), NotFound) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        status, output = start_node("download:=true", YOSO_MIRROR=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert (status, asked) == (2, ["/yoso_res50_coco.pth"])
    assert "the server answered 404" in output
