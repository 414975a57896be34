"""Makes of the results of `run` a table, a plot and the list of floors that were missed."""
import statistics

# What the project promises: (what, case, server against, limit). Counts repeat exactly; where rounds of the
# ping-pong differ by a batch or two the limit leaves room for it. Ratios of times are medians of many
# rounds and still differ by some per cent from run to run, more on a machine that is not idle: NOISE is
# added to those, or more if the rounds scatter more than that or `again` differs from the ceiling by more.
NOISE = 0.05
EXACT_FLOORS = [
    # case, what, at most
    ("pp50", "instructions", 205),
    ("pp50", "calls_all", 2.1),
    ("pipe16", "calls_all", 0.14),
    ("churn", "instructions", 1310),
    ("churn", "calls_all", 8.0),
]
TLS_FLOORS = [
    # the same, relative to the ceiling
    ("tls_pp50", "instructions", 1.02),
    ("tls_full", "instructions", 1.02),
    ("tls_full", "calls_all", 1.12),
]
TIMED_FLOORS = [
    # case, CPU relative to the ceiling at most
    ("pp50", 1.03),
    ("bulk1", 1.00),
    ("bulk8", 1.00),
    ("tls_bulk1", 1.03),
    ("tls_full", 1.01),
]
TLS_SENDS = 19.0  # for each MB
IDLE_BYTES = 100  # with what the kernel's pages round up to
IDLE_TLS_BYTES = 3400
HOSE_P99 = 2.0
GROWTH = 1.02  # a message with the most connections, to one with 100

ABOUT = {
    "pp1": "1 connection, 64 B there and back",
    "pp50": "50 connections, 64 B there and back",
    "pp1000": "1,000 connections, 64 B there and back",
    "pp100": "100 connections, 64 B there and back",
    "pp100+hose": "the same beside one connection with 1 MiB in flight",
    "pipe16": "50 connections, 16 messages of 64 B at once",
    "bulk1": "1 connection, 1 MiB in flight",
    "bulk8": "8 connections, 1 MiB in flight each",
    "churn": "connect, 64 B there and back, close; 50 at a time",
    "tls_pp50": "TLS, 50 connections, 64 B there and back",
    "tls_bulk1": "TLS, 1 connection, 1 MiB in flight",
    "tls_full": "TLS, connect, 64 B there and back, close",
}


def ratios(samples, server, against, what):
    """One for each round: both were measured in it."""
    return [mine[what] / theirs[what] for mine, theirs in zip(samples[server], samples[against])
            if theirs[what] > 0]


def middle(values):
    return statistics.median(values) if values else float("nan")


