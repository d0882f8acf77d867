"""`python -m mltwin`: the command line."""

from mltwin.app.cli import main

if __name__ == "__main__":
    main()
