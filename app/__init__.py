if __name__ != "mltwin.app":
    raise ImportError("import it as 'mltwin.app', not '" + __name__ + "'")
