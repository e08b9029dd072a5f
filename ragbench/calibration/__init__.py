"""ragbench measured by itself: servers whose answers are known beforehand, and what the harness says of them."""
