"""One point of a study measured, and the sweep of all its points. Draws nothing."""
