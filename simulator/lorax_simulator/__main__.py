"""`python -m lorax_simulator`."""

import sys

from lorax_simulator.app import main

if __name__ == "__main__":
    sys.exit(main())
