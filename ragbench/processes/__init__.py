"""Child processes: started, read, and stopped with all that they started. Knows no study."""
