"""The pipeline: embed, retrieve, prompt, generate. No HTTP in it, and no queue."""
