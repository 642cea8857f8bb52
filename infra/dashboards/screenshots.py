"""Draws the panels of grafana.json from what a Prometheus really answers to their queries: one picture for each row of the dashboard.

    screenshots.py http://127.0.0.1:9410 --minutes 5

Grafana itself cannot be had where this project is built (no package registry has it), so these pictures are ours: the same queries, titles,
legends and units, drawn with matplotlib.
"""

import argparse
import json
import re
import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import dates, ticker  # noqa: E402 - the backend is chosen first
from matplotlib import pyplot as plt  # noqa: E402

HERE = Path(__file__).resolve().parent
COLUMNS = 3
COLOURS = ["#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#f2495c", "#b877d9", "#8ab8ff", "#ffa6b0"]
UNITS = {"percentunit": "{:.0%}", "s": "{:.3g} s", "currencyUSD": "${:.3g}", "reqps": "{:.3g} req/s", "cps": "{:.3g} /s"}


def series(prometheus: str, query: str, minutes: int) -> list[dict]:
    """What the query was, over the last minutes."""
    end = time.time()
    form = {"query": query.replace("$__rate_interval", "30s"), "start": end - minutes * 60, "end": end, "step": 2}
    data = urllib.parse.urlencode(form).encode()
    with urllib.request.urlopen(f"{prometheus}/api/v1/query_range", data, timeout=30) as answer:
        return json.load(answer)["data"]["result"]


def draw(axes: plt.Axes, panel: dict, prometheus: str, minutes: int) -> None:
    """One panel: a line for each series of each of its queries."""
    axes.set_title(panel["title"], loc="left", fontsize=9, color="#d8d9da")
    axes.set_facecolor("#181b1f")
    place = 0
    for target in panel["targets"]:
        for found in series(prometheus, target["expr"], minutes):
            label = re.sub(r"{{\s*(\w+)\s*}}", lambda name, of=found: of["metric"].get(name.group(1), ""), target["legendFormat"])
            points = [(at, float(value)) for at, value in found["values"] if value != "NaN"]
            colour = COLOURS[place % len(COLOURS)]
            times = [datetime.fromtimestamp(at, UTC) for at, _ in points]
            axes.plot(times, [value for _, value in points], color=colour, linewidth=1.2, label=label)
            axes.fill_between(times, [value for _, value in points], color=colour, alpha=0.1)
            place += 1
    if place == 0:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color="#8e8e8e")
    else:
        axes.legend(fontsize=6, loc="upper left", frameon=False, labelcolor="#c7d0d9", ncols=2)
    shape = UNITS.get(panel["fieldConfig"]["defaults"]["unit"], "{:.3g}")
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: shape.format(value)))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
    axes.set_ylim(bottom=0)
    axes.tick_params(colors="#8e8e8e", labelsize=6)
    axes.grid(color="#2c3235", linewidth=0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def rows(dashboard: dict) -> dict[str, list[dict]]:
    """Its panels, by the title of the row above them."""
    found: dict[str, list[dict]] = {}
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            title = panel["title"]
            found[title] = []
        else:
            found[title].append(panel)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prometheus", help="its address")
    parser.add_argument("--minutes", type=int, default=5, help="how much of the past is drawn")
    arguments = parser.parse_args()
    for title, panels in rows(json.loads((HERE / "grafana.json").read_text())).items():
        lines = -(-len(panels) // COLUMNS)
        figure, grid = plt.subplots(lines, COLUMNS, figsize=(13, 2.3 * lines), squeeze=False, facecolor="#111217")
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            draw(axes, panel, arguments.prometheus, arguments.minutes)
        figure.tight_layout()
        path = HERE / f"{re.sub('[^a-z]+', '-', title.lower())}.png"
        figure.savefig(path, dpi=80)
        plt.close(figure)
        print(path.relative_to(HERE.parent.parent), path.stat().st_size // 1024, "kB")


if __name__ == "__main__":
    main()
