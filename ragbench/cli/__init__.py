"""One command of `ragbench` per file. Each parses its arguments, calls the library and prints."""

from ragbench.cli.home import settle

settle()  # here, because plots and notebooks are imported with the commands and look for a home as they are
