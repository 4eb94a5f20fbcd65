"""biodiversity: networks from embeddings, places and times to species. Importing this package imports no torch."""
