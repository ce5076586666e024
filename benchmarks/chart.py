"""The figures as bars, in an SVG that GitHub shows in light and dark."""

from collections.abc import Mapping
from html import escape
from statistics import median

# What is shown, how it is called there, and which way is good.
PANELS = {
    ("POST, 8 clients", "CPU ms"): "POST: CPU of the API, ms (less is better)",
    ("GET one", "CPU ms"): "GET one: CPU of the API, ms (less is better)",
    ("List, first page", "CPU ms"): "List of 50: CPU of the API, ms (less is better)",
    ("Worker: payouts", "per s"): "Worker: payouts a second (more is better)",
    ("Pipeline: payouts", "per s"): "From POST to COMPLETED: payouts a second (more is better)",
}
NAME, WIDTH, BAR, GAP = 100, 720, 16, 34
STYLE = "text{font:12px sans-serif;fill:#777}.us{fill:#2a78d6}.them{fill:#a8a8a8}.title{font-weight:bold}"


def draw(values: Mapping[tuple[str, str], Mapping[str, list[float]]], machine: str) -> str:
    drawn, y = [], 0
    for key, title in PANELS.items():
        bars = {name: median(rounds) for name, rounds in values[key].items() if rounds}
        y += GAP
        drawn.append(f'<text class="title" x="0" y="{y - 8}">{escape(title)}</text>')
        for name, value in bars.items():
            length = (WIDTH - NAME - 60) * value / max(bars.values())
            side = "us" if name == "this service" else "them"
            drawn += [
                f'<text x="0" y="{y + 12}">{escape(name)}</text>',
                f'<rect class="{side}" x="{NAME}" y="{y}" width="{length:.1f}" height="{BAR - 3}" rx="2"/>',
                f'<text x="{NAME + length + 6:.1f}" y="{y + 12}">{value:{".0f" if value >= 100 else ".3g"}}</text>',
            ]
            y += BAR
    y += GAP
    drawn.append(f'<text x="0" y="{y - 8}">{escape(machine.splitlines()[0])}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}">'
    return "\n".join([head, f"<style>{STYLE}</style>", *drawn, "</svg>\n"])
