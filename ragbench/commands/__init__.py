"""One command of `ragbench` per file. Each parses its arguments, calls the library and prints."""
