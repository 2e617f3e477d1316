"""``python -m patchlight``: the command line."""

from patchlight.flows.__main__ import main

if __name__ == "__main__":
    main()
