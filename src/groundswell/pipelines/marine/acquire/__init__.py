"""marine: images from where others keep them: FathomNet, DeepFish."""
