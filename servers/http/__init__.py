"""An exchange: bytes in, answer out. Knows no model and no replica."""
