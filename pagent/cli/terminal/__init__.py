"""What all commands write to the terminal and read from it: messages, tables, numbers, live lines, screens and keys."""
