"""Results as Markdown: for every work its peers with their times, and the sweeps side by side."""

import math
from typing import Any

import works

Row = dict[str, Any]
HEADER = ["peer", "median [min .. max]", "times kappa's", "GFLOP/s", "of peak", "runs", "note"]
SWEEP_TITLES = {
    "N": "By samples, m = 100, K = 10",
    "m": "By features, N = 10,000, K = 10",
    "K": "By classes, N = 10,000, m = 100",
}


def of_machine(name: str, content: dict[str, Any]) -> str:
    measured, gpu = content["works"], content["gpu"]
    parts = [f"### {heading(content)}", provenance(name, content)]
    for work in [work for of_group in works.OF_GROUP.values() for work in of_group(gpu)]:
        found = measured.get(work.name)
        parts += [f"#### {work.title}", of_peers(work, found, content) if found else "not measured"]
    for group, title in (("memory", "Memory of whole commands"), ("paper", "The paper's study")):
        found = measured.get(group)
        parts.append(f"#### {found['title'] if found else title}")
        parts.append(of_commands(found["rows"]) + earlier(found) if found else "not measured")
    for sweep, title in SWEEP_TITLES.items():
        grid = [work for work in works.scaling(gpu, {}) if work.name.split()[1] == sweep]
        parts.append(f"#### {title}, {grid[0].precision}")
        found = [(work.title, measured.get(work.name)) for work in grid]
        # All of a sweep are of one run.
        parts.append(of_sweep(found) + next((earlier(work) for _, work in found if work), ""))
    return "\n\n".join(parts)


def heading(content: dict[str, Any]) -> str:
    machine = content["machine"]
    memory = machine["memory_bytes"]
    about = f"{machine['cpu']}, {machine['cores']} cores" + (f", {gib(memory)}" if memory else "")
    kappa = content.get("kappa", {})
    return f"{kappa.get('device') or 'unnamed GPU'}; {about}" if content["gpu"] else about


def provenance(name: str, content: dict[str, Any]) -> str:
    kappa, peers = content.get("kappa", {}), content.get("peers", {})
    commit = f" ({kappa['commit'][:12]})" if kappa.get("commit") else ""
    said = [
        f"`bench/results/{name}.json`, {content['date']}",
        f"kappa {kappa.get('version', 'of unknown version')}{commit} on {kappa.get('device') or 'CPU'}",
        ", ".join(f"{library} {version}" for library, version in peers.get("versions", {}).items()),
        f"peers on {peers['device']}" if peers.get("device") else "",
        ", ".join(peers.get("blas", [])),
        f"{content['threads']} threads",
        "" if content["complete"] else "**incomplete: the run was stopped**",
    ]
    return "; ".join(part for part in said if part) + "."


def of_peers(work: works.Work, found: dict[str, Any], content: dict[str, Any]) -> str:
    lines = table(HEADER, [of_peer(row) for row in found["rows"]])
    if work.flop:
        lines += f"\n\n{digits(work.flop / 1e9)} GFLOP by count: {work.formula}."
        lines += f" Inputs and answer: {digits(work.bytes / 1e6)} MB."
        precision = work.precision
        rows = content["works"].get(f"peak {precision}", {}).get("rows", [])
        peak = max((row["gflops"] for row in rows if "gflops" in row), default=None)
        # What is of another run has its shares of that one's peak.
        if peak and work.group != "peak" and "of" not in found:
            lines += f" The machine's peak in {precision}, as measured: {digits(peak)} GFLOP/s."
    return lines + earlier(found)


def earlier(work: dict[str, Any]) -> str:
    """Of a work that was measured in another run than the newest."""
    if "of" not in work:
        return ""
    kappa, date = work["of"]["kappa"], work["of"]["date"]
    commit = f" ({kappa['commit'][:12]})" if kappa.get("commit") else ""
    return f"\n\nMeasured on {date}, kappa {kappa.get('version', 'of unknown version')}{commit}."


def of_peer(row: Row) -> list[str]:
    if "median" not in row:
        said = "error" if "error" in row else "not measured"
        return [row["peer"], said, "", "", "", "", row.get("error") or row.get("unavailable", "")]
    notes = [f"scaled from {row['scaled_from']}" if "scaled_from" in row else "", row.get("note", "")]
    return [
        row["peer"],
        f"{time(row['median'])} [{time(row['min'])} .. {time(row['max'])}]",
        digits(row["times_kappa"]) if "times_kappa" in row else "",
        digits(row["gflops"]) if "gflops" in row else "",
        f"{100 * row['share_of_peak']:.0f} %" if "share_of_peak" in row else "",
        str(row["runs"]),
        "; ".join(note for note in notes if note),
    ]


def of_commands(rows: list[Row]) -> str:
    def cells(row: Row) -> list[str]:
        if "error" in row:
            return [row["peer"], "error", "", "", row["error"]]
        return [row["peer"], time(row["median"]), gib(row["peak_bytes"]), str(row["runs"]), ""]

    return table(["command", "time", "peak memory", "runs", "note"], list(map(cells, rows)))


def of_sweep(grid: list[tuple[str, dict[str, Any] | None]]) -> str:
    """A row for each size, a column for each peer."""
    rows_of = {title: work["rows"] if work else [] for title, work in grid}
    peers = list(dict.fromkeys(row["peer"] for rows in rows_of.values() for row in rows))
    cells = []
    for title, rows in rows_of.items():
        times = {row["peer"]: in_sweep(row) for row in rows}
        cells.append([title, *(times.get(peer, "not measured") for peer in peers)])
    return table(["sizes", *peers], cells) if peers else "not measured"


def in_sweep(row: Row) -> str:
    if "median" in row:
        ratio = f" ({digits(row['times_kappa'])} x)" if "times_kappa" in row else ""
        return time(row["median"]) + ratio
    return f"error: {row['error']}" if "error" in row else f"not measured: {row['unavailable']}"


def table(header: list[str], rows: list[list[str]]) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(header), "|" + "---|" * len(header), *map(line, rows)])


def time(seconds: float) -> str:
    for size, unit in ((60.0, "min"), (1.0, "s"), (1e-3, "ms")):
        # A minute and a half is still told in seconds.
        if seconds >= size * (2 if unit == "min" else 1):
            return f"{digits(seconds / size)} {unit}"
    return f"{digits(seconds / 1e-6)} µs"


def digits(value: float) -> str:
    """Three of them, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return str(value)
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}"


def gib(size: float) -> str:
    return f"{digits(size / 2**30)} GiB" if size >= 2**30 else f"{digits(size / 2**20)} MiB"
