"""From measurements to models: read timings, fit operators, check them on what was held out.

``profiles`` rebuilds the shipped GPU profiles, ``check`` prints how good they are; both run as
``python -m mltwin.calibration.<name> --data $MLTWIN_DATA``.
"""

if __name__ != "mltwin.calibration":
    raise ImportError("import it as 'mltwin.calibration', not '" + __name__ + "'")
