"""Text, CSV and TOML files: read with bounds, written whole or not at all. Knows no study."""
