"""What is simulated: components (language models, GPUs) and the systems made of them."""

if __name__ != "mltwin.models":
    raise ImportError("import it as 'mltwin.models', not '" + __name__ + "'")
