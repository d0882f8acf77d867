"""What pages draw with: charts, tables, metrics, errors, and the ways to take them along."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

    from mltwin.text import Table

    from .view import View

MAX_POINTS = 5000
"""Rows of data that one chart may hold."""


def error(text: str) -> None:
    """One line that says what is wrong and how to mend it; the text is shown as it is."""
    import streamlit as st

    st.error(escaped(text), icon=":material/error:")


def escaped(text: str) -> str:
    """Text that Markdown shows as it stands."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+-.!|<>~$:" else c for c in text)


@dataclass(frozen=True)
class Figure:
    """A figure of a run.

    value: of the metric, in the metric's own unit (a share is shown in %).
    metric: its flat name, which tells which way is better; "" for neither.
    unit: shown beside the label.
    about: a sentence of help.
    before: the value it is compared with.
    bar: its interval under draws of the models' fitted parameters.
    """

    value: float
    metric: str = ""
    unit: str = ""
    about: str = ""
    before: float | None = None
    bar: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        """The value as the command line's tables write it."""
        from mltwin.text import show

        return show(self._scale * self.value)

    @property
    def interval(self) -> str:
        """The error bar as the command line writes it; "" if there is none."""
        from mltwin.uncertainty import interval_text

        if self.bar is None:
            return ""
        low, high = (self._scale * bound for bound in self.bar)
        return interval_text((low, high))

    @property
    def _scale(self) -> float:
        return 100.0 if self.unit == "%" else 1.0

    @property
    def change(self) -> str | None:
        """The relative difference to `before` in %."""
        if self.before is None or not self.before:
            return None
        return f"{100 * (self.value / self.before - 1):+.1f} %"


def figures(given: Mapping[str, Figure]) -> None:
    """Figures side by side, as many a row as there is room for, by label."""
    import streamlit as st

    from mltwin.metrics import direction

    colours = {"lower": "inverse", "higher": "normal", "none": "off"}
    with _grid(given):
        for label, one in given.items():
            way = direction(one.metric) if one.metric else "none"
            changed = one.change not in (None, "+0.0 %", "-0.0 %")
            options: dict[str, Any] = {
                "delta": one.change or one.interval or None,
                "delta_color": colours[way] if changed else "off",
                "delta_arrow": "auto" if changed else "off",
                "delta_description": one.interval if one.change and one.interval else None,
                "help": f"{one.about} `{one.metric}`" if one.metric else one.about or None,
            }
            title = f"{label} ({one.unit})" if one.unit else label
            st.metric(title, one.text, border=True, **options)


def metric_row(metrics: Mapping[str, Any]) -> None:
    """Figures side by side: label to a number (written as in the command line's tables), a text,
    or a `Figure`."""
    import streamlit as st

    from mltwin.text import show

    if all(isinstance(given, Figure) for given in metrics.values()):
        figures(metrics)
        return
    with _grid(metrics):
        for label, given in metrics.items():
            st.metric(label, given if isinstance(given, str) else show(given), border=True)


def _grid(labels: Iterable[str]) -> Any:
    """A container that `theme.STYLE` makes a grid, told from others on the page by its labels."""
    import streamlit as st

    return st.container(horizontal=True, key="figures-" + "-".join(labels))


def share(view: "View") -> None:
    """The link to this very view: it holds the choices, no run and no upload."""
    import streamlit as st

    with st.expander("Share this view", icon=":material/link:"):
        address = str(st.context.url or "").split("?")[0].rstrip("/").rpartition("/")[0]
        st.code(f"{address}{view.link()}", language=None, wrap_lines=True)
        st.caption("The link holds the choices; whoever opens it gets a run of their own.")


def chart(
    altair_chart: "alt.Chart | alt.VConcatChart | Any",
    *,
    name: str,
    data: "pd.DataFrame | None" = None,
    caption: str = "",
) -> None:
    """Draw an Altair chart in full width with our theme, and offer its data as CSV.

    Pictures (PNG, SVG) are in the chart's own menu, made in the browser.
    """
    import streamlit as st

    st.altair_chart(altair_chart, width="stretch", theme="streamlit", key=f"chart.{name}")
    if caption:
        st.caption(caption)
    if data is not None:
        _csv_button(data, name)


