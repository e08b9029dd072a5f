"""How a replica is asked: over a framed link if it is ours, otherwise by HTTP, and what of its answer is passed on."""
