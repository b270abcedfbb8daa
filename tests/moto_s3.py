"""An S3 server for tests, as a program: prints its port and ends when its input does, so none is ever left over."""

import logging
import sys

from moto.server import ThreadedMotoServer

if __name__ == "__main__":
    logging.disable()  # a line for each request, into a pipe that nobody reads
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    sys.stdout.write(f"{server.get_host_and_port()[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()
