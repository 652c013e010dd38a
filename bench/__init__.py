"""Measure what the agent's process costs, as a ratio to an L4 splice on uvloop in the same run (bench/README.rst)."""
