# SPDX-License-Identifier: Apache-2.0
"""Human-like shapes: fourteen stretched balls that walk."""

from dataclasses import dataclass

import numpy as np

from yoso_ros.data.synthetic.shapes import BALL, Solids, limbs

# Parts in this order; the material of a part follows from it (materials.py).
HEAD, CHEST, HIPS, THIGH, SHIN, FOOT, UPPER_ARM, FOREARM, NECK = range(9)
PARTS = np.array([HEAD, NECK, CHEST, HIPS, *([THIGH, SHIN, FOOT, UPPER_ARM, FOREARM] * 2)])

# Half width, half thickness and overlap of each part as fractions of the body height; roughly an adult's proportions.
_WIDTH = np.array([0.045, 0.030, 0.108, 0.092, *([0.046, 0.032, 0.026, 0.029, 0.023] * 2)])
_THICKNESS = np.array([0.055, 0.030, 0.066, 0.066, *([0.050, 0.034, 0.022, 0.031, 0.024] * 2)])
_OVERLAP = np.array([0.035, 0.020, 0.085, 0.060, *([0.055, 0.045, 0.020, 0.035, 0.040] * 2)])
_STRIDE_RADIANS = 0.5  # swing of the thigh at normal walking speed
_STEPS_PER_METRE = 0.75  # full cycles of two steps, of a body 1 m tall times its height


@dataclass(frozen=True)
class Person:
    """A person who walks on a circle, or stands when `speed` is 0.

    Attributes:
        object_id: 1..255.
        circle_xy: centre of the circle, metres; radius: metres; phase: radians at time 0.
        speed: m/s, positive is counter-clockwise; height: metres.
        colors: float (4, 3), skin, hair, shirt, trousers; linear light 0..1.
    """

    object_id: int
    circle_xy: tuple[float, float]
    radius: float
    phase: float
    speed: float
    height: float
    colors: np.ndarray

    def place(self, time: float) -> tuple[float, float, float]:
        """Position x, y in metres and heading in radians at `time` seconds."""
        angle = self.phase + self.speed / self.radius * time
        x, y = self.circle_xy[0] + self.radius * np.cos(angle), self.circle_xy[1] + self.radius * np.sin(angle)
        return x, y, angle + np.copysign(np.pi / 2, self.speed)

    def solids(self, time: float) -> Solids:
        """The body at `time` seconds as `Solids`."""
        x, y, heading = self.place(time)
        swing = _STRIDE_RADIANS * min(abs(self.speed), 1.2)
        gait = 2 * np.pi * _STEPS_PER_METRE * abs(self.speed) * time / self.height + self.phase * 7
        start, end = _joints(gait, swing)
        c, s = np.cos(heading), np.sin(heading)
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) * self.height
        offset = np.array([x, y, 0])
        h = self.height
        axes, centre = limbs(
            start @ turn + offset, end @ turn + offset, np.array([-s, c, 0]), _WIDTH * h, _THICKNESS * h, _OVERLAP * h
        )
        count = len(PARTS)
        return Solids(np.full(count, BALL), centre, axes, np.full(count, self.object_id), PARTS)


def _joints(gait, swing):
    """Ends of the parts for a body of height 1 that faces +x: two float64 (14, 3)."""
    bob = 0.012 * swing * np.cos(2 * gait)
    hip, chest, neck = 0.50 + bob, 0.66 + bob, 0.84 + bob
    start = [[0, 0, 0.885 + bob], [0, 0, neck - 0.02], [0, 0, chest], [0, 0, hip]]
    end = [[0.004, 0, 0.93 + bob], [0, 0, neck + 0.03], [0, 0, 0.79 + bob], [0, 0, hip + 0.06]]
    for side in (1, -1):
        thigh = side * swing * np.sin(gait)
        knee_bend = swing * (0.75 + 0.75 * np.sin(gait - 1.2 if side > 0 else gait - 1.2 + np.pi))
        shin = thigh - knee_bend
        a = np.array([0, side * 0.052, hip - 0.01])
        b = a + 0.225 * np.array([np.sin(thigh), 0, -np.cos(thigh)])
        c = b + 0.225 * np.array([np.sin(shin), 0, -np.cos(shin)])
        shoulder = np.array([0, side * 0.125, 0.79 + bob])
        elbow = shoulder + 0.15 * np.array([np.sin(-thigh * 0.8), side * 0.12, -np.cos(thigh * 0.8)])
        wrist = elbow + 0.13 * np.array([np.sin(-thigh * 0.8 + 0.35), 0, -np.cos(-thigh * 0.8 + 0.35)])
        start += [a, b, c + [-0.02, 0, -0.012], shoulder, elbow]
        end += [b, c, c + [0.07, 0, -0.015], elbow, wrist]
    return np.array(start), np.array(end)
