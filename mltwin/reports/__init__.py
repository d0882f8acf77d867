"""Reports: comparisons as tables, figures and one self-contained HTML page."""
