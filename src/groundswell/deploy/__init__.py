"""deploy: export and its parity gate, prediction from an exported file, streaming. Knows no training."""
