"""The client of lorax-batch: async and sync, typed."""
