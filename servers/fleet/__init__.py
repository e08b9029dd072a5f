"""Many replicas and the balancer before them. Knows no model."""
