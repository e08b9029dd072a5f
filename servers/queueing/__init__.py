"""Who waits for a batch, and the batcher that forms them. Knows neither HTTP nor models."""