def spread(values):
    """Half the distance between the quartiles, relative to the median."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2 / statistics.median(values)


def doubt(values):
    """Two standard errors of the median, each 1.86 spreads by the root of the count: as normal values scatter."""
    return 2 * 1.86 * spread(values) * middle(values) / len(values) ** 0.5 if values else float("nan")


def plusMinus(values):
    return f"{middle(values):.2f} ± {doubt(values):.2f}"


def row(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |\n"


def head(cells):
    return row(cells) + "|---|" + "---:|" * (len(cells) - 1) + "\n"


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"


def exact_table(exact, what):
    servers = list(next(iter(exact.values()))["servers"])
    text = f"### {what}\n\nUser-space instructions / system calls for each message, connection or MB.\n\n"
    text += head(["", *servers])
    for case, found in exact.items():
        cells = [f"{number(one['instructions'])} / {number(one['calls_all'])}" for one in found["servers"].values()]
        text += row([f"{case}, a {found['unit']}", *cells])
    text += "\nSystem calls of warren, each: "
    text += "; ".join(
        f"{case}: " + ", ".join(f"{name} {count:.2f}" for name, count in sorted(found["servers"]["warren"]["calls"].items())
                                if count >= 0.005)
        for case, found in exact.items() if "warren" in found["servers"])
    return text + "\n\n"


def timed_table(case, found):
    samples, unit = found["samples"], found["unit"]
    ceiling = next(iter(samples))
    peers = [name for name in samples if name not in (ceiling, "again", "epoll_et")]
    text = f"### {case}: {ABOUT.get(case, case)}\n\n"
    latencies = unit != "MB"
    columns = ["", f"{unit}s/s", "spread", f"CPU us/{unit}", "CPU to ceiling"]
    columns += [f"to {name}" for name in peers]
    columns += ["p50 us", "p99 us", "p99.9 us"] if latencies else []
    text += head(columns)
    for name in samples:
        take = lambda what: [one[what] for one in samples[name]]
        cells = [name, number(middle(take("rate"))), f"{100 * spread(take('rate')):.0f} %",
                 number(middle(take("cpu"))), plusMinus(ratios(samples, name, ceiling, "cpu"))]
        cells += [f"{middle(ratios(samples, name, peer, 'cpu')):.2f}" for peer in peers]
        if latencies:
            cells += [number(middle(take(what))) for what in ("p50", "p99", "p999")]
        text += row(cells)
    return text + "\n"


def growth_table(growth):
    text = "### With more connections\n\nUser-space instructions a message, all connections busy.\n\n"
    text += head(["connections", *(f"{count:,}" for count in next(iter(growth.values())))])
    for name, found in growth.items():
        text += row([name, *(number(value) for value in found.values())])
    return text + "\n"


def idle_table(idle, what):
    text = f"### {idle['connections']:,} {what}\n\n"
    text += head(["", *idle["servers"]])
    text += row(["bytes each", *(number(one["bytes_each"]) for one in idle["servers"].values())])
    text += row(["CPU ms in a second", *(f"{one['cpu'] * 1e3:.2f}" for one in idle["servers"].values())])
    return text + "\n"


def markdown(results):
    about = results["machine"]
    text = (f"{about['date']}, {about['system']}, {about['processor']}, {about['cores']} cores;"
            f" took {results['took']} s\n\n")
    for part, what in (("exact", "Counted"), ("exact_tls", "Counted, TLS")):
        if results.get(part):
            text += exact_table(results[part], what)
    if "growth" in results:
        text += growth_table(results["growth"])
    for part, what in (("idle", "idle connections"), ("idle_tls", "idle TLS connections")):
        if part in results:
            text += idle_table(results[part], what)
    for case, found in results.get("timed", {}).items():
        text += timed_table(case, found)
    hose = hose_ratio(results)
    if hose:
        text += f"p99 of warren's ping-pongs beside the firehose: {hose:.2f} of that without it.\n"
    return text


def hose_ratio(results):
    timed = results.get("timed", {})
    if "pp100" not in timed or "pp100+hose" not in timed:
        return None
    p99 = lambda case: middle([one["p99"] for one in timed[case]["samples"]["warren"]])
    return p99("pp100+hose") / p99("pp100")


def missed(results):
    lines = []

    def hold(what, value, limit):
        if value > limit:
            lines.append(f"{what}: {value:.2f}, at most {limit:.2f}")

    for case, what, limit in EXACT_FLOORS:
        found = results["exact"].get(case, {}).get("servers", {}).get("warren")
        if found:
            hold(f"{case}, {what}", found[what], limit)
    if "growth" in results:
        found = results["growth"]["warren"]
        hold(f"pp{max(found)}, instructions to pp100", found[max(found)] / found[100], GROWTH)
    tls = results.get("exact_tls", {})
    for case, what, limit in TLS_FLOORS:
        if case in tls:
            mine, ceiling = (tls[case]["servers"][name][what] for name in ("warren", "boringssl"))
            hold(f"{case}, {what} to the ceiling", mine / ceiling, limit)
    if "tls_bulk1" in tls:
        sends = tls["tls_bulk1"]["servers"]["warren"]["calls"]
        hold("tls_bulk1, sends", sends.get("sendto", 0) + sends.get("sendmsg", 0), TLS_SENDS)
    for part, limit in (("idle", IDLE_BYTES), ("idle_tls", IDLE_TLS_BYTES)):
        if part in results:
            hold(f"bytes, {part}", results[part]["servers"]["warren"]["bytes_each"], limit)
    for case, limit in TIMED_FLOORS:
        found = results.get("timed", {}).get(case)
        if found:
            samples = found["samples"]
            ceiling = next(iter(samples))
            again, mine = (ratios(samples, name, ceiling, "cpu") for name in ("again", "warren"))
            noise = max(NOISE, abs(middle(again) - 1), doubt(mine))
            hold(f"{case}, CPU to the ceiling", middle(mine), limit + noise)
    hose = hose_ratio(results)
    if hose:
        hold("p99 beside a firehose", hose, HOSE_P99)
    return lines


# --- the plot --------------------------------------------------------------------------------------

COLOURS = {"epoll_lt": "#9a9a9a", "epoll_et": "#c4c4c4", "boringssl": "#9a9a9a", "warren": "#c8502d", "libuv": "#3b6ea5",
           "libevent": "#6a9f58", "asio": "#8d6cab"}


def bars(title, values, top, width, text):
    """A group of horizontal bars, as long as their values; the longest fills the width."""
    longest = max(values.values())
    out = [f'<text x="0" y="{top + 13}" font-weight="bold">{title}</text>']
    for at, (name, value) in enumerate(values.items()):
        y = top + 22 + at * 17
        out.append(f'<text x="0" y="{y + 10}">{name}</text>')
        out.append(f'<rect x="80" y="{y}" width="{max(1, value / longest * width):.1f}" height="12"'
                   f' fill="{COLOURS.get(name, "#888")}"/>')
        out.append(f'<text x="{86 + value / longest * width:.1f}" y="{y + 10}">{text(value)}</text>')
    return out, top + 22 + len(values) * 17 + 14


def plot(results):
    groups = []
    for case in ("pp50", "churn"):
        if case in results["exact"]:
            found = results["exact"][case]
            groups.append((f"instructions a {found['unit']}, {ABOUT[case]}",
                           {name: one["instructions"] for name, one in found["servers"].items()}))
    if "idle" in results:
        groups.append(("bytes of memory an idle connection",
                       {name: one["bytes_each"] for name, one in results["idle"]["servers"].items()}))
    for case in ("pp50", "bulk1", "bulk8", "churn", "tls_pp50", "tls_bulk1", "tls_full"):
        found = results.get("timed", {}).get(case)
        if found:
            groups.append((f"CPU us a {found['unit']}, {ABOUT[case]}",
                           {name: middle([one["cpu"] for one in found["samples"][name]])
                            for name in found["samples"] if name != "again"}))
    body, top = [], 0
    for title, values in groups:
        lines, top = bars(title, values, top, 480, number)
        body += lines
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-8 -8 656 {top + 16}" width="656"'
            f' font-family="sans-serif" font-size="11">\n<rect x="-8" y="-8" width="656" height="{top + 16}"'
            ' fill="white"/>\n' + "\n".join(body) + "\n</svg>\n")
