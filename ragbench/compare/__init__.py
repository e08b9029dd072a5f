"""Two configurations compared: pairs of points, differences with their intervals, a gate, a figure, an article."""
