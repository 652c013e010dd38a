"""Terminal input and output of all commands: messages, tables, numbers, live lines, screens and keys."""
