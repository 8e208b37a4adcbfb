"""Who holds it: cases, each in a real kernel."""
