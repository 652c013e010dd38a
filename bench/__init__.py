"""What the agent's process costs, as a ratio to a bare uvloop L4 splice measured in the same run. See README.rst."""
