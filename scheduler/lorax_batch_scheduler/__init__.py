"""Jobs, packing and running: what lorax-batch exists for. No gRPC, no protobuf."""
