"""The base of every part of a process: tasks, threads, signals, memory and the turns of the event loop."""
