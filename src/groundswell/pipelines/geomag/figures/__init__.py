"""geomag: pictures of a folder of results, each drawn from the files that a study leaves under the seed's names."""
