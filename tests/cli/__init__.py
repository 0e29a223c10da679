"""The command line, used as a program and in process."""
