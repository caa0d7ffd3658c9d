"""What a processor sees of calls: of which parts a view is made, and other calls."""
