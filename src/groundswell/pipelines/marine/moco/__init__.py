"""marine: self-supervised pretraining of a detector's own backbone by MoCo v3."""
