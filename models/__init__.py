if __name__ != "mltwin.models":
    raise ImportError("import it as 'mltwin.models', not '" + __name__ + "'")
