"""How much of what is known of proteins their profiles hold: standards and scores."""
