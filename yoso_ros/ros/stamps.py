# SPDX-License-Identifier: Apache-2.0
"""Check the stamps of one camera against each other and the clock: typical problems for users of TF and bags."""

from yoso_ros.stamps import NANOSECONDS

# The default limits of diagnostic_updater's TimeStampStatus.
OLDEST_S, NEWEST_S = 5.0, 1.0


class StampCheck:
    """Remembers the last stamp.

    Args:
        topic: of the images, for messages.
    """

    def __init__(self, topic):
        self._topic, self._last = topic, None

    def faults(self, stamp_ns, now_ns, simulated=False):
        """Problems with the stamp of the next image.

        Args:
            stamp_ns: of the image, nanoseconds.
            now_ns: time of the node's clock, nanoseconds; 0 while a simulated clock has not begun.
            simulated: the clock is /clock (use_sim_time).

        Returns:
            dict of text by cause; empty if there are none.
        """
        faults, last = {}, self._last
        self._last = stamp_ns
        if last is not None and stamp_ns < last:
            back = (last - stamp_ns) / NANOSECONDS
            faults["stamps go back"] = (
                f"stamps of {self._topic} went back by {back:.3f} s: two publishers share the topic, or a recording "
                "began anew"
            )
        age = (now_ns - stamp_ns) / NANOSECONDS
        if simulated and now_ns == 0:
            faults["no clock"] = "use_sim_time is set but nothing has arrived on /clock yet"
        elif not -NEWEST_S <= age <= OLDEST_S:
            clock = "/clock" if simulated else "this machine's clock"
            advice = (
                "is the clock of this recording or simulation played?"
                if simulated
                else "are the clocks of the machines in step? A recording needs use_sim_time and /clock"
            )
            side = "behind" if age > 0 else "ahead of"
            faults["stamps are far from the clock"] = (
                f"stamps of {self._topic} are {abs(age):.1f} s {side} {clock}; {advice}"
            )
        return faults
