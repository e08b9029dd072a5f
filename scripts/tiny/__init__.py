"""How the models of the `tiny` profile are trained. Their weights, and what measures them, are in servers/rag/tiny."""
