# SPDX-License-Identifier: Apache-2.0
"""Figures of the benchmarks as PNG files, drawn with matplotlib (extra "plots")."""

import contextlib

import numpy as np

from yoso_ros.benchmark.modules import KERNEL_SIZE, aggregation_ratio, attention_ratio
from yoso_ros.errors import InputError
from yoso_ros.files import atomic_path

CHANNELS = np.linspace(32, 1024, 125)  # of Figure 5: input channels, hidden dimensions
TOKENS = np.linspace(50, 500, 91)
DPI = 110


def check_matplotlib():
    """Raise InputError unless matplotlib is installed; called before minutes of measuring, not after."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        message = f'figures need the package of the extra "plots" (pip install yoso-ros[plots]): {error}'
        raise InputError(message) from error


def draw_reduction_ratios(path):
    """Figure 5 of the paper: contours of the FLOPs reduction ratio of CFA (Equation 2) and SDCA (Equation 10)."""
    with _figure(path, 2) as (left, right):
        c, d = np.meshgrid(CHANNELS, CHANNELS)
        _contours(left, c, d, aggregation_ratio(c, c, c, c, d), "input channels c", "IFA / CFA (Eq. 2)")
        n, d = np.meshgrid(TOKENS, CHANNELS)
        _contours(right, n, d, attention_ratio(n, d, KERNEL_SIZE), "tokens n", "MHCA / SDCA (Eq. 10), t = 3")


def draw_lines(path, panels):
    """Draw lines with a marker at each measurement.

    Args:
        path: PNG file.
        panels: list of (title, name of x, name of y, {label: (xs, ys)}), side by side.
    """
    with _figure(path, len(panels)) as axes:
        for ax, (title, x_name, y_name, lines) in zip(axes, panels, strict=True):
            for label, (xs, ys) in lines.items():
                ax.plot(xs, ys, marker="o", label=label)
            ax.set(title=title, xlabel=x_name, ylabel=y_name)
            ax.set_ylim(bottom=0)
            ax.grid(alpha=0.3)
            ax.legend(fontsize="small")


def draw_front(path, panels, fronts):
    """Draw PQ over milliseconds, and the Pareto front as a line.

    Args:
        path: PNG file.
        panels: dict of title to list of (model, backend, ms, PQ), side by side.
        fronts: dict of title to the points on the front, fastest first.
    """
    with _figure(path, len(panels)) as axes:
        for ax, (title, points) in zip(axes, panels.items(), strict=True):
            for model in dict.fromkeys(point[0] for point in points):
                own = [point for point in points if point[0] == model]
                ax.scatter([p[2] for p in own], [p[3] for p in own], label=model, s=24)
                # Labels of neighbours alternate above and below, so that engines of similar speed stay legible.
                for index, (_, backend, milliseconds, pq) in enumerate(sorted(own, key=lambda point: point[2])):
                    place = (0, 6 if index % 2 else -11)
                    ax.annotate(
                        backend,
                        (milliseconds, pq),
                        fontsize="xx-small",
                        xytext=place,
                        textcoords="offset points",
                        ha="center",
                    )
            ax.plot([p[2] for p in fronts[title]], [p[3] for p in fronts[title]], color="grey", linewidth=0.8)
            ax.set(title=title, xlabel="ms, frame to result", ylabel="PQ")
            ax.margins(0.2)
            ax.set_xlim(left=0)
            ax.grid(alpha=0.3)
            ax.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(0, -0.15))


def _contours(ax, x, y, ratio, x_name, title):
    # In logarithmic steps, because Equation 10 is steep for few tokens.
    levels = np.geomspace(ratio.min(), ratio.max(), 14)
    ax.contourf(x, y, ratio, levels=levels, norm="log", cmap="viridis")
    lines = ax.contour(x, y, ratio, levels=levels[1:-1], colors="white", linewidths=0.6)
    ax.clabel(lines, fmt="%.2f", fontsize="x-small")
    ax.set(title=title, xlabel=x_name, ylabel="hidden dimension d")


@contextlib.contextmanager
def _figure(path, panels):
    check_matplotlib()
    # Not pyplot, which would change the caller's windows and settings.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * panels, 4), layout="constrained")
    FigureCanvasAgg(figure)
    yield figure.subplots(1, panels, squeeze=False)[0]
    with atomic_path(path) as temporary:
        # Without the library's version, so that the same figure gives the same file.
        figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": None})
