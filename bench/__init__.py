"""Measure what the agent's process costs, as a ratio to a bare uvloop L4 splice in the same run (bench/README.rst)."""
