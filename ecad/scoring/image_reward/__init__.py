"""ImageReward: our own batched scorer, and the untouched package in an environment of its own."""
