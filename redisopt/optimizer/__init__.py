"""All policies in one object, configured as a whole."""
