"""How often jobs end within the band that was foretold, on the trace families of `bench.packing`."""
