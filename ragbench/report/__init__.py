"""The page of a study and the notebooks that it is made of. Measures nothing."""
