"""From prompts and seeds to images: loading a model, preparing it once, and sampling from it."""
