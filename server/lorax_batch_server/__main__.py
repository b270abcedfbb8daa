"""`python -m lorax_batch_server`, the same as `lorax-batch`."""

from lorax_batch_server.cli import main

if __name__ == "__main__":
    main()
