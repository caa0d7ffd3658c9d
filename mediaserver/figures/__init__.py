"""What processes measure, beside what they count: sums, levels and histograms, and their names."""
