"""How the explorer looks, and the flags that Streamlit is started with.

The colours are those of the reports' plots (Okabe and Ito's palette, which colour-blind readers can
tell apart). Everything is said by flags, as an installed package has no `.streamlit/config.toml`.
"""

import functools
from typing import Any

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")

_SERVER = {
    "server.fileWatcherType": "none",
    "server.maxUploadSize": 50,
    "server.enableCORS": True,
    "server.enableXsrfProtection": True,
    "server.enableStaticServing": False,
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "global.developmentMode": False,
    "logger.level": "warning",
}
_THEME = {
    "theme.baseRadius": "0.4rem",
    "theme.metricValueFontSize": "1.55rem",
    "theme.chartCategoricalColors": PALETTE,
    "theme.showWidgetBorder": True,
}
_LIGHT = {
    "primaryColor": "#0072B2",
    "backgroundColor": "#FFFFFF",
    "secondaryBackgroundColor": "#F3F6F9",
    "textColor": "#1B2733",
    "borderColor": "#D5DDE5",
}
_DARK = {
    "primaryColor": "#56B4E9",
    "backgroundColor": "#10161D",
    "secondaryBackgroundColor": "#18212B",
    "textColor": "#E3EAF0",
    "borderColor": "#2E3B48",
}

LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="132" height="32" viewBox="0 0 132 32">'
    '<rect y="3" width="26" height="26" rx="6" fill="#0072B2"/>'
    '<path d="M6 22V16M11 22V10M16 22V13M21 22V8" stroke="#fff" stroke-width="2.6" '
    'stroke-linecap="round"/>'
    '<text x="36" y="23" font-family="system-ui, sans-serif" font-size="20" font-weight="650" '
    'fill="#3A93C8">mltwin</text></svg>'
)
STYLE = """<style>
[data-testid="stMainBlockContainer"] {padding: 3.2rem 2.5rem 3rem 2.5rem;}
[data-testid="stMainBlockContainer"] h1 {font-size: 2rem; padding: 0.4rem 0 0.2rem 0;}
[class*="st-key-figures"] {
  display: grid;
  gap: 0.7rem;
  grid-template-columns: repeat(auto-fill, minmax(min(46%, 170px), 1fr));
}
[class*="st-key-figures"] > div {width: 100% !important;}
[class*="st-key-figures"] [data-testid="stMetric"] > div {padding: 0.55rem 0.8rem;}
@media (max-width: 640px) {
  [data-testid="stMainBlockContainer"] {padding-left: 1rem; padding-right: 1rem;}
}
</style>"""
"""Less empty space above, and no wider margins on a phone than there must be."""


@functools.cache
def icon() -> Any:
    """The picture of the browser's tab: the bars of the logo, 32 x 32 pixels."""
    import numpy as np
    from PIL import Image

    picture = np.zeros((32, 32, 4), np.uint8)
    picture[2:30, 2:30] = (0x00, 0x72, 0xB2, 0xFF)
    for corner in ((2, 2), (2, 29), (29, 2), (29, 29)):
        picture[corner] = 0
    for left, top in ((7, 18), (12, 11), (17, 15), (22, 8)):
        picture[top:25, left : left + 3] = 0xFF
    return Image.fromarray(picture)


def flags() -> dict[str, object]:
    """Streamlit's options by name."""
    found: dict[str, object] = {**_SERVER, **_THEME}
    found |= {f"theme.light.{name}": value for name, value in _LIGHT.items()}
    found |= {f"theme.dark.{name}": value for name, value in _DARK.items()}
    return found
