"""What a process counts and traces of itself, in plain values; who publishes them, and how, is for others to say."""
