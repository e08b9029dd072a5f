"""The retrieval study: searches and k-means measured apart from any server, in a process of their own."""
