"""One connection: what is read from it, how much and how slowly, and in which order it is answered."""
