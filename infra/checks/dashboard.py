"""Whether infra/dashboards/grafana.json is a dashboard: Grafana's own types read it and lose nothing of it, and no panel covers another."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

FILE = Path(__file__).resolve().parent.parent / "dashboards" / "grafana.json"


def lost(written: object, read: object, path: str = "") -> Iterator[str]:
    """What Grafana's types do not know, by its path."""
    if isinstance(written, dict):
        for name, value in written.items():
            if isinstance(read, dict) and name in read:
                yield from lost(value, read[name], f"{path}/{name}")
            else:
                yield f"{path}/{name}"
    elif isinstance(written, list):
        others = read if isinstance(read, list) else []
        if len(written) != len(others):
            yield path
        for place, (value, other) in enumerate(zip(written, others, strict=False)):
            yield from lost(value, other, f"{path}[{place}]")
    elif written != read:
        yield path


def covered(panels: list[dict]) -> Iterator[str]:
    """Panels that stand on a place that another one has."""
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                other = taken.setdefault((x, y), panel["title"])
                if other != panel["title"]:
                    yield f"{panel['title']} covers {other}"
                    break


def main() -> int:
    dashboard = json.loads(FILE.read_text())
    problems = [f"not of a dashboard: {path}" for path in lost(dashboard, json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard))))]
    problems += sorted(set(covered(dashboard["panels"])))
    for problem in problems:
        print(f"dashboard: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
