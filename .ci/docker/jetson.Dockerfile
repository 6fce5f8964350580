# syntax=docker/dockerfile:1
# SPDX-License-Identifier: Apache-2.0
# The node on a Jetson, built on the Jetson itself. From the root of the checkout:
#   docker build -f .ci/docker/jetson.Dockerfile --build-arg BOARD=orin -t yoso_ros:orin .   # JetPack 6, Humble
#   docker build -f .ci/docker/jetson.Dockerfile --build-arg BOARD=thor -t yoso_ros:thor .   # JetPack 7, Jazzy
# and run with --runtime nvidia. Checked with hadolint only; neither built nor run on a Jetson.
ARG BOARD=orin

# JetPack 6: Ubuntu 22.04, Python 3.10; CUDA, cuDNN and TensorRT with its Python module are in the image.
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0 AS orin-base
ENV ROS_DISTRO=humble TORCH_INDEX=https://pypi.jetson-ai-lab.io/jp6/cu126 ENGINE_PACKAGES="onnx>=1.17 onnxscript>=0.3"

# JetPack 7: Ubuntu 24.04, Python 3.12; Thor runs the common wheels for ARM servers.
FROM nvcr.io/nvidia/cuda:13.0.1-runtime-ubuntu24.04 AS thor-base
ENV ROS_DISTRO=jazzy TORCH_INDEX=https://download.pytorch.org/whl/cu130 \
    ENGINE_PACKAGES="tensorrt>=10.13 onnx>=1.17 onnxscript>=0.3"

FROM ${BOARD}-base AS node
ARG ROS_APT_SOURCE=1.1.0
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV DEBIAN_FRONTEND=noninteractive NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=all
WORKDIR /ws
COPY .ci/docker/install_ros .ci/requirements_ros.txt package.xml /tmp/yoso_ros/
RUN /tmp/yoso_ros/install_ros "${ROS_APT_SOURCE}"
COPY . src/yoso_ros
RUN . venv/bin/activate && . "/opt/ros/${ROS_DISTRO}/setup.bash" \
 && colcon build --packages-select yoso_ros --cmake-args -DBUILD_TESTING=OFF
COPY .ci/docker/entrypoint /entrypoint
ENTRYPOINT ["/entrypoint"]
CMD ["ros2", "launch", "yoso_ros", "camera.launch.py"]