def table(given: "Table | pd.DataFrame", name: str, *, height: int | None = None) -> None:
    """Draw a table as the command line prints it, and offer it as CSV and Parquet."""
    import pandas as pd
    import streamlit as st

    if isinstance(given, pd.DataFrame):
        st.dataframe(given, key=f"table.{name}", height=height or "auto")
        frame = given
    else:
        frame = given.frame()
        if given.title:
            st.markdown(f"**{escaped(given.title)}**")
        st.dataframe(
            _written(given), hide_index=True, key=f"table.{name}", height=height or "auto",
            placeholder="-",
        )  # fmt: skip
        bold = "bold: the best" if given.best else ""
        if caption := "; ".join(filter(None, (given.caption, bold))):
            st.caption(escaped(caption))
    with st.container(horizontal=True):
        _csv_button(frame, name)
        _parquet_button(frame, name)


def _written(given: "Table") -> Any:
    """The table's frame with its numbers written as in the terminal; the best cells are bold."""
    from mltwin.text import show

    frame: Any = given.frame().astype(object)
    bold = {(row, column) for row, column in given.best}

    def styles(cells: Any) -> Any:
        marks = cells.copy()
        for i in range(len(cells)):
            for j in range(len(cells.columns)):
                marks.iloc[i, j] = "font-weight: bold" if (i, j) in bold else ""
        return marks

    formats = {column: given.formats.get(j, show) for j, column in enumerate(frame.columns)}
    return frame.style.format(formats, na_rep="-").apply(styles, axis=None)


def figure(drawn: "Drawing", name: str) -> None:
    """Draw a matplotlib figure and offer it as PNG and SVG."""
    import streamlit as st

    st.pyplot(drawn, width="stretch")
    with st.container(horizontal=True):
        for form in ("png", "svg"):
            buffer = io.BytesIO()
            drawn.savefig(buffer, format=form, bbox_inches="tight")
            st.download_button(
                form.upper(),
                buffer.getvalue(),
                f"{name}.{form}",
                key=f"figure.{name}.{form}",
                icon=":material/download:",
                type="tertiary",
                on_click="ignore",
            )


def copy_as(toml: Any, python: str, command: str) -> None:
    """What makes this view elsewhere: a scenario (or its TOML), a Python script, a command."""
    import streamlit as st

    from .copies import toml_of

    text = toml if isinstance(toml, str) else toml_of(toml)
    with st.expander("Copy as TOML, Python or command line", icon=":material/content_copy:"):
        tabs = st.tabs(["TOML", "Python", "Command line"])
        for tab, code, language in zip(
            tabs, (text, python, command), ("toml", "python", "bash"), strict=True
        ):
            tab.code(code, language=language, wrap_lines=True)


def downsampled(frame: "pd.DataFrame", most: int = MAX_POINTS) -> "pd.DataFrame":
    """Evenly spaced rows of a frame, the first and the last among them; all if they are few."""
    import numpy as np

    if len(frame) <= most:
        return frame
    return frame.iloc[np.linspace(0, len(frame) - 1, most).round().astype(int)]


def _csv_button(frame: "pd.DataFrame", name: str) -> None:
    import streamlit as st

    st.download_button(
        "CSV",
        lambda: _csv(frame),
        f"{name}.csv",
        "text/csv",
        key=f"csv.{name}",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )


def _csv(frame: "pd.DataFrame") -> str:
    from mltwin.csvfile import csv_text

    return csv_text(frame)


def _parquet_button(frame: "pd.DataFrame", name: str) -> None:
    import streamlit as st

    st.download_button(
        "Parquet",
        lambda: _parquet(frame),
        f"{name}.parquet",
        "application/vnd.apache.parquet",
        key=f"parquet.{name}",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )


def _parquet(frame: "pd.DataFrame") -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()
