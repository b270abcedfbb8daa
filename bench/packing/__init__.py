"""`make bench-packing`: trace families of the project's own, replayed under the planner and the baselines."""
