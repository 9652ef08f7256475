"""From schedules to numbers: MACs, latency, memory, statistics, and comparisons side by side."""
