"""The command line (and what else people touch): everything here uses only `mltwin`, the face."""

if __name__ != "mltwin.app":
    raise ImportError("import it as 'mltwin.app', not '" + __name__ + "'")
