"""How much of a social site's traffic can viewers' own browsers serve, and what does it cost them?

Paper: Zhou et al., "WebCloud: Recruiting web browsers for content distribution", arXiv 1109.3791
(2011; a later version at IEEE NCA 2012): a browser keeps what it has shown; a friend who views the
same object next gets it from there through a redirector, if the holder is online, else from the
site.

Theirs: the mechanism, and the claim that the locality of friends' interests makes it practical,
shown by microbenchmarks, simulations and a deployment. Their numbers stand in the body of the
paper, which we could not read: nothing here repeats one. Ours: everything else. 2,000 users, small
worlds and graphs with hubs, sessions of 30 minutes, 4,000 photos of 0.2 MB (median) in a day,
viewed by three of ten friends about an hour after they were posted, uploads of 5 Mbit/s.

What we find:
- The claim holds where there is something to share: with 20 friends each and three of ten users
  online, friends serve two thirds of what was not in one's own browser; with 50 friends 83 %. With
  10 friends and one of ten online it is 26 %.
- What counts is how many of the viewer's own friends hold the object. On a graph without clusters
  (all edges drawn at random), where friends of a friend are strangers, the same number of friends
  gives 40 %; on one with hubs 49 %.
- A third of it is the publisher's own browser: if that did not keep what it posted, 45 % would be
  left of 66 %. With everybody always online no origin is needed at all in this model, as only
  friends of a holder come to view anything.
- A few megabytes of cache are enough, as photos are viewed when they are fresh: 2 MB serve 63 % of
  the views, and 5 MB as much as any larger cache.
- It is slower than the site: with uplinks of 5 Mbit/s a view takes 3.5 times as long on average,
  with 20 Mbit/s still 1.5 times. Users who leave hardly matter for photos (0.04 % of uploads are
  cut), unless they stay for a minute and send at 0.5 Mbit/s (8 %).
- The load is small and uneven: 2.7 MB a user and day, of which one in a hundred users bears 5 % on
  a small world, and 21 % on a graph with hubs.

Limits: activity and sessions are round numbers, not a site's. Views follow friendships only: a
front page that all see would hit a CDN's cache and not a friend's. Downlinks, NAT and users who
refuse are not modelled. The origin is never a bottleneck, so that its latency is the best it could
be.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import mltwin as mt
from mltwin.plots import COLOURS, new_figure, number_axis, share_axis
from mltwin.text import Table
from studies._common import Options, main, mean, publish, run_all

USERS, OBJECTS = 2000, 4000
ONLINE = [0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0]
DEGREES = [10, 20, 50]
CACHES_MB = [0.5, 1.0, 2.0, 5.0, 20.0, 100.0]
UPLOADS = [0.5, 1.0, 2.0, 5.0, 20.0]  # Mbit/s
USUAL = {"sessions.online_share": 0.3, "graph.degree": 20}

METRICS = (
    "requests",
    "offload_ratio",
    "byte_offload_ratio",
    "local_hit_ratio",
    "cut_loss",
    "mean_latency_ms",
    "p99_latency_ms",
    "mean_upload_mb",
    "top_1_percent_upload",
    "upload_fairness",
    "origin_gb",
)


def scenario(name: str, size: tuple[int, int] = (USERS, OBJECTS), **fields: Any) -> mt.Scenario:
    """Three of ten users online, 20 friends each, unless `fields` (dots as __) say otherwise."""
    base = mt.Scenario.parse({"system": "web-cache", "kind": "friends", "name": name})
    users, objects = size
    given = {key.replace("__", "."): value for key, value in fields.items()}
    return base.changed({"graph.users": users, "activity.objects": objects} | USUAL | given)


def swept(
    cases: Mapping[Any, mt.Scenario], options: Options, seeds: Sequence[int]
) -> dict[Any, dict[str, float]]:
    """What each scenario comes to, mean over the seeds; a metric that it lacks is 0."""
    found = run_all(list(cases.values()), options, seeds)
    return {
        key: {name: mean(runs, name) if name in runs[0].metrics else 0.0 for name in METRICS}
        for key, runs in zip(cases, found, strict=True)
    }


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    size = (USERS // 4, OBJECTS // 4) if options.quick else (USERS, OBJECTS)
    seeds = range(1 if options.quick else 3)
    online = ONLINE[1::2] if options.quick else ONLINE
    caches = CACHES_MB[::2] if options.quick else CACHES_MB
    by_online = swept(
        {
            (degree, share): scenario(
                f"{degree} friends, {share:g} online",
                size,
                graph__degree=degree,
                sessions__online_share=share,
            )
            for degree in DEGREES
            for share in online
        },
        options,
        seeds,
    )
    by_cache = swept(
        {
            (share, mb): scenario(
                f"{mb:g} MB, {share:g} online",
                size,
                browser__cache_mb=mb,
                sessions__online_share=share,
            )
            for share in (0.1, 0.3, 0.8)
            for mb in caches
        },
        options,
        seeds,
    )
    by_upload = swept(
        {
            rate: scenario(f"{rate:g} Mbit/s", size, browser__upload_mbit_per_s=rate)
            for rate in UPLOADS
        },
        options,
        seeds,
    )
    figures: dict[str, Any] = {
        "online": online,
        "caches_mb": caches,
        "uploads": UPLOADS,
        "by_online": {str(d): [by_online[d, share] for share in online] for d in DEGREES},
        "by_cache": {str(s): [by_cache[s, mb] for mb in caches] for s in (0.1, 0.3, 0.8)},
        "by_upload": [by_upload[rate] for rate in UPLOADS],
        "variants": swept(variants(size), options, seeds),
    }
    tables = {"offload": offload_table(figures), "variants": variant_table(figures)}
    publish(options, "webcloud", picture(figures), tables, figures)
    return figures


def variants(size: tuple[int, int]) -> dict[str, mt.Scenario]:
    """The usual scenario, and what changes it."""
    changes: dict[str, dict[str, Any]] = {
        "usual": {},
        "site alone": {"browser__ask_friends": False},
        "publisher's browser keeps nothing": {"browser__publisher_keeps": False},
        "hubs (Barabasi-Albert)": {"graph__kind": "barabasi_albert"},
        "no clusters (all edges random)": {"graph__rewire": 1.0},
        "only clusters (no edge random)": {"graph__rewire": 0.0},
        "viewed within 10 minutes": {"activity__delay_minutes": 10.0},
        "viewed within 10 hours": {"activity__delay_minutes": 600.0},
        "one in five shares on": {"activity__share_probability": 0.2},
        "day and night": {"sessions__diurnal": 0.8},
        "sessions of 1 minute, 0.5 Mbit/s": {
            "sessions__minutes": 1.0,
            "browser__upload_mbit_per_s": 0.5,
        },
    }
    return {text: scenario(text, size, **fields) for text, fields in changes.items()}


def offload_table(figures: Mapping[str, Any]) -> Table:
    """Offload by friends and share online."""
    rows: list[list[Any]] = [
        [
            int(degree),
            f"{share:.0%}",
            f"{row['offload_ratio']:.1%}",
            row["mean_latency_ms"],
            row["mean_upload_mb"],
            f"{row['top_1_percent_upload']:.1%}",
        ]
        for degree, mine in figures["by_online"].items()
        for share, row in zip(figures["online"], mine, strict=True)
    ]
    columns = ["friends", "online", "from friends", "mean latency, ms", "MB sent a user", "by 1 %"]
    size = len(figures["online"])
    caption = (
        "From friends: share of the views that the viewer's own browser could not serve. By 1 %: "
        "share of all uploads by the one in a hundred users that send most."
    )
    return Table(columns, rows, caption=caption, breaks={size - 1, 2 * size - 1})


def variant_table(figures: Mapping[str, Any]) -> Table:
    """What one change does."""
    rows: list[list[Any]] = [
        [
            text,
            f"{row['offload_ratio']:.1%}",
            f"{row['local_hit_ratio']:.1%}",
            row["mean_latency_ms"],
            row["p99_latency_ms"],
            f"{row['cut_loss']:.2%}",
            f"{row['top_1_percent_upload']:.1%}",
        ]
        for text, row in figures["variants"].items()
    ]
    columns = ["", "from friends", "own browser", "mean latency, ms", "p99", "cut", "by 1 %"]
    return Table(columns, rows, caption="20 friends, three of ten online, 50 MB of cache.")


def picture(figures: Mapping[str, Any]) -> Any:
    """Offload by share online and by cache, latency by uplink, and who bears the load."""
    title = "WebCloud: photos from friends' browsers"
    with new_figure(2, 2, (11, 7.4), title) as (figure, axes):
        _lines(axes[0, 0], figures["online"], figures["by_online"], "offload_ratio", "{} friends")
        axes[0, 0].set_title("Views served by friends, by who is online")
        axes[0, 0].set_xlabel("share of the time that a user is online")
        share_axis(axes[0, 0], "x")
        _lines(axes[0, 1], figures["caches_mb"], figures["by_cache"], "offload_ratio", "{} online")
        number_axis(axes[0, 1])
        axes[0, 1].set_title("The same by cache, 20 friends")
        axes[0, 1].set_xlabel("cache of each browser, MB")
        for axis in axes[0]:
            axis.set_ylim(0, 1.02)
            share_axis(axis)
            axis.legend()
        _latency(axes[1, 0], figures)
        _lines(axes[1, 1], figures["online"], figures["by_online"], "top_1_percent_upload",
               "{} friends")  # fmt: skip
        hubs = figures["variants"]["hubs (Barabasi-Albert)"]["top_1_percent_upload"]
        axes[1, 1].plot(0.3, hubs, "D", color=COLOURS[6], label="20 friends on average, hubs")
        axes[1, 1].axhline(0.01, color=COLOURS[6], linestyle="--", linewidth=1)
        axes[1, 1].text(1.0, 0.009, "even", fontsize=8, ha="right", va="top")
        axes[1, 1].set_ylim(0)
        share_axis(axes[1, 1])
        share_axis(axes[1, 1], "x")
        axes[1, 1].set_title("Uploads borne by the busiest 1 % of users")
        axes[1, 1].set_xlabel("share of the time that a user is online")
        axes[1, 1].legend()
    return figure


def _lines(axes: Any, x: Any, found: Mapping[str, Any], metric: str, text: str) -> None:
    for colour, (key, mine) in zip(COLOURS, found.items(), strict=False):
        y = [row[metric] for row in mine]
        axes.plot(x, y, "o-", markersize=4, color=colour, label=text.format(key))


def _latency(axes: Any, figures: Mapping[str, Any]) -> None:
    rates, mine = figures["uploads"], figures["by_upload"]
    alone = figures["variants"]["site alone"]
    for colour, stat in ((COLOURS[0], "mean"), (COLOURS[5], "p99")):
        name = f"{stat}_latency_ms"
        axes.plot(rates, [row[name] for row in mine], "o-", markersize=4, color=colour, label=stat)
        axes.axhline(alone[name], color=colour, linestyle="--", linewidth=1)
        axes.text(rates[-1], alone[name], f"{stat}, site alone", fontsize=8, ha="right",
                  va="bottom")  # fmt: skip
    number_axis(axes)
    number_axis(axes, "y")
    axes.set_title("Latency by uplink, 20 friends, 30 % online")
    axes.set_xlabel("upload of each user, Mbit/s")
    axes.set_ylabel("ms")
    axes.legend()


if __name__ == "__main__":
    main(study, __doc__)
