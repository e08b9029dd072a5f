"""The highest load that a service answers within an SLO: search, run, table, figure. Compares no services."""
