"""Using, calibrating and sharing what was trained."""
