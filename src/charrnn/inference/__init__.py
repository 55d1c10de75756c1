"""Drawing and scoring with a trained network."""
