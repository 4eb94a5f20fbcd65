"""pipelines: one folder each; none imports another."""
