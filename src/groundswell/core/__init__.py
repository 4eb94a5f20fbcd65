"""core: what every room stands on: errors, files, seeds, recipes, provenance, run folders. Knows no other room."""
