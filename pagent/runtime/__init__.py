"""What every part of a process stands on: threads for blocking work."""
