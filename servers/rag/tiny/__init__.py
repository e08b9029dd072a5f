"""The embedded default: two tiny models trained on the `facts` corpus, and the scripts that train them."""
