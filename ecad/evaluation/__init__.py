"""From a schedule to numbers: prompts, sampling, scores, MACs, latency, statistics."""
