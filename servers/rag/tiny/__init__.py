"""The embedded default: two tiny models trained on the `facts` corpus, and what measures them.

They are trained by scripts/tiny.
"""
