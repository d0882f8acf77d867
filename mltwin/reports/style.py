"""How a report looks: one style sheet, light and dark, from 375 px up, and on paper."""

CSS = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1f2328; --faint: #59636e;
  --line: #d1d9e0; --panel: #f6f8fa; --accent: #0b63a5; --best: #10703c; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1419; --ink: #e6e9ed; --faint: #9aa5b1;
  --line: #333c46; --panel: #182028; --accent: #6cb6ff; --best: #5fd08a; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 82rem; padding: 1.5rem clamp(0.9rem, 2vw, 2rem) 3rem;
  background: var(--page); color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: clamp(1.4rem, 4vw, 2rem); line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 0.6rem; padding-top: 0.9rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.4rem 0 0.4rem; }
p, ul { max-width: 46rem; }
a { color: var(--accent); }
nav { font-size: 0.9rem; color: var(--faint); }
nav a { margin-right: 0.9rem; white-space: nowrap; display: inline-block; }
.table { overflow-x: auto; margin: 0.6rem 0 1rem; }
.table:focus-visible, pre:focus-visible { outline: 2px solid var(--accent); }
table { border-collapse: collapse; font-size: 0.88rem; font-variant-numeric: tabular-nums; }
.title { font-weight: 600; margin: 0.8rem 0 0.2rem; }
th, td { padding: 0.3rem 0.75rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; overflow-wrap: normal; min-width: 4.5rem; max-width: 24rem; }
th { color: var(--faint); font-weight: 600; vertical-align: bottom; }
.number { text-align: right; white-space: nowrap; }
.best { color: var(--best); font-weight: 700; }
tr.break > * { border-bottom: 2px solid var(--faint); }
th:first-child, td:first-child { padding-left: 0; position: sticky; left: 0;
  background: var(--page); overflow-wrap: break-word; }
.caption, figcaption { color: var(--faint); font-size: 0.86rem; margin: 0.3rem 0 0; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 1.4rem; align-items: flex-start; }
figure { margin: 0.6rem 0; max-width: 100%; }
figure img { display: block; max-width: 100%; height: auto; border-radius: 6px; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px;
  padding: 0.7rem 0.9rem; overflow-x: auto; font-size: 0.82rem; line-height: 1.45;
  overflow-wrap: normal; }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
details { border: 1px solid var(--line); border-radius: 6px; padding: 0.5rem 0.9rem;
  margin: 0.8rem 0; }
summary { cursor: pointer; font-weight: 600; }
@media (max-width: 30rem) { body { font-size: 15px; } th, td { padding: 0.3rem 0.5rem; }
  th:first-child, td:first-child { max-width: 10rem; } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; }
  .table, pre { overflow: visible; } pre { white-space: pre-wrap; }
  figure, tr { break-inside: avoid; } nav { display: none; } }
"""

# Colours of our figures (mltwin.plots) on paper, and what takes their place on a dark page.
DARK_FIGURE = {
    "#ffffff": "#0f1419",
    "#222222": "#e6e9ed",
    "#767676": "#9aa5b1",
    "#e4e4e4": "#2a323b",
    "#444444": "#b4bcc6",
    "#0072b2": "#4aa8e0",
    "#d55e00": "#f08a4b",
    "#009e73": "#38c79c",
    "#000000": "#e6e9ed",
}
