"""One file for each family of commands; ``wsctl.cli`` loads them when they are called."""
