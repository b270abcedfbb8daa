"""The contract of lorax-batch; see the .proto files."""
